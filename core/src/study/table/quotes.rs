//! Finds quotation marks that RFC 4180 does not allow: a lenient parser silently joins cells or whole
//! rows at them.

/// A misplaced quotation mark.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Position of the mark in bytes.
    pub at: usize,
    /// The problem, as the rest of "line N …".
    pub what: &'static str,
}

const OPEN: &str = "has a quotation mark that opens a cell and is never closed";
const BEHIND: &str = "has text behind a cell's closing quotation mark: put the whole cell in marks and \
                      double those inside, or delete them";
const SWALLOWS: &str = "has a quoted cell that goes on over further lines and takes whole rows in: a \
                        quotation mark is missing or too many";

/// Returns the first misplaced quotation mark of `text`, a CSV of `columns` columns.
///
/// A mark inside a cell that does not begin with one is taken literally, as pandas does.
pub fn first_wrong(text: &[u8], columns: usize) -> Option<Wrong> {
    let mut at = 0;
    while at < text.len() {
        // `at` is the start of a cell.
        let start = at;
        if text[at] == b'"' {
            let end = match closing(text, at) {
                Some(end) => end,
                None => return Some(Wrong { at: start, what: OPEN }),
            };
            let behind = text.get(end + 1);
            if !matches!(behind, None | Some(b',' | b'\n' | b'\r')) {
                return Some(Wrong { at: end, what: BEHIND });
            }
            let further = text[start..end].split(|b| matches!(b, b'\n' | b'\r')).skip(1);
            // A note may have several lines, but a line with as many cells as a row is a row.
            let commas = |line: &[u8]| line.iter().filter(|&&b| b == b',').count();
            if columns > 2 && further.map(commas).any(|n| n + 1 >= columns) {
                return Some(Wrong { at: start, what: SWALLOWS });
            }
            at = end + 1;
        } else {
            let rest = &text[at..];
            at += rest.iter().position(|b| matches!(b, b',' | b'\n' | b'\r')).unwrap_or(rest.len());
        }
        at += 1;
    }
    None
}

/// Returns the mark that closes the one at `open`; doubled marks do not close it.
fn closing(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += memchr::memchr(b'"', text.get(at..)?)?;
        if text.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marks_that_a_parser_could_misread_are_wrong() {
        for fine in [
            "a,b,c\n1,2,3\n",
            "\"a\",\"b\"\"c\",\"d,e\"\r\n1,2,\"\"\r\n",
            "a,b,c\n1,5\" disc,3\n",
            "a,b,c\n1,\"two\nlines, and a comma\",3\n",
            "",
            "\"\"",
        ] {
            assert_eq!(first_wrong(fine.as_bytes(), 3), None, "{fine:?}");
        }
        for (wrong, at, what) in [
            ("a,b,c\n1,\"2,3\n4,5,6\n", 8, OPEN),
            ("a,b,c\n1,2,\"x\n4,5,\"y\n", 17, BEHIND),
            ("a,b,c\n1,2,\"x\n4,5,\"\n", 10, SWALLOWS),
            ("a,\"b\"c,d\n", 4, BEHIND),
            ("\"", 0, OPEN),
        ] {
            assert_eq!(first_wrong(wrong.as_bytes(), 3), Some(Wrong { at, what }), "{wrong:?}");
        }
    }
}
