//! The beginning of a line, read without the rest of it: a journal has a million of them.
//!
//! Only what this program writes is found, in the order in which it writes it; of anything else
//! nothing is said, and the line is read as JSON.

use crate::run::event::Position;

/// The event's `type`, where it is one that is looked for.
pub(super) fn kind(line: &[u8]) -> Option<&'static str> {
    const KINDS: [&str; 9] = [
        "step",
        "valid_step",
        "gpu",
        "epoch",
        "worst",
        "epoch_started",
        "checkpoint",
        "fold",
        "again",
    ];
    let rest = line.strip_prefix(br#"{"type":""#)?;
    let end = rest.iter().take(20).position(|&b| b == b'"')?;
    KINDS.into_iter().find(|kind| kind.as_bytes() == &rest[..end])
}

/// The event's `at`.
pub(super) fn at(line: &[u8]) -> Option<Position> {
    Some(position(line)?.0)
}

/// A step's `at` and `loss`.
pub(super) fn step(line: &[u8]) -> Option<(Position, f64)> {
    let (at, rest) = position(line)?;
    let (_, rest) = number(rest.strip_prefix(br#","steps":"#)?)?;
    let rest = rest.strip_prefix(br#","loss":"#)?;
    let end = rest.iter().take(32).position(|&b| b == b',')?;
    let loss = match &rest[..end] {
        br#""nan""# => f64::NAN,
        br#""inf""# => f64::INFINITY,
        br#""-inf""# => f64::NEG_INFINITY,
        text => std::str::from_utf8(text).ok()?.parse().ok()?,
    };
    Some((at, loss))
}

/// The line's `elapsed`, which stands before its `time` at its end.
pub(super) fn elapsed(line: &[u8]) -> Option<f64> {
    let tail = &line[line.len().saturating_sub(80)..];
    let key = br#","elapsed":"#;
    let start = tail.windows(key.len()).rposition(|w| w == key)? + key.len();
    let rest = &tail[start..];
    let end = rest.iter().position(|&b| b == b',')?;
    let elapsed: f64 = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    elapsed.is_finite().then_some(elapsed)
}

fn position(line: &[u8]) -> Option<(Position, &[u8])> {
    let rest = line.strip_prefix(br#"{"type":""#)?;
    let end = rest.iter().take(20).position(|&b| b == b'"')?;
    let rest = rest[end..].strip_prefix(br#"","at":{"fold":"#)?;
    let (fold, rest) = number(rest)?;
    let (epoch, rest) = number(rest.strip_prefix(br#","epoch":"#)?)?;
    let (step, rest) = number(rest.strip_prefix(br#","step":"#)?)?;
    Some((Position { fold, epoch, step }, rest.strip_prefix(b"}")?))
}

fn number(text: &[u8]) -> Option<(usize, &[u8])> {
    let end = text.iter().take(19).position(|b| !b.is_ascii_digit())?;
    let digits = text[..end].iter().fold(0usize, |n, b| n * 10 + usize::from(b - b'0'));
    (end > 0).then_some((digits, &text[end..]))
}
