//! The notebook's log: a line per epoch.

use crate::{bounded, run::folder::write_atomically};
use std::{
    io::{self, ErrorKind},
    path::Path,
};

/// Maximum size of the log in bytes; it has a line per epoch.
const LONGEST: u64 = 256 << 20;

/// Removes the lines of `fold` after `epoch`.
pub(super) fn trim_log(path: &Path, fold: usize, epoch: usize) -> io::Result<()> {
    let text = match bounded::read_text(path, LONGEST) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => return Ok(()),
        Err(e) => return Err(e),
    };
    let start = format!("Fold {fold}, Epoch ");
    let beyond = |line: &str| {
        let rest = line.split_once(&start).map(|(_, rest)| rest);
        let number = rest.and_then(|rest| rest.split(',').next()?.parse::<usize>().ok());
        number.is_some_and(|number| number > epoch)
    };
    if !text.lines().any(beyond) {
        return Ok(());
    }
    let kept = text.lines().filter(|line| !beyond(line)).flat_map(|line| [line, "\n"]);
    write_atomically(path, kept.collect::<String>().as_bytes())
}

/// Local time formatted as by C's `ctime`: `Sun Sep 25 13:05:11 2022`.
pub(super) fn ctime() -> String {
    jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// Formats the notebook's line, time first.
pub(super) fn log_line(
    time: &str,
    fold: usize,
    epoch: usize,
    lr: f64,
    train: f64,
    valid: f64,
) -> String {
    format!(
        "{time} Fold {fold}, Epoch {epoch}, lr: {lr:.7}, train loss: {train:.5}, \
         valid loss: {valid:.5}, metric: {valid:.6}."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_line_is_the_notebooks() {
        let line = log_line("Sun Sep 25 13:05:11 2022", 0, 1, 23e-5, 0.712342, 0.70123);
        assert_eq!(
            line,
            "Sun Sep 25 13:05:11 2022 Fold 0, Epoch 1, lr: 0.0002300, train loss: 0.71234, \
             valid loss: 0.70123, metric: 0.701230."
        );
    }
}
