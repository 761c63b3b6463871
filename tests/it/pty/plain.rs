//! Terminals that cannot show a dashboard.

use super::session::{DEMO, Session};
use std::sync::Arc;

#[test]
fn a_terminal_that_cannot_place_a_cursor_gets_plain_lines_and_the_reason() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let demo: Vec<&str> = DEMO.split_whitespace().collect();
    let run = |term, args: &[&str]| Session::run(dir.clone(), (100, 60), term, args);
    let mut first = run(Some("dumb"), &demo);
    first.wait("TERM=dumb cannot show the dashboard, so these are plain lines (--no-tui)");
    first.wait("fold 0 epoch 2/500");
    let attached = run(None, &["attach", "demo"]);
    attached.wait("TERM is not set, so these are plain lines");
    attached.wait("fold 0 epoch");
    attached.signal("-TERM");
    attached.end(143);
    first.signal("-TERM");
    first.exit(143);
    first.restored();
    let resumed = run(Some("unknown"), &["resume", "demo"]);
    resumed.wait("TERM=unknown cannot show the dashboard");
    resumed.wait("fold 0 epoch");
    assert!(!resumed.is_up());
    resumed.signal("-INT");
    resumed.end(130);
}
