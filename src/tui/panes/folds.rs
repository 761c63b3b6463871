//! Table of folds × epochs: a row per fold, a cell per epoch.

use crate::run::event::{Epoch, FoldState};
use crate::tui::heat::Scale;
use crate::tui::panes::workers;
use crate::tui::theme;
use crate::view::{Fold, State, fold, format};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Column widths.
#[derive(Debug, Clone, Copy)]
struct Columns {
    epoch: usize,
    /// Column for seeds that differ from the run's; 0 = none.
    seed: usize,
    strip: usize,
}

/// Maximum number of characters of a seed; of a longer one the last are shown.
const SEED: usize = 8;
/// A narrower strip is less useful than the seed.
const STRIP: usize = 4;

impl Columns {
    fn of(folds: &[Fold], width: usize) -> Self {
        let most = |text: &dyn Fn(&Fold) -> usize| folds.iter().map(text).max().unwrap_or(0);
        let epoch = most(&|f| epoch(f).len()).max(5);
        let seed = match most(&|f| seed(f).chars().count()) {
            0 => 0,
            n => n.max(4),
        };
        // Mark and fold, state, best@ep., and the space after each.
        let figures = 4 + 1 + 10 + 1 + epoch + 1 + 9 + 1;
        let strip = width.saturating_sub(figures);
        match strip.checked_sub(seed + 1) {
            Some(strip) if seed > 0 && strip >= STRIP => Self { epoch, seed, strip },
            _ => Self { epoch, seed: 0, strip },
        }
    }

    /// The cell of the seeds' column with the space after it, if there is that column.
    fn seed_cell(self, text: &str) -> String {
        let width = self.seed;
        if width > 0 { format!("{text:>width$} ") } else { String::new() }
    }
}

fn epoch(f: &Fold) -> String {
    format!("{}/{}", f.at.epoch, f.epochs.len())
}

fn seed(f: &Fold) -> String {
    let seed = f.seed.map(|seed| seed.to_string()).unwrap_or_default();
    match seed.len().checked_sub(SEED) {
        None | Some(0) => seed,
        Some(more) => format!("…{}", &seed[more + 1..]),
    }
}

