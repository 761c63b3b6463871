//! Who trains which fold: the columns of the pane of folds and of the Folds view, where several
//! processes train.

use crate::run::event::{Epoch, FoldState};
use crate::tui::theme;
use crate::view::{Fold, State, format, worker};
use ratatui::style::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Longest name of a host that is shown in full, in columns.
const HOST: usize = 20;

/// The columns that fit into a width.
pub struct Table {
    /// Titles above the columns.
    pub heading: String,
    /// Columns of the terminal that all rows have.
    pub width: usize,
    columns: Vec<Column>,
    /// Where the columns about the process are, in `columns`.
    process: std::ops::Range<usize>,
    marks: Vec<String>,
    troubles: Vec<Option<String>>,
    styles: Vec<Style>,
}

/// A column of the table.
pub struct Column {
    title: String,
    /// From 0, the first to get room.
    rank: u8,
    right: bool,
    /// Whether it is about the process.
    process: bool,
    cells: Vec<String>,
}

impl Column {
    /// A column of figures, one of each fold.
    pub fn figures(title: impl Into<String>, rank: u8, cells: Vec<String>) -> Self {
        Self { title: title.into(), rank, right: true, process: false, cells }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.width());
        cells.chain([self.title.width()]).max().unwrap_or(0)
    }

    fn cell(&self, text: &str) -> String {
        padded(text, self.width(), self.right)
    }
}

/// `text` in `width` columns, cut or filled up.
fn padded(text: &str, width: usize, right: bool) -> String {
    let room = width.saturating_sub(text.width());
    match (text.width() > width, right) {
        (true, _) => padded(&cut(text, width), width, right),
        (false, true) => " ".repeat(room) + text,
        (false, false) => text.to_string() + &" ".repeat(room),
    }
}

/// The start of `text`, with a mark where it was cut.
fn cut(text: &str, width: usize) -> String {
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    let start: String = text.chars().take_while(fits).collect();
    if width == 0 { String::new() } else { start + "…" }
}

impl Table {
    /// The table of all folds in `width`, with `more` columns at the right. `shown`: index of the selected
    /// fold.
    pub fn new(state: &State, shown: usize, width: usize, more: Vec<Column>) -> Self {
        let folds = &state.folds;
        let cells = |cell: &dyn Fn(&Fold) -> String| folds.iter().map(cell).collect::<Vec<_>>();
        let of_process = |cell: &dyn Fn(&Fold) -> Option<String>| {
            cells(&|fold: &Fold| {
                let at_work = fold.is_at_work() || state.word(fold) == "starting";
                if at_work { cell(fold).unwrap_or_default() } else { String::new() }
            })
        };
        let host = |fold: &Fold| {
            let host = worker::host(fold.worker.as_ref()?)?;
            Some(if host.width() > HOST { cut(host, HOST) } else { host.into() })
        };
        let device = |fold: &Fold| worker::device(fold.worker.as_ref()?).map(String::from);
        let speed = |fold: &Fold| state.speed_of(fold).map(format::rate);
        let eta = |fold: &Fold| state.fold_left(fold).map(|s| format!("~{}", format::duration(s)));
        let epoch = |fold: &Fold| format!("{}/{}", fold.at.epoch, fold.epochs.len());
        let column = |title: &str, rank, right, process, cells| Column {
            title: title.into(),
            rank,
            right,
            process,
            cells,
        };
        let mut columns = vec![
            column("state     ", 0, false, false, cells(&|fold| state.word(fold).into())),
            column("epoch", 0, true, false, cells(&epoch)),
            column("host", 2, false, true, of_process(&host)),
            column("device", 3, false, true, of_process(&device)),
            column("job", 6, false, true, of_process(&|fold| worker::job(fold.worker.as_ref()?))),
            column("img/s", 4, true, true, of_process(&speed)),
            column("ETA", 1, true, true, of_process(&eta)),
            column("best@ep.", 5, true, false, cells(&best)),
        ];
        // Where no process runs in a batch system, there is nothing to tell.
        columns.retain(|column| column.title != "job" || column.width() > 3);
        columns.extend(more);
        fit(&mut columns, width.saturating_sub(MARKS));
        let troubles = folds.iter().map(|fold| trouble(state, fold)).collect();
        let first = columns.iter().position(|column| column.process).unwrap_or(0);
        let process = first..first + columns.iter().filter(|column| column.process).count();
        let titles: Vec<String> = columns.iter().map(|column| column.cell(&column.title)).collect();
        let heading = format!("{:<MARKS$}{}", "  fold", titles.join(" "));
        let mark = |(place, fold): (usize, &Fold)| {
            let chosen = if place == shown { "▸" } else { " " };
            let watched = if state.watched() == Some(fold.plan.fold) { "●" } else { " " };
            format!("{chosen}{watched}{:>4} ", fold.plan.fold)
        };
        Self {
            width: heading.width(),
            heading,
            process,
            marks: folds.iter().enumerate().map(mark).collect(),
            troubles,
            styles: folds.iter().map(|fold| style(state, fold)).collect(),
            columns,
        }
    }

