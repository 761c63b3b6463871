//! What a run tells of itself and of its machine: alerts, and the command for them.

use crate::tiny::{rsna_tui, said, train};
use rsna_tui::{run::Event, run::journal, view::State};
use std::{fs, path::Path};

/// A line for each alert, without what a clock says.
const HOOK: &str = "ui.on_alert='echo \"$RSNA_TUI_RUN $RSNA_TUI_ALERT $RSNA_TUI_LEVEL: \
                    $RSNA_TUI_MESSAGE\" >> \"$RSNA_TUI_FOLDER/told\"; echo seen'";

fn alert_lines(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("told")).unwrap_or_default();
    // Whatever the disk that this is tested on.
    text.lines().filter(|line| !line.contains(" disk_low ")).map(String::from).collect()
}

#[test]
fn a_command_is_run_for_each_alert_by_the_process_that_trains() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut args = train("stops", 2);
    args.extend(["--nan-at-batch", "3", "--set", HOOK]);
    let out = rsna_tui(dir, &args);
    assert_eq!(out.status.code(), Some(1));
    let run = dir.join("runs/stops");
    let lines = alert_lines(&run);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (fold, line) in lines.iter().enumerate() {
        let begins = format!("stops error error: fold {fold} epoch 1 step 2: fold {fold} failed");
        assert!(line.starts_with(&begins), "{line}");
    }
    assert!(fs::read_to_string(run.join("on_alert.log")).unwrap().starts_with("seen\nseen\n"));

    // Who looks at it afterwards runs nothing.
    assert!(rsna_tui(dir, &["attach", "stops", "--no-tui"]).status.success());
    assert_eq!(alert_lines(&run), lines);

    let mut args = train("skips", 2);
    args.extend(["--nan-at-batch", "3", "--set", "train.on_nonfinite=\"skip\"", "--set", HOOK]);
    let out = rsna_tui(dir, &args);
    assert!(out.status.success(), "{}", said(&out));
    let lines = alert_lines(&dir.join("runs/skips"));
    // One, brought up to date: there are not 50 good steps between two of them.
    let expected = "skips not_finite error: 1 batch left out: a loss or gradient is not finite, \
                    the last after fold 0 epoch 1 step 2";
    assert_eq!(lines, [expected]);
    assert!(said(&out).contains("error: 1 batch left out"), "{}", said(&out));
    let journal = dir.join("runs/skips/journal.jsonl");
    let (state, strange) = State::of_journal(&journal, None).unwrap();
    assert_eq!(strange, 0);
    let standing = state.alerts.standing();
    assert!(standing.iter().any(|alert| alert.text.starts_with("4 batches left out")));
    let lines = fs::read(&journal).unwrap();
    let left_out = lines.split(|&b| b == b'\n').filter_map(journal::parse);
    assert_eq!(left_out.filter(|s| matches!(s.event, Event::LeftOut(_))).count(), 4);
}

#[test]
fn a_command_that_fails_does_no_harm_and_may_be_another_after_a_resume() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut args = train("fails", 2);
    let skip = "train.on_nonfinite=\"skip\"";
    let fails = "ui.on_alert='echo oh no >&2; exit 3'";
    args.extend(["--nan-at-batch", "3", "--panic-at-step", "14"]);
    args.extend(["--set", skip, "--set", fails]);
    let out = rsna_tui(dir, &args);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    let run = dir.join("runs/fails");
    let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap();
    let warning = "ui.on_alert: the command ended with exit status: 3; see ";
    assert_eq!(journal.matches(warning).count(), 1, "{journal}");
    assert!(fs::read_to_string(run.join("on_alert.log")).unwrap().contains("oh no"));
    let resume = ["resume", "fails", "--no-tui", "--nan-at-batch", "3", "--set", HOOK];
    let out = rsna_tui(dir, &resume);
    assert!(out.status.success(), "{}", said(&out));
    assert!(!alert_lines(&run).is_empty());
}
