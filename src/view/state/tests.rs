use super::*;
use crate::run::journal::Journal;

#[test]
fn the_log_names_once_what_a_newer_version_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    drop(Journal::open(&path).unwrap());
    let newer = "{\"type\":\"dream\",\"at\":7,\"elapsed\":1.0}\n";
    let text = std::fs::read_to_string(&path).unwrap() + &newer.repeat(3);
    std::fs::write(&path, text).unwrap();
    let (state, damaged) = State::of_journal(&path, None).unwrap();
    let said: Vec<_> = state.log.iter().filter(|line| line.text.contains("newer")).collect();
    assert_eq!((damaged, said.len()), (0, 1));
    assert!(said[0].text.ends_with("passed over: dream"), "{}", said[0].text);
}
