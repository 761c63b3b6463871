//! Recognises files that are not CSV tables by their first bytes, so that the message can say what to
//! do instead of listing parse errors.

/// The format of a file that is not a table, and how to get a table from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// As in "it is {what}".
    pub what: &'static str,
    /// As in "…; {advice}".
    pub advice: &'static str,
}

/// Whether a character separates two cells.
type Separator = fn(char) -> bool;

/// Number of bytes at the start of a file that decide its format.
const HEAD: usize = 4096;

const EXPORT: &str =
    "open it in the spreadsheet program and save the sheet as CSV UTF-8 with commas";
const UNPACK: &str = "unpack it and give the CSV that is in it";
const CONVERT: &str = "convert it, for example with pandas: to_csv(path, index=False)";

/// Formats with the bytes that they begin with.
const MAGIC: [(&[u8], &str, &str); 26] = [
    (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "an Excel workbook of the old kind (.xls)", EXPORT),
    (b"PK\x05\x06", "an empty zip archive", UNPACK),
    (b"\x1F\x8B", "compressed with gzip", UNPACK),
    (b"\x28\xB5\x2F\xFD", "compressed with zstd", UNPACK),
    (b"BZh", "compressed with bzip2", UNPACK),
    (b"\xFD7zXZ\0", "compressed with xz", UNPACK),
    (b"\x04\x22\x4D\x18", "compressed with lz4", UNPACK),
    (b"LZIP", "compressed with lzip", UNPACK),
    (b"\x1F\x9D", "compressed with compress (.Z)", UNPACK),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive", UNPACK),
    (b"Rar!\x1A\x07", "a RAR archive", UNPACK),
    (b"PAR1", "a Parquet file", CONVERT),
    (b"ARROW1", "an Arrow (Feather) file", CONVERT),
    (b"FEA1", "a Feather file", CONVERT),
    (b"ORC", "an ORC file", CONVERT),
    (b"Obj\x01", "an Avro file", CONVERT),
    (b"\x89HDF\r\n\x1A\n", "an HDF5 file", CONVERT),
    (b"\x93NUMPY", "a NumPy array", CONVERT),
    (b"SQLite format 3\0", "an SQLite database", CONVERT),
    (b"<stata_dta>", "a Stata file", CONVERT),
    (b"$FL2", "an SPSS file", CONVERT),
    (b"RDX", "an R data file", "write it from R with write.csv(x, path, row.names = FALSE)"),
    (b"%PDF", "a PDF", "give the CSV that it was made from"),
    (b"{\\rtf", "an RTF document", EXPORT),
    (b"\x80\x04\x95", "a Python pickle", CONVERT),
    (b"\x80\x05\x95", "a Python pickle", CONVERT),
];

const fn foreign(what: &'static str, advice: &'static str) -> Option<Foreign> {
    Some(Foreign { what, advice })
}

/// Returns the format of a file that is not text with cells, or `None` if it may be a table.
pub fn of_bytes(bytes: &[u8]) -> Option<Foreign> {
    let head = &bytes[..bytes.len().min(HEAD)];
    if head.starts_with(b"PK\x03\x04") {
        return zipped(head);
    }
    let magic = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic));
    // A column may be called ORCID.
    if let Some(&(_, what, advice)) = magic
        && !begins_with_header(head)
    {
        return foreign(what, advice);
    }
    if head.get(257..262) == Some(b"ustar") {
        return foreign("a tar archive", UNPACK);
    }
    if let Some(what) = wide_text(head) {
        return foreign(what, "save it again as CSV UTF-8");
    }
    if bytes.contains(&0) {
        return foreign("a binary file", CONVERT);
    }
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    let begins =
        |word: &[u8]| text.len() >= word.len() && text[..word.len()].eq_ignore_ascii_case(word);
    if begins(b"version https://git-lfs") {
        return foreign("a Git LFS pointer, not the file itself", "fetch it with git lfs pull");
    }
    if begins(b"<!doctype html") || begins(b"<html") {
        let advice = "download the CSV itself: a login page may have been saved in its place";
        return foreign("a web page (HTML)", advice);
    }
    match text.first() {
        None => foreign("empty", "give the CSV of the studies"),
        Some(b'<') => foreign("HTML or XML", CONVERT),
        Some(b'{' | b'[') => foreign("JSON", CONVERT),
        Some(_) => None,
    }
}

