use super::parse::LONGEST_ROW;
use super::*;

fn read(text: &str) -> Result<Table, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    std::fs::write(&path, text).unwrap();
    Table::read(&path)
}

fn table(folds: &[usize]) -> Table {
    let study = |(i, &fold): (usize, &usize)| Study {
        uid: format!("s{i}").into(),
        labels: [u8::from(i % 2 == 0), 0, 0, 0, 0, 0, 0],
        fold,
    };
    Table { studies: folds.iter().enumerate().map(study).collect() }
}

#[test]
fn any_column_order_bom_crlf_and_floats() {
    let t = read("\u{feff}fold,extra,C7,C6,C5,C4,C3,C2,C1,StudyInstanceUID\r\n3,x,1.0,0,0,0,0,0,1, a \r\n\r\n0.0,,0,0,0,0,0,0,0,b\r\n")
        .unwrap();
    assert_eq!(t.studies.len(), 2);
    assert_eq!(t.studies[0].uid.as_ref(), "a");
    assert_eq!(t.studies[0].labels, [1, 0, 0, 0, 0, 0, 1]);
    assert_eq!((t.studies[0].fold, t.studies[1].fold), (3, 0));
    assert_eq!(prevalence(&t.studies), (2.0 / 14.0, 0.5));
}

#[test]
fn bad_cells_are_told_with_line_and_column() {
    let e = read(
        "StudyInstanceUID,C1,C2,C3,C4,C5,C6,C7,fold\r\na,0,0,0,0,0,0,2,0\r\n\r\na,0,0,0,0,0,0,0,x\r\n,0,0,0,0,0,0,0,0\r\nb/c,0,0,0,0,0,0,,0\r\nd,0\r\n",
    )
    .unwrap_err()
    .to_string();
    for words in [
        "line 2, column C7: \"2\" is not 0 or 1",
        "line 4, column StudyInstanceUID: \"a\" is also on line 2",
        "line 4, column fold: \"x\"",
        "line 5, column StudyInstanceUID: is empty",
        "line 6, column StudyInstanceUID: \"b/c\"",
        "7 problems",
        "and 2 more",
        "data.table",
    ] {
        assert!(e.contains(words), "{e:?} lacks {words:?}");
    }
    assert!(!e.contains('\n'));
}

#[test]
fn where_only_studies_are_needed_the_rest_may_be_anything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    // Like the competition's test.csv, with several rows per study.
    std::fs::write(&path, "fold,StudyInstanceUID,C1\nx,a,\n,b,7\n1,a,1\n").unwrap();
    let table = Table::read_uids(&path).unwrap();
    let uids: Vec<&str> = table.studies.iter().map(|s| &*s.uid).collect();
    assert_eq!(uids, ["a", "b"]);
    std::fs::write(&path, "fold,C1\n1,1\n").unwrap();
    let error = Table::read_uids(&path).unwrap_err().to_string();
    assert!(error.contains("no header with StudyInstanceUID"), "{error}");
    assert!(error.contains("--studies"), "{error}");
}

#[test]
fn missing_columns_no_rows_and_no_file() {
    let e = read("StudyInstanceUID,C1,C2,C3,C5,C6,C7\na,0,0,0,0,0,0\n").unwrap_err().to_string();
    assert!(e.contains("no column C4") && e.contains("no column fold"), "{e}");
    let e = read("StudyInstanceUID,C1,C2,C3,C4,C5,C6,C7,fold\n").unwrap_err().to_string();
    assert!(e.contains("no rows"), "{e}");
    assert!(read("").is_err());
    let e = Table::read(Path::new("nowhere/t.csv")).unwrap_err().to_string();
    assert!(e.contains("nowhere/t.csv") && e.contains("data.table"), "{e}");
}

#[test]
fn a_hostile_table_costs_one_message_and_little_memory() {
    let header = "StudyInstanceUID,C1,C2,C3,C4,C5,C6,C7,fold\n";
    let started = std::time::Instant::now();
    // Each of these rows is too short.
    let e = read(&(header.to_string() + &"a\n".repeat(500_000))).unwrap_err().to_string();
    assert!(e.contains("500000 problems") && e.len() < 1000, "{e}");
    // The row may have some more bytes, which the reader buffered together with the header.
    let commas = ",".repeat(LONGEST_ROW + (1 << 16));
    let e = read(&(header.to_string() + &commas)).unwrap_err().to_string();
    assert!(e.contains("a row is longer than 1048576 bytes"), "{e}");
    let e = read(&",".repeat(LONGEST_ROW + 2)).unwrap_err().to_string();
    assert!(e.contains("a row is longer than 1048576 bytes"), "{e}");
    let long = "x".repeat(100_000);
    let e = read(&format!("{header}\x1b[2J{long},{long}\n")).unwrap_err().to_string();
    assert!(e.len() < 2000 && !e.contains('\x1b'), "{e}");
    let rows: String = (0..200_000).map(|i| format!("s{i},0,0,0,0,0,0,1,0\n")).collect();
    let table = read(&format!("{header}{rows}")).unwrap();
    assert_eq!(table.studies.len(), 200_000);
    assert!(started.elapsed().as_secs() < 20, "it took {:?}", started.elapsed());
}

