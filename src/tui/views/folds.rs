//! Folds view: how do the folds compare? A table, a heat map of fold × epoch, and a chart of all
//! validation losses.

use crate::export;
use crate::run::event::Epoch;
use crate::tui::heat::Scale;
use crate::tui::panes::workers::{Column, Table};
use crate::tui::plot::{self, Data, Layer, Plot, Shape};
use crate::tui::theme;
use crate::view::{self, Fold, State, fold, format};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use std::ops::Range;

/// State of the view.
#[derive(Debug, Default)]
pub struct View {
    /// Selected epoch, counted from 1; `None` = each fold's newest.
    epoch: Option<usize>,
}

impl View {
    /// Selects another epoch.
    pub fn select_epoch(&mut self, by: isize, state: &State) {
        let last = state.folds.iter().map(|fold| fold.epochs.len()).max().unwrap_or(0);
        let now = self.epoch.unwrap_or_else(|| newest(state) + usize::from(by < 0));
        let next = now.saturating_add_signed(by);
        self.epoch = Some(next).filter(|&n| (1..=last).contains(&n) && n <= newest(state));
    }

    /// Goes back to each fold's newest epoch.
    pub fn follow(&mut self) {
        self.epoch = None;
    }

    /// Draws the view. `shown`: index of the fold that keys act on.
    pub fn draw(&self, frame: &mut Frame, area: Rect, state: &State, shown: usize) {
        if state.folds.is_empty() {
            return frame.render_widget(theme::no_plan(), area);
        }
        let (table, heat) = rows(state.folds.len(), area.height);
        // If there is no room for all three, omit the chart.
        let chart = area.height.saturating_sub(table + heat);
        let [table, heat, chart] = Layout::vertical([
            Constraint::Length(table),
            Constraint::Length(heat),
            Constraint::Length(if chart >= 6 { chart } else { 0 }),
        ])
        .areas(area);
        self.draw_table(frame, table, state, shown);
        self.draw_heat(frame, heat, state, shown);
        if chart.height > 0 {
            draw_chart(frame, chart, state);
        }
    }

