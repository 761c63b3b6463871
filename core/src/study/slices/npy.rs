//! Parses the `.npy` header of a crop.

use super::unreadable;
use crate::bounded::excerpt;
use crate::config::CHANNELS;
use std::io::Read;

/// Usual bytes of such a file's NumPy header; more are read only if it is longer.
pub(super) const HEADER: usize = 128;
/// Maximum length of a header in bytes.
const LONGEST_HEADER: u32 = 64 << 10;
/// Maximum height and width of a crop.
pub(super) const LONGEST_SIDE: usize = 4096;
/// Description of a valid file for messages.
pub(super) const EXPECTED: &str = "uint8 [H, W, 6], H and W from 1 to 4096";

/// The header of an array `[height, width, 6]`.
pub(super) struct Header {
    pub height: usize,
    pub width: usize,
    /// Whether the first index varies fastest.
    pub fortran: bool,
    /// Offset of the first pixel in bytes.
    pub start: u64,
}

/// Reads and checks the header of `file`, which has `length` bytes and is positioned at its start.
pub(super) fn header(file: &mut impl Read, length: u64) -> Result<Header, String> {
    // Read no more than the usual header: bytes after it would be wasted.
    let mut head = Vec::with_capacity(HEADER);
    file.take(HEADER as u64).read_to_end(&mut head).map_err(unreadable)?;
    let usual = head[..].try_into().ok().and_then(usual);
    let header = match usual {
        Some((height, width)) => Header { height, width, fortran: false, start: HEADER as u64 },
        None => parse(head, file)?,
    };
    let sides = 1..=LONGEST_SIDE;
    if !sides.contains(&header.height) || !sides.contains(&header.width) {
        let shape = [header.height, header.width, CHANNELS];
        return Err(format!("is uint8 {shape:?}, expected {EXPECTED}"));
    }
    let bytes = (header.height * header.width * CHANNELS) as u64;
    match length.saturating_sub(header.start) {
        n if n < bytes => Err(format!("is truncated: {n} of {bytes} bytes of pixels are there")),
        n if n > bytes => Err(format!("has {} bytes too many behind its pixels", n - bytes)),
        _ => Ok(header),
    }
}

/// Parses any NumPy header of a uint8 array `[H, W, 6]` whose first bytes are in `head`.
///
/// Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. We do not use the
/// parser of `ndarray-npy` because it takes time exponential in the depth of `{{{{…`, and as much
/// memory as the file claims for its header.
fn parse(mut head: Vec<u8>, rest: &mut impl Read) -> Result<Header, String> {
    let foreign = |why: &str| format!("is not a NumPy file: {why}");
    let (text_at, length) = match head.strip_prefix(b"\x93NUMPY") {
        Some(&[1, 0, a, b, ..]) => (10, u32::from(u16::from_le_bytes([a, b]))),
        Some(&[2 | 3, 0, a, b, c, d, ..]) => (12, u32::from_le_bytes([a, b, c, d])),
        Some(&[major, minor, ..]) => {
            return Err(foreign(&format!("of an unknown version {major}.{minor}, or cut short")));
        }
        _ => return Err(foreign("it begins with other bytes")),
    };
    if length > LONGEST_HEADER {
        return Err(foreign(&format!("its header has {length} bytes, more than {LONGEST_HEADER}")));
    }
    let end = text_at + length as usize;
    if let Some(more) = end.checked_sub(head.len()) {
        rest.take(more as u64).read_to_end(&mut head).map_err(unreadable)?;
    }
    let text = head.get(text_at..end).ok_or_else(|| foreign("its header is cut short"))?;
    let text = std::str::from_utf8(text).map_err(|_| foreign("its header is not text"))?;
    let (descr, fortran, shape) = entries(text).ok_or_else(|| {
        foreign("its header is not {'descr': …, 'fortran_order': …, 'shape': (…)}")
    })?;
    let uint8 = matches!(descr, "|u1" | "<u1" | ">u1" | "=u1" | "u1");
    match shape[..] {
        [height, width, CHANNELS] if uint8 => {
            Ok(Header { height, width, fortran, start: end as u64 })
        }
        _ => {
            let kind =
                if uint8 { "uint8".into() } else { format!("of type '{}'", excerpt(descr, 20)) };
            let shape = excerpt(&format!("{shape:?}"), 80);
            Err(format!("is {kind} {shape}, expected {EXPECTED}"))
        }
    }
}

/// Parses the dictionary: `descr`, `fortran_order` and `shape` in any order, each once, with or without a
/// trailing comma.
fn entries(text: &str) -> Option<(&str, bool, Vec<usize>)> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim_start();
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        rest = after.trim_start().strip_prefix(':')?.trim_start();
        match key {
            "descr" if descr.is_none() => {
                let (text, after) = quoted(rest)?;
                (descr, rest) = (Some(text), after);
            }
            "fortran_order" if fortran.is_none() => {
                let (is, after) = match rest.strip_prefix("True") {
                    Some(after) => (true, after),
                    None => (false, rest.strip_prefix("False")?),
                };
                (fortran, rest) = (Some(is), after);
            }
            "shape" if shape.is_none() => {
                let (sides, after) = rest.strip_prefix('(')?.split_once(')')?;
                let sides = sides.trim_end();
                let sides = sides.strip_suffix(',').unwrap_or(sides);
                // Python 2 wrote long integers with an L.
                let side = |s: &str| s.trim().trim_end_matches('L').parse().ok();
                let sides = match sides.trim() {
                    "" => Some(Vec::new()),
                    sides => sides.split(',').map(side).collect(),
                };
                (shape, rest) = (Some(sides?), after);
            }
            _ => return None,
        }
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() => {}
            None => return None,
        }
    }
    Some((descr?, fortran?, shape?))
}

/// Splits a quoted string off the beginning of `text` and returns it with the rest.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (inner, after) = text[1..].split_once(quote)?;
    (!inner.contains('\\')).then_some((inner, after))
}

/// Returns height and width if the header is exactly as `numpy.save` (or `ndarray-npy`) writes it for
/// uint8 `[height, width, 6]` in C order. The general parser takes as long as reading the pixels:
/// 40 of the 95 µs for a 224×224 file in the page cache.
pub(super) fn usual(head: &[u8; HEADER]) -> Option<(usize, usize)> {
    // Version 1.0, with 118 bytes of text.
    let text = head.strip_prefix(b"\x93NUMPY\x01\x00\x76\x00")?.strip_suffix(b"\n")?;
    let text = std::str::from_utf8(text).ok()?.trim_end_matches(' ');
    let shape = text.strip_prefix("{'descr': '|u1', 'fortran_order': False, 'shape': (")?;
    let shape = shape.strip_suffix("), }").or_else(|| shape.strip_suffix(")}"))?;
    let mut sides = shape.split(", ").map(|side| side.parse().ok());
    match [sides.next()??, sides.next()??, sides.next()??] {
        [height, width, CHANNELS] if sides.next().is_none() => Some((height, width)),
        _ => None,
    }
}