#[test]
fn split_keeps_the_order_and_folds_are_checked() {
    let t = table(&[0, 1, 2, 0, 1]);
    let (train, valid) = t.split(0);
    let uids = |s: &[Study]| s.iter().map(|s| s.uid.to_string()).collect::<Vec<_>>();
    assert_eq!(uids(&train), ["s1", "s2", "s4"]);
    assert_eq!(uids(&valid), ["s0", "s3"]);
    t.check_folds(&[0, 1, 2], 3).unwrap();
    let e = t.check_folds(&[0, 3], 2).unwrap_err().to_string();
    assert!(e.contains("fold 3 has no study") && e.contains("folds 0, 1, 2"), "{e}");
    let e = t.check_folds(&[0], 4).unwrap_err().to_string();
    assert!(e.contains("3 studies") && e.contains("train.batch_size to at most 3"), "{e}");
    let e = table(&[0, 1]).check_folds(&[0], 2).unwrap_err().to_string();
    assert!(e.contains("1 study") && e.contains("add studies"), "{e}");
}

#[test]
fn sample_is_a_seeded_subset_and_write_reads_back() {
    let t = table(&[0; 40]);
    let a = t.sample(16, 1);
    assert_eq!(a, t.sample(16, 1));
    assert_ne!(a, t.sample(16, 2));
    let uids: BTreeSet<_> = a.studies.iter().map(|s| s.uid.clone()).collect();
    assert_eq!(uids.len(), 16);
    assert_eq!(t.sample(99, 1).studies.len(), 40);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    a.write(&path).unwrap();
    assert_eq!(Table::read(&path).unwrap(), a);
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("StudyInstanceUID,patient_"));
}

const HEADER: &str = "StudyInstanceUID,C1,C2,C3,C4,C5,C6,C7,fold";

/// Returns the error message for a table.
fn refusal(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    std::fs::write(&path, bytes).unwrap();
    let said = Table::read(&path).unwrap_err().to_string();
    assert!(said.contains("t.csv") && said.len() < 900, "{said}");
    assert!(!said.contains(char::is_control), "{said:?}");
    said
}

fn refused(bytes: &[u8], words: &[&str]) {
    let said = refusal(bytes);
    for word in words {
        assert!(said.contains(word), "{said:?} lacks {word:?}");
    }
}

