//! Reads a line's first fields without parsing the rest: a journal has a million lines.
//!
//! Only recognizes lines as this program writes them, with the fields in its order. Any other line
//! yields `None`, and the caller parses it as JSON.

use super::{Brief, Pace};
use crate::run::event::Position;
use memchr::memchr;

/// Returns the event's `type`, if it is one of those below.
pub(super) fn kind(line: &[u8]) -> Option<&'static str> {
    const KINDS: [&str; 11] = [
        "step",
        "valid_step",
        "gpu",
        "system",
        "epoch",
        "worst",
        "epoch_started",
        "checkpoint",
        "fold",
        "again",
        "left_out",
    ];
    let rest = line.strip_prefix(br#"{"type":""#)?;
    let end = rest.iter().take(20).position(|&b| b == b'"')?;
    KINDS.into_iter().find(|kind| kind.as_bytes() == &rest[..end])
}

/// Returns the event's `at`.
pub(super) fn at(line: &[u8]) -> Option<Position> {
    Some(position(line)?.0)
}

/// The scanned parts of a step.
#[derive(Debug)]
pub(super) struct Step {
    pub at: Position,
    pub brief: Brief,
    /// Its `elapsed` and its speed.
    pub pace: Option<(f64, Pace)>,
}

/// Scans a step's `at` and values in one pass.
pub(super) fn step(line: &[u8]) -> Option<Step> {
    let (at, rest) = position(line)?;
    let (_, rest) = number(rest.strip_prefix(br#","steps":"#)?)?;
    let (loss, rest) = figure(rest.strip_prefix(br#","loss":"#)?)?;
    let (slice_loss, rest) = figure(rest.strip_prefix(br#","slice_loss":"#)?)?;
    let (study_loss, rest) = figure(rest.strip_prefix(br#","study_loss":"#)?)?;
    let rest = upto(rest.strip_prefix(br#","vertebra_loss":["#)?, b']', 300)?.1;
    let (grad_norm, rest) = figure(rest.strip_prefix(br#"],"grad_norm":"#)?)?;
    let rest = upto(rest.strip_prefix(br#","skipped":"#)?, b',', 8)?.1;
    let (learning_rate, rest) = figure(rest.strip_prefix(br#","learning_rate":"#)?)?;
    let brief = Brief { loss, slice_loss, study_loss, grad_norm, learning_rate };
    Some(Step { at, brief, pace: pace(rest) })
}

/// Scans the fields after the learning rate.
fn pace(rest: &[u8]) -> Option<(f64, Pace)> {
    let rest = upto(rest.strip_prefix(br#","mixup":"#)?, b',', 32)?.1;
    let (images, rest) = number(rest.strip_prefix(br#","images":"#)?)?;
    let (data_seconds, rest) = figure(rest.strip_prefix(br#","data_seconds":"#)?)?;
    let (compute_seconds, rest) = figure(rest.strip_prefix(br#","compute_seconds":"#)?)?;
    let (elapsed, _) = figure(rest.strip_prefix(br#","elapsed":"#)?)?;
    elapsed.is_finite().then_some((elapsed, Pace { images, data_seconds, compute_seconds }))
}

/// Splits before the first `end` within `most` bytes.
fn upto(text: &[u8], end: u8, most: usize) -> Option<(&[u8], &[u8])> {
    text.split_at_checked(memchr(end, &text[..text.len().min(most)])?)
}

/// Parses a number. Returns it and the rest, from the comma on.
fn figure(text: &[u8]) -> Option<(f64, &[u8])> {
    let (text, rest) = upto(text, b',', 32)?;
    let figure = match text {
        br#""nan""# => f64::NAN,
        br#""inf""# => f64::INFINITY,
        br#""-inf""# => f64::NEG_INFINITY,
        text => std::str::from_utf8(text).ok()?.parse().ok()?,
    };
    Some((figure, rest))
}

/// Returns the line's `elapsed`, the second field from the end.
pub(super) fn elapsed(line: &[u8]) -> Option<f64> {
    last(line, br#","elapsed":"#, b',')
}

/// Returns the line's `time`, the last field.
pub(super) fn time(line: &[u8]) -> Option<f64> {
    last(line, br#","time":"#, b'}')
}

/// Returns the number between the last `key` near the line's end and `end`.
fn last(line: &[u8], key: &[u8], end: u8) -> Option<f64> {
    let tail = &line[line.len().saturating_sub(80)..];
    let start = tail.windows(key.len()).rposition(|w| w == key)? + key.len();
    let rest = &tail[start..];
    let end = rest.iter().position(|&b| b == end)?;
    let number: f64 = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
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