    fn epoch_of<'a>(&self, fold: &'a Fold) -> Option<&'a Epoch> {
        match self.epoch {
            Some(epoch) => fold.epochs.get(epoch - 1)?.as_deref(),
            None => fold.last_epoch(),
        }
    }

    fn draw_table(&self, frame: &mut Frame, area: Rect, state: &State, shown: usize) {
        let seen = window(shown, state.folds.len(), area.height.saturating_sub(2));
        let mut lines = match state.shared {
            true => self.processes(state, shown, area.width.into(), seen.clone()),
            false => self.figures(state, shown, area.width, seen.clone()),
        };
        lines.push(mean_row(&state.folds, seen));
        frame.render_widget(Paragraph::new(lines), area);
    }

    /// Heading and rows where several processes train: who trains which fold.
    fn processes(
        &self,
        state: &State,
        shown: usize,
        width: usize,
        seen: Range<usize>,
    ) -> Vec<Line<'static>> {
        let which = self.epoch.map_or(String::new(), |epoch| format!(" of epoch {epoch}"));
        let column = |title: String, rank, cell: &dyn Fn(&Fold) -> String| {
            Column::figures(title, rank, state.folds.iter().map(cell).collect())
        };
        let own = |f: &Fold, figure: fn(&Epoch) -> f64| {
            format::maybe_loss(self.epoch_of(f).map(figure).filter(|x| x.is_finite()))
        };
        let more = vec![
            column("×base".into(), 7, &|f| ratio(f)),
            column(format!("valid{which}"), 8, &|f| own(f, |e| e.valid_loss)),
            column("train".into(), 10, &|f| own(f, |e| e.train_loss)),
            column("slice AUC".into(), 9, &|f| {
                format::auc(self.epoch_of(f).and_then(|e| e.slice_auc))
            }),
        ];
        let table = Table::new(state, shown, width, more);
        let mut lines = vec![Line::styled(table.heading.clone(), theme::FAINT)];
        lines.extend(seen.map(|place| {
            let (text, style) = table.row(place);
            Line::styled(text, style)
        }));
        lines
    }

    /// Heading and rows of a run of one process.
    fn figures(
        &self,
        state: &State,
        shown: usize,
        width: u16,
        seen: Range<usize>,
    ) -> Vec<Line<'static>> {
        let which = self.epoch.map_or("newest".into(), |epoch| format!("epoch {epoch}"));
        let wide = width >= 100;
        let columns = match wide {
            true => "     train     valid slice AUC study AUC",
            false => "   valid slice AUC",
        };
        let heading =
            format!("  fold state          epoch │ best valid @ep  ×base │ {which}:{columns}");
        let mut lines = vec![Line::styled(heading, theme::FAINT)];
        let indent = which.chars().count() + 1;
        for (place, f) in state.folds.iter().enumerate().take(seen.end).skip(seen.start) {
            lines.push(self.row(f, place == shown, wide, indent));
        }
        lines
    }

    fn row(&self, f: &Fold, shown: bool, wide: bool, indent: usize) -> Line<'static> {
        let mark = if shown { "▸" } else { " " };
        let best = f.best_epoch();
        let own = self.epoch_of(f);
        let figure = |f: fn(&Epoch) -> f64| format::maybe_loss(own.map(f));
        let auc = |f: fn(&Epoch) -> Option<f64>| format::auc(own.and_then(f));
        let mut text = format!(
            "{mark} {:>4} {:<10} {:>9} │ {:>10} {:>3}  {:>5} │ {:indent$}",
            f.plan.fold,
            fold::word(f.state),
            format!("{}/{}", f.at.epoch, f.epochs.len()),
            format::maybe_loss(best.map(|e| e.valid_loss)),
            best.map_or("–".into(), |e| e.at.epoch.to_string()),
            ratio(f),
            "",
        );
        let (valid, slice_auc) = (figure(|e| e.valid_loss), auc(|e| e.slice_auc));
        text += &match wide {
            true => {
                let (train, study_auc) = (figure(|e| e.train_loss), auc(|e| e.study_auc));
                format!("{train:>10}{valid:>10}{slice_auc:>10}{study_auc:>10}")
            }
            false => format!("{valid:>8}{slice_auc:>10}"),
        };
        Line::styled(text, theme::bold_if(shown))
    }

    fn draw_heat(&self, frame: &mut Frame, area: Rect, state: &State, shown: usize) {
        let epochs = state.folds.iter().map(|f| f.epochs.len()).max().unwrap_or(0).max(1);
        let room = usize::from(area.width).saturating_sub(8).max(1);
        let cell = (room / epochs).clamp(1, 4);
        let each = epochs.div_ceil(room);
        let scale = Scale::of_folds(&state.folds);
        let of = match each {
            1 => String::new(),
            n => format!(", best of {n} each"),
        };
        let heading = format!("valid loss by epoch{of}: low is good; ★ best");
        let mut lines = vec![Line::styled(heading, theme::FAINT)];
        let folds = state.folds.len();
        let seen = match scrolls(folds, area.height, HEAT) {
            true => window(shown, folds, area.height.saturating_sub(HEAT)),
            false => 0..folds,
        };
        for (place, f) in state.folds.iter().enumerate().take(seen.end).skip(seen.start) {
            let mark = if place == shown { "▸" } else { " " };
            let name = format!("{mark} {:>4} ", f.plan.fold);
            let mut spans = vec![Span::styled(name, theme::FAINT)];
            let best = f.best_epoch().map(|e| e.at.epoch);
            for group in f.epochs.chunks(each) {
                let losses = group.iter().flatten().map(|e| e.valid_loss);
                let lowest = losses.min_by(f64::total_cmp);
                let is_best = group.iter().flatten().any(|e| Some(e.at.epoch) == best);
                spans.push(match lowest {
                    Some(_) if is_best => {
                        Span::styled(format!("{:<cell$}", "★"), theme::GOOD.bold())
                    }
                    Some(loss) => scale.cells(loss, cell),
                    None => Span::styled(format!("{:<cell$}", "·"), theme::FAINT),
                });
            }
            lines.push(Line::from(spans));
        }
        // Epoch numbers, and a mark at the selected epoch.
        let mut axis = vec![' '; room.min(epochs.div_ceil(each) * cell)];
        let mut write = |epoch: usize, text: &str| {
            let start = (epoch - 1) / each * cell;
            for (i, c) in text.chars().enumerate() {
                if let Some(slot) = axis.get_mut(start + i) {
                    *slot = c;
                }
            }
        };
        let every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10_000, 100_000]
            .into_iter()
            .find(|n| n / each * cell >= 5)
            .unwrap_or(epochs);
        write(1, "1");
        (every..=epochs).step_by(every).for_each(|epoch| write(epoch, &epoch.to_string()));
        if let Some(epoch) = self.epoch {
            write(epoch, "▲");
        }
        let axis: String = axis.into_iter().collect();
        lines.push(Line::styled(format!("epoch  {axis}"), theme::FAINT));
        frame.render_widget(Paragraph::new(lines), area);
    }
}