#[test]
fn rows_of_another_length_than_the_header_are_refused_with_their_line() {
    let good = "a,0,0,0,0,0,0,0,0";
    for (row, cells) in [
        // Decimal commas, in a column before and one after the labels.
        ("b,45,1,0,0,0,0,0,0,0,0", "11 cells"),
        ("b,0,0,0,0,0,0,0,0,45,1", "11 cells"),
        ("b,0,0,0,0,0,0,0,0,", "10 cells"),
        ("b,0,0,0,0,0,0,0", "8 cells"),
        ("b", "1 cell "),
        ("b;0;0;0;0;0;0;0;0", "1 cell "),
        (" ", "1 cell "),
    ] {
        let header = if cells == "11 cells" { format!("{HEADER},age") } else { HEADER.into() };
        let good = if cells == "11 cells" { format!("{good},3") } else { good.into() };
        let line = format!("line 4 has {cells}");
        refused(format!("{header}\n\n{good}\n{row}\n").as_bytes(), &[line.trim(), "1 problem:"]);
        // Old Macs ended lines with CR.
        refused(format!("{header}\r{good}\r{row}\r").as_bytes(), &["line 3 has", "line 1, has"]);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    std::fs::write(&path, "StudyInstanceUID,age\na,45,1\nb,45\n").unwrap();
    let said = Table::read_uids(&path).unwrap_err().to_string();
    assert!(said.contains("line 2 has 3 cells") && said.contains("--studies"), "{said}");
}

#[test]
fn a_header_without_a_name_for_the_first_column_is_told_once() {
    let rows = "1,a,0,0,0,0,0,0,0,0\n2,b,0,0,0,0,0,0,0,1\n";
    refused(
        format!("{HEADER}\n{rows}").as_bytes(),
        &["1 problem:", "every row has 10", "row.names"],
    );
    let rows = "a,0,0,0,0,0,0,0,0,\nb,0,0,0,0,0,0,0,1,\n";
    refused(
        format!("{HEADER}\n{rows}").as_bytes(),
        &["1 problem:", "every row has 10", "comma at the end"],
    );
    // If the studies are the row names, their column has no name.
    let (header, rows) = (&HEADER[17..], "a,0,0,0,0,0,0,0,0\nb,0,0,0,0,0,0,0,1\n");
    refused(
        format!("{header}\n{rows}").as_bytes(),
        &["1 problem:", "every row has 9", "row.names"],
    );
    refused(format!("patient\n{rows}").as_bytes(), &["no header with", "patient"]);
    // pandas' to_csv names an index by an empty cell; a comma at the end of every line adds a column.
    read(&format!(",{HEADER}\n0,a,0,0,0,0,0,0,0,0\n")).unwrap();
    read(&format!("{HEADER},\na,0,0,0,0,0,0,0,0,\n")).unwrap();
}

#[test]
fn files_that_are_no_csv_are_named_for_what_they_are() {
    let text = format!("{HEADER}\na,0,0,0,0,0,0,0,0\n");
    let utf16 = |of: fn(u16) -> [u8; 2], mark: bool| -> Vec<u8> {
        let mark = if mark { "\u{feff}" } else { "" };
        mark.encode_utf16().chain(text.encode_utf16()).flat_map(of).collect()
    };
    for mark in [true, false] {
        refused(&utf16(u16::to_le_bytes, mark), &["UTF-16 (little-endian", "CSV UTF-8"]);
        refused(&utf16(u16::to_be_bytes, mark), &["UTF-16 (big-endian", "CSV UTF-8"]);
        let utf32 = |c: char| (c as u32).to_le_bytes();
        let start = if mark { "\u{feff}" } else { "" };
        let utf32: Vec<u8> = start.chars().chain(text.chars()).flat_map(utf32).collect();
        refused(&utf32, &["UTF-32"]);
    }
    let zip = |name: &str| [b"PK\x03\x04\x14\0\0\0", name.as_bytes(), &[0; 40]].concat();
    let compressed = |magic: &[u8]| [magic, &[0x81, 0, 7, 0xFE]].concat();
    let mut tar = vec![0; 1024];
    tar[..5].copy_from_slice(b"t.csv");
    tar[257..262].copy_from_slice(b"ustar");
    let files: Vec<(Vec<u8>, &str)> = vec![
        (zip("[Content_Types].xml"), "Excel workbook (.xlsx)"),
        (zip("mimetypeapplication/vnd.oasis.opendocument.spreadsheet"), "(.ods)"),
        (zip("t.csv"), "a zip archive"),
        (compressed(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"), "(.xls)"),
        (compressed(b"\x1F\x8B\x08"), "gzip"),
        (compressed(b"\x28\xB5\x2F\xFD"), "zstd"),
        (compressed(b"BZh91AY&SY"), "bzip2"),
        (compressed(b"\xFD7zXZ\0"), "xz"),
        (compressed(b"PAR1"), "Parquet"),
        (compressed(b"ARROW1\0\0"), "Arrow"),
        (compressed(b"\x89HDF\r\n\x1A\n"), "HDF5"),
        (compressed(b"\x93NUMPY"), "NumPy"),
        (compressed(b"\x80\x04\x95"), "pickle"),
        (compressed(b"SQLite format 3\0"), "SQLite"),
        (tar, "tar archive"),
        (compressed(b"a,b\n"), "a binary file"),
        (b"<!DOCTYPE html><html>StudyInstanceUID".to_vec(), "HTML"),
        (b"\xEF\xBB\xBF\n <table><tr>".to_vec(), "HTML"),
        (b"[{\"StudyInstanceUID\": \"1.2\"}]".to_vec(), "JSON"),
        (b"{\"StudyInstanceUID\": [\"1.2\"]}".to_vec(), "JSON"),
        (b"%PDF-1.7\n".to_vec(), "PDF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(), "git lfs pull"),
        (b"".to_vec(), "is empty"),
        (b"\xEF\xBB\xBF\r\n \n".to_vec(), "is empty"),
    ];
    for (bytes, what) in files {
        refused(&bytes, &[what]);
    }
    for (separator, what) in
        [(";", "semicolons"), ("\t", "tabs"), ("|", "by |"), (" ", "spaces"), (" | ", "by |")]
    {
        let text = text.replace(',', separator);
        refused(text.as_bytes(), &[what, "commas"]);
        refused(text.to_lowercase().as_bytes(), &[what, "commas"]);
        refused(text.replace("StudyInstanceUID", "\"StudyInstanceUID\"").as_bytes(), &[what]);
    }
    for sep in ["sep=;", "SEP=,", "\"sep=,\"", "sep=\t"] {
        refused(format!("\u{feff}{sep}\r\n{text}").as_bytes(), &["sep=", "delete that line"]);
    }
    // A header may begin like a format's magic number.
    read(&format!("ORCID,{HEADER}\nx,a,0,0,0,0,0,0,0,0\n")).unwrap();
    refused(b"a\xE4,b\n", &["line 1 is not UTF-8"]);
}

#[test]
fn a_header_that_is_nearly_right_is_told_what_to_be() {
    let row = "a,0,0,0,0,0,0,0,0\n";
    let with = |from: &str, to: &str| format!("{}\n{row}", HEADER.replace(from, to));
    refused(
        with("StudyInstanceUID", "study_instance_uid").as_bytes(),
        &["\"study_instance_uid\": rename it"],
    );
    refused(
        with("StudyInstanceUID", "Study Instance UID").as_bytes(),
        &["no column StudyInstanceUID, but"],
    );
    refused(with("C", "c").as_bytes(), &["no column C1, but \"c1\"", "7 problems"]);
    refused(with("fold", "Fold").as_bytes(), &["no column fold, but \"Fold\""]);
    refused(with("C2", "C1").as_bytes(), &["the column C1 twice", "no column C2"]);
    refused(with("C2", "D2").as_bytes(), &["no column C2"]);
    refused(
        format!("1.2.826.0.1,0,0,0,0,0,0,0,0\n{row}").as_bytes(),
        &["line 1 is a study, not a header", HEADER],
    );
    refused(format!("{row}{row}").as_bytes(), &["line 1 is a study, not a header"]);
    refused(b"id,x\na,b\n", &["has the columns \"id,x\"", HEADER]);
    refused(format!("# made by hand\n{HEADER}\n{row}").as_bytes(), &["the header is on line 2"]);
    let bom = format!("\u{feff}\u{feff}\"StudyInstanceUID\"{}\n{row}", &HEADER[16..]);
    assert_eq!(read(&bom).unwrap().studies.len(), 1);
}

#[test]
fn cells_that_a_spreadsheet_changed_are_told_what_to_be() {
    let row =
        |uid: &str, c1: &str, fold: &str| format!("{HEADER}\n{uid},{c1},0,0,0,0,0,0,{fold}\n");
    refused(row("1.23E+15", "0", "0").as_bytes(), &["line 2, column StudyInstanceUID", "rounded"]);
    refused(row("1e5", "0", "0").as_bytes(), &["rounded"]);
    for (label, what) in [
        ("TRUE", "write 1"),
        ("False", "write 0"),
        ("yes", "write 1"),
        ("", "missing"),
        ("NaN", "missing"),
        ("0.5", "not 0 or 1"),
        ("\"0,0\"", "not 0 or 1"),
        ("+1", "not 0 or 1"),
        ("-1", "not 0 or 1"),
    ] {
        refused(row("a", label, "0").as_bytes(), &["line 2, column C1", what]);
    }
    for fold in ["", "-1", "1.5", "one", "\"1,0\"", "1e0"] {
        refused(row("a", "0", fold).as_bytes(), &["line 2, column fold"]);
    }
    assert_eq!(read(&row("a", "1.00", "2.0")).unwrap().studies[0].fold, 2);
    refused(
        format!("{}{}\n", row("a", "0", "0"), ",".repeat(8)).as_bytes(),
        &["line 3 has nothing but commas"],
    );
}

#[test]
fn a_stray_quotation_mark_takes_no_rows_with_it() {
    let table = |note: &str, after: &str| {
        format!("{HEADER},note\na,0,0,0,0,0,0,0,0,{note}\nb,0,0,0,0,0,0,0,0,{after}\n")
    };
    refused(table("\"x", "y").as_bytes(), &["line 2", "never closed"]);
    refused(table("\"x", "\"y").as_bytes(), &["line 3", "behind"]);
    refused(table("\"x", "\"").as_bytes(), &["line 2", "takes whole rows in"]);
    refused(table("\"x\" y", "").as_bytes(), &["line 2", "behind"]);
    refused(table("", "").replace("\na,", "\n\"a,").as_bytes(), &["line 2", "never closed"]);
    refused(
        table("", "").replace("\nb,", "\nb\",").as_bytes(),
        &["line 3, column StudyInstanceUID", "quotation mark"],
    );
    refused(
        table("", "").replace("\nb,", "\n\"b\nc\",").as_bytes(),
        &["line 3, column StudyInstanceUID", "line end"],
    );
    // Unambiguous quoting is accepted, and lines are counted correctly through it.
    let fine = table("\"two\nlines, \"\"quoted\"\"\"", "5\" disc");
    assert_eq!(read(&fine).unwrap().studies.len(), 2);
    let later = format!("{fine}c,0,0,0,0,0,0,0,x,\n");
    refused(later.as_bytes(), &["line 5, column fold"]);
}
