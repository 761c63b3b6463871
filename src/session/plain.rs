//! Detects where a dashboard cannot be shown.

use crate::print;
use std::io::{IsTerminal, stdout};

/// Values of `TERM` for terminals that cannot position the cursor: a shell within Emacs, a printer, an
/// unknown terminal.
const DUMB: [&str; 5] = ["dumb", "emacs", "unknown", "network", "dialup"];

/// Whether standard output supports only plain lines; prints the reason.
pub(super) fn is_needed() -> bool {
    let term = std::env::var_os("TERM").unwrap_or_default();
    let why = match stdout().is_terminal() {
        false => Some("stdout is no terminal".into()),
        true if cfg!(unix) => why_not(&term.to_string_lossy()),
        true => None,
    };
    if let Some(why) = &why {
        print::warn(format_args!("{why}, so these are plain lines (--no-tui)"));
    }
    why.is_some()
}

/// Explains why a terminal of this name cannot show a dashboard.
fn why_not(term: &str) -> Option<String> {
    let term = term.trim();
    if term.is_empty() {
        return Some("TERM is not set".into());
    }
    let is_dumb = DUMB.contains(&term) || term.starts_with("dumb-");
    is_dumb.then(|| format!("TERM={term} cannot show the dashboard"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_cannot_place_a_cursor_is_told_by_its_name() {
        for term in ["", " ", "dumb", "dumb-emacs-ansi", "emacs", "unknown", "dialup"] {
            assert!(why_not(term).is_some(), "{term:?}");
        }
        for term in ["xterm", "xterm-256color", "linux", "vt100", "eterm-color", "screen", "tmux"] {
            assert_eq!(why_not(term), None);
        }
    }
}