/// Rows of the table besides the folds': heading, mean and a blank one.
const TABLE: u16 = 3;
/// Rows of the heat map besides the folds': heading and axis.
const HEAT: u16 = 2;

/// Rows of the table and of the heat map of so many folds in `height`. Where there is no room for both,
/// they scroll.
fn rows(folds: usize, height: u16) -> (u16, u16) {
    let folds = folds.min(1000) as u16;
    // The blank row and the axis may be missing.
    if 2 * folds + TABLE + HEAT - 2 <= height {
        return (folds + TABLE, folds + HEAT);
    }
    let table = (folds + TABLE - 1).min((3 * height / 5).max(height.saturating_sub(folds + HEAT)));
    match height - table {
        rest if rest > HEAT + 1 => (table, rest),
        // A map of one row tells nothing.
        _ => (height, 0),
    }
}

/// Whether `height` is too low for the rows of all folds and `others`, even without the last of these.
fn scrolls(folds: usize, height: u16, others: u16) -> bool {
    folds + usize::from(others) > usize::from(height) + 1
}

/// The rows to draw so that the one at `shown` is in sight.
fn window(shown: usize, all: usize, rows: u16) -> Range<usize> {
    let rows = usize::from(rows.max(1));
    let first = (shown + 1).saturating_sub(rows).min(all.saturating_sub(rows));
    first..all.min(first + rows)
}

/// Best validation loss against that of a constant guess.
fn ratio(f: &Fold) -> String {
    let ratio = f.best_epoch().map(|e| e.valid_loss / f.plan.baseline).filter(|r| r.is_finite());
    ratio.map_or("–".into(), |r| format!("{r:.3}"))
}

/// Newest epoch that any fold has finished.
fn newest(state: &State) -> usize {
    let last = |fold: &Fold| fold.last_epoch().map(|epoch| epoch.at.epoch);
    state.folds.iter().filter_map(last).max().unwrap_or(0)
}

/// Row with mean and standard deviation over the folds that have a best epoch.
///
/// `seen`: the rows in sight.
fn mean_row(folds: &[Fold], seen: Range<usize>) -> Line<'static> {
    let best: Vec<f64> = folds.iter().filter_map(|f| Some(f.best_epoch()?.valid_loss)).collect();
    let auc: Vec<f64> =
        folds.iter().filter_map(|f| f.best_epoch().and_then(|e| e.slice_auc)).collect();
    let text = mean(&best).map(|(m, s)| {
        let (n, plural) = (best.len(), if best.len() == 1 { "" } else { "s" });
        let auc = mean(&auc).map_or(String::new(), |(m, _)| format!(" · slice AUC there {m:.3}"));
        format!("  best of {n} fold{plural}: mean {m:.4} ± {s:.4}{auc}")
    });
    let mut text = text.unwrap_or("  no epoch is finished yet".into());
    if seen.len() < folds.len() {
        text = format!("  rows {} to {} of {} ·{text}", seen.start + 1, seen.end, folds.len());
    }
    Line::styled(text, theme::KEY)
}