/// Whether the first line is text and contains the studies' column.
fn begins_with_header(head: &[u8]) -> bool {
    let line = head.split(|b| matches!(b, b'\n' | b'\r')).next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    !line.contains(char::is_control) && normalized(&line).contains("studyinstanceuid")
}

/// Normalizes a column's name: removes case, spaces and punctuation.
pub fn normalized(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Returns the kind of a zip archive; many spreadsheet formats are zip archives.
fn zipped(head: &[u8]) -> Option<Foreign> {
    let has = |word: &[u8]| head.windows(word.len()).any(|w| w == word);
    if has(b"xl/") || has(b"[Content_Types].xml") {
        foreign("an Excel workbook (.xlsx)", EXPORT)
    } else if has(b"opendocument.spreadsheet") {
        foreign("an OpenDocument spreadsheet (.ods)", EXPORT)
    } else if has(b"Index/") {
        foreign("a Numbers spreadsheet", EXPORT)
    } else {
        foreign("a zip archive", UNPACK)
    }
}

/// Detects UTF-16 and UTF-32, by the byte-order mark or the positions of zero bytes in Latin text.
fn wide_text(head: &[u8]) -> Option<&'static str> {
    const UTF_32: &str = "text in UTF-32";
    const LITTLE: &str = "text in UTF-16 (little-endian, as Excel's \"Unicode Text\" is)";
    const BIG: &str = "text in UTF-16 (big-endian)";
    if head.starts_with(b"\xFF\xFE\0\0") || head.starts_with(b"\0\0\xFE\xFF") {
        return Some(UTF_32);
    } else if head.starts_with(b"\xFF\xFE") {
        return Some(LITTLE);
    } else if head.starts_with(b"\xFE\xFF") {
        return Some(BIG);
    }
    // Number of zero bytes at each of four positions.
    let groups = head.chunks_exact(4);
    let n = groups.len();
    let mut zeros = [0; 4];
    for group in groups {
        group.iter().zip(&mut zeros).for_each(|(&byte, zeros)| *zeros += usize::from(byte == 0));
    }
    let mostly = zeros.map(|zeros| n > 0 && 4 * zeros > 3 * n);
    let hardly = zeros.map(|zeros| 4 * zeros < n);
    match (mostly, hardly) {
        ([_, true, true, _], _) if mostly[0] || mostly[3] => Some(UTF_32),
        ([_, true, _, true], [true, _, true, _]) => Some(LITTLE),
        ([true, _, true, _], [_, true, _, true]) => Some(BIG),
        _ => None,
    }
}

/// Says why the first line of a text is not a comma-separated header, if the cause is another separator
/// or Excel's `sep=` line. `is_column`: whether a cell is the name of a needed column.
pub fn of_first_line(line: &str, is_column: impl Fn(&str) -> bool) -> Option<Foreign> {
    let bare = line.trim().trim_matches('"').trim().to_ascii_lowercase();
    if bare.starts_with("sep=") {
        let advice = "delete that line, and separate the columns by commas";
        return foreign("headed by Excel's line \"sep=\"", advice);
    }
    let split = |separator: Separator| {
        let cells = line.split(separator).map(|cell| cell.trim().trim_matches(['"', '\'']));
        cells.filter(|cell| is_column(cell)).count()
    };
    let by_commas = split(|c| c == ',');
    const WITH_COMMAS: &str = "save it with commas between the columns, and points in numbers";
    let others: [(Separator, &str); 6] = [
        (|c| c == ';', "separated by semicolons"),
        (|c| c == '\t', "separated by tabs"),
        (|c| c == '|', "separated by |"),
        (|c| c == ':', "separated by colons"),
        (|c| c == '，' || c == '；' || c == '\u{1f}', "separated by other characters than commas"),
        (char::is_whitespace, "separated by spaces"),
    ];
    // A header of one column counts only if it contains the separator.
    let other = others
        .into_iter()
        .find(|(separator, _)| split(*separator) > by_commas && line.trim().contains(*separator));
    other.map(|(_, what)| Foreign { what, advice: WITH_COMMAS })
}