/// Draws the table in queue order. `shown`: index of the fold whose curves are visible and that
/// keys act on.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, shown: usize) {
    if state.shared {
        return draw_shared(frame, area, state, shown);
    }
    let title = match state.folds.get(shown) {
        Some(fold) if shown != state.current => {
            format!("folds × epochs · keys act on fold {}", fold.plan.fold)
        }
        _ => "folds × epochs".into(),
    };
    let inner = theme::framed(frame, area, &title);
    if state.folds.is_empty() {
        return frame.render_widget(theme::no_plan(), inner);
    }
    let columns = Columns::of(&state.folds, inner.width.into());
    let scale = Scale::of_folds(&state.folds);
    let epochs = state.folds.iter().map(|f| f.epochs.len()).max().unwrap_or(0);
    let Columns { epoch, strip, .. } = columns;
    let (seed, strip) = (columns.seed_cell("seed"), heading(strip, epochs));
    let heading = format!("fold {:<10} {:>epoch$}  best@ep. {seed}{strip}", "state", "epoch");
    let mut lines = vec![Line::styled(heading, theme::FAINT)];
    // With more folds than rows, scroll the shown one into view.
    let rows = (inner.height as usize).saturating_sub(1).max(1);
    let first = (shown + 1).saturating_sub(rows);
    for (index, f) in state.folds.iter().enumerate().skip(first).take(rows) {
        lines.push(row(f, columns, scale, index == shown));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Draws the table where several processes train: who trains which fold, and the strips if there is
/// room.
fn draw_shared(frame: &mut Frame, area: Rect, state: &State, shown: usize) {
    let title = match state.folds.get(shown) {
        Some(fold) if shown != state.current => {
            format!("folds · ● watched · keys act on fold {}", fold.plan.fold)
        }
        _ => "folds · ● watched".into(),
    };
    let inner = theme::framed(frame, area, &title);
    let width = usize::from(inner.width);
    let table = workers::Table::new(state, shown, width, Vec::new());
    let strip = width.saturating_sub(table.width + 1);
    let strip = if strip < 2 * STRIP { 0 } else { strip };
    let scale = Scale::of_folds(&state.folds);
    let epochs = state.folds.iter().map(|f| f.epochs.len()).max().unwrap_or(0);
    let heading = format!("{} {}", table.heading, heading(strip, epochs));
    let mut lines = vec![Line::styled(heading, theme::FAINT)];
    let rows = usize::from(inner.height).saturating_sub(1).max(1);
    let first = (shown + 1).saturating_sub(rows);
    for (place, fold) in state.folds.iter().enumerate().skip(first).take(rows) {
        let (text, style) = table.row(place);
        let mut spans = vec![Span::styled(text + " ", style)];
        spans.extend(cells(fold, strip, scale));
        lines.push(Line::from(spans));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Heading of the strips, as wide as they are.
fn heading(strip: usize, epochs: usize) -> String {
    let each = match epochs.div_ceil(strip.max(1)) {
        0 | 1 => String::new(),
        n => format!(" of {n} epochs"),
    };
    let long = format!("valid loss{each}, ★ best");
    let candidates = [long, format!("loss{each}"), "epochs".into()];
    candidates.into_iter().find(|c| c.chars().count() <= strip).unwrap_or_default()
}

fn row(f: &Fold, columns: Columns, scale: Scale, shown: bool) -> Line<'static> {
    let style = match f.state {
        FoldState::Waiting => theme::FAINT,
        FoldState::Training | FoldState::Validating => theme::KEY,
        FoldState::Done => theme::GOOD,
        FoldState::Paused | FoldState::Skipped | FoldState::Stopped => theme::WARN,
        FoldState::Failed => theme::ALARM,
    };
    let best = f.best_epoch().map_or("–".into(), |e| {
        let loss = match e.valid_loss {
            loss if loss < 10.0 => format!("{loss:.4}"),
            loss => format::short_loss(loss),
        };
        format!("{loss}@{}", e.at.epoch)
    });
    let Columns { epoch: width, strip, .. } = columns;
    let mark = if shown { "▸" } else { " " };
    let (number, word, epoch) = (f.plan.fold, fold::word(f.state), epoch(f));
    let seed = columns.seed_cell(&seed(f));
    let figures = format!("{mark}{number:>3} {word:<10} {epoch:>width$} {best:>9} {seed}");
    let mut spans = vec![Span::styled(figures, style)];
    spans.extend(cells(f, strip, scale));
    let used: usize = spans.iter().skip(1).map(Span::width).sum();
    let place = format!("  step {}/{}", f.at.step, f.plan.steps);
    if stands(f) && used + place.chars().count() <= strip {
        spans.push(Span::styled(place, style));
    }
    Line::from(spans)
}

/// Whether the fold will resume in the middle of an epoch.
fn stands(f: &Fold) -> bool {
    matches!(f.state, FoldState::Paused | FoldState::Waiting) && f.epochs_done() < f.at.epoch
}

/// Draws one cell per epoch or, if there is no room, per group of epochs (with its best).
fn cells(f: &Fold, width: usize, scale: Scale) -> Vec<Span<'static>> {
    let epochs = f.epochs.len();
    if width == 0 || epochs == 0 {
        return Vec::new();
    }
    let bucket = epochs.div_ceil(width);
    // Widen the cells, if there is room, so that they can be told apart.
    let repeat = (width / epochs.div_ceil(bucket)).clamp(1, 3);
    let best = f.best_epoch().map(|e| e.at.epoch);
    let at_hand = f.epochs_done() + 1;
    let active = f.is_at_work();
    let cell = |(cell, done): (usize, &[Option<Box<Epoch>>])| {
        let numbers = cell * bucket + 1..(cell + 1) * bucket + 1;
        let losses = done.iter().flatten().map(|e| e.valid_loss);
        let (mark, style) = match losses.reduce(f64::min) {
            _ if active && numbers.contains(&at_hand) => ('▸', theme::KEY),
            _ if stands(f) && numbers.contains(&at_hand) => ('‖', theme::WARN),
            _ if best.is_some_and(|b| numbers.contains(&b)) => ('★', theme::GOOD.bold()),
            Some(loss) if loss < f.plan.baseline => (scale.bar(loss), theme::TRAIN),
            Some(loss) => (scale.bar(loss), theme::WARN),
            None => ('·', theme::FAINT),
        };
        Span::styled(mark.to_string().repeat(repeat), style)
    };
    f.epochs.chunks(bucket).enumerate().map(cell).collect()
}