/// Mean and sample standard deviation (0 for a single value).
fn mean(figures: &[f64]) -> Option<(f64, f64)> {
    view::mean(figures).map(|(mean, sd)| (mean, sd.unwrap_or(0.0)))
}

/// The chart for export.
pub fn export(state: &State) -> Option<export::Chart> {
    with_plot(state, |plot| plot.export("validation loss, all folds"))
}

fn draw_chart(frame: &mut Frame, area: Rect, state: &State) {
    let [head, body] = theme::below_heading(area);
    let mut parts = vec![("valid loss, all folds".to_string(), theme::TITLE)];
    for (place, fold) in state.folds.iter().enumerate() {
        parts.push((format!("• {}", fold.plan.fold), theme::series(place)));
    }
    if state.folds.len() > 1 {
        parts.push(("━ mean".into(), theme::KEY));
        parts.push(("± 1 sd".into(), theme::FAINT));
    }
    parts.push((format!("┅ baseline {}", format::loss(baseline(state))), theme::FAINT));
    let drawn = with_plot(state, |plot| frame.render_widget(plot, body));
    if drawn.is_some() {
        frame.render_widget(plot::legend(parts, head.width), head);
    }
}

/// Mean over the folds of the constant guess's loss.
fn baseline(state: &State) -> f64 {
    state.folds.iter().map(|f| f.plan.baseline).sum::<f64>() / state.folds.len() as f64
}

/// Passes a plot of all folds' validation losses by epoch, with their mean and spread, to `then`;
/// `None` before the first epoch.
fn with_plot<R>(state: &State, then: impl FnOnce(&Plot) -> R) -> Option<R> {
    let folds: Vec<Vec<(f64, f64)>> = state
        .folds
        .iter()
        .map(|fold| {
            let loss = |e: &Epoch| (e.at.epoch as f64, e.valid_loss);
            fold.done().map(loss).filter(|p| p.1.is_finite()).collect()
        })
        .collect();
    // Mean and spread by epoch, where at least two folds have it.
    let mut spread: [Vec<(f64, f64)>; 3] = Default::default();
    for epoch in 1..=newest(state).min(100_000) {
        let at = |f: &Fold| f.epochs.get(epoch - 1)?.as_ref().map(|e| e.valid_loss);
        let there: Vec<f64> =
            state.folds.iter().filter_map(at).filter(|loss| loss.is_finite()).collect();
        if let (Some((mean, sd)), true) = (mean(&there), there.len() > 1) {
            let x = epoch as f64;
            let bounds = [(x, mean - sd), (x, mean), (x, mean + sd)];
            spread.iter_mut().zip(bounds).for_each(|(line, point)| line.push(point));
        }
    }
    let baseline = baseline(state);
    let level = Layer::new(Data::Level(baseline), Shape::Dashes, theme::FAINT);
    let mut layers = vec![level.called("baseline")];
    for (bound, name) in [(&spread[0], "mean - sd"), (&spread[2], "mean + sd")] {
        let layer = Layer::new(Data::Points(bound), Shape::Line, theme::FAINT);
        layers.push(layer.called(name));
    }
    for (place, points) in folds.iter().enumerate() {
        let number = state.folds[place].plan.fold;
        let layer = Layer::new(Data::Points(points), Shape::Beads, theme::series(place));
        let name = char::from_digit(number as u32 % 36, 36);
        layers.push(Layer { name, ..layer }.called(format!("fold {number}")));
    }
    layers.push(Layer::new(Data::Points(&spread[1]), Shape::Line, theme::KEY).called("mean"));
    let lines: Vec<&[(f64, f64)]> = folds.iter().map(Vec::as_slice).collect();
    Plot::over_epochs(&lines, Some(baseline), layers).map(|plot| then(&plot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_the_sample_standard_deviation() {
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[2.0]), Some((2.0, 0.0)));
        let (m, s) = mean(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((m - 2.5).abs() < 1e-12 && (s - 1.2909944487358056).abs() < 1e-12);
    }
}