    /// The row of the fold with this index, and its style.
    pub fn row(&self, place: usize) -> (String, Style) {
        let cell = |column: &Column| column.cell(column.cells.get(place).map_or("", |cell| cell));
        let mut cells: Vec<String> = self.columns.iter().map(cell).collect();
        if let Some(Some(trouble)) = self.troubles.get(place) {
            // In place of what a process would tell.
            let width: usize =
                cells[self.process.clone()].iter().map(|cell| cell.width() + 1).sum();
            if width > 0 {
                let text = padded(trouble, width - 1, false);
                cells.splice(self.process.clone(), [text]);
            }
        }
        let mark = self.marks.get(place).map_or("", |mark| mark);
        (mark.to_string() + &cells.join(" "), self.styles.get(place).copied().unwrap_or_default())
    }
}

/// Columns of the marks and the fold's number.
const MARKS: usize = 7;

/// Drops columns, those of the highest rank first, until the others fit.
fn fit(columns: &mut Vec<Column>, width: usize) {
    let used = |columns: &[Column]| columns.iter().map(|column| column.width() + 1).sum::<usize>();
    while used(columns) > width + 1 {
        let Some(last) = (0..columns.len()).max_by_key(|&i| columns[i].rank) else { return };
        if columns[last].rank == 0 {
            return;
        }
        columns.remove(last);
    }
}

fn best(fold: &Fold) -> String {
    let text = |epoch: &Epoch| {
        let loss = match epoch.valid_loss {
            loss if loss < 10.0 => format!("{loss:.4}"),
            loss => format::short_loss(loss),
        };
        format!("{loss}@{}", epoch.at.epoch)
    };
    fold.best_epoch().map_or("–".into(), text)
}

/// What is wrong with a fold, or what it waits for.
fn trouble(state: &State, fold: &Fold) -> Option<String> {
    let word = state.word(fold);
    let worker = fold.worker.as_ref()?;
    let told = matches!(word, "died" | "silent" | "pending");
    let left = word == "waiting" && worker.reason.is_some();
    worker::trouble(worker).filter(|_| told || left)
}

fn style(state: &State, fold: &Fold) -> Style {
    match (state.word(fold), fold.state) {
        ("died", _) | (_, FoldState::Failed) => theme::ALARM,
        ("silent" | "paused" | "held" | "stopping", _) => theme::WARN,
        (_, FoldState::Skipped | FoldState::Stopped) => theme::WARN,
        ("pending" | "waiting", _) => theme::FAINT,
        (_, FoldState::Done) => theme::GOOD,
        _ => theme::KEY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_cut() {
        assert_eq!(padded("node-17", 5, false), "node…");
        assert_eq!(padded("n1", 4, true), "  n1");
        assert_eq!(padded("語語語", 4, false), "語… ");
        assert_eq!(padded("n1", 0, false), "");
    }
}
