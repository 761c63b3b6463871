//! Limits the length of journal lines: no event may exceed the longest line that readers accept.

use super::Written;
use crate::{
    bounded::excerpt,
    run::event::{Event, Level, Log},
};
use serde_json::Value;

/// Limits tried in turn: characters per text and items per list of an event.
const KEPT: [(usize, usize); 4] = [(4096, 100_000), (1024, 4096), (256, 1024), (64, 128)];

/// Formats the event as a line with its end, shortened if necessary to `most` bytes.
pub(super) fn line(event: &Event, elapsed: f64, time: f64, most: usize) -> Vec<u8> {
    // Serializing plain data into memory cannot fail.
    let serialized =
        |event: &Event| serde_json::to_vec(&Written { event, elapsed, time }).unwrap_or_default();
    let mut line = serialized(event);
    if line.len() >= most {
        let whole = serde_json::from_slice(&line).unwrap_or_default();
        let cut = |&limits| shortened(&whole, limits).to_string().into_bytes();
        line = KEPT.iter().map(cut).find(|shorter| shorter.len() < most).unwrap_or_else(|| {
            let message = format!("an event of {} bytes was too long to be kept", line.len() + 1);
            serialized(&Event::Log(Log { level: Level::Warn, message }))
        });
    }
    line.push(b'\n');
    line
}

/// Cuts every text and every list.
fn shortened(value: &Value, limits: (usize, usize)) -> Value {
    let (texts, items) = limits;
    match value {
        Value::String(text) if text.chars().nth(texts).is_some() => excerpt(text, texts).into(),
        Value::Array(list) => list.iter().take(items).map(|of| shortened(of, limits)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, of)| (key.clone(), shortened(of, limits))).collect()
        }
        other => other.clone(),
    }
}
