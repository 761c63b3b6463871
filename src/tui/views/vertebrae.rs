//! Vertebrae view: which level is hard? Newest figures and all epochs of C1 to C7 and the study
//! head, and the selected level's curve.

use crate::export;
use crate::run::event::Epoch;
use crate::score::{Figure, TargetScores};
use crate::tui::action::Scroll;
use crate::tui::heat::Scale;
use crate::tui::plot::{self, Data, Layer, Plot, Shape};
use crate::tui::theme;
use crate::view::{Fold, format};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Columns of the scores, and the total width from which they are shown.
const SCORES: usize = 14;
const WIDE: u16 = 100;
/// Number of rows: seven vertebrae and the study head.
const ROWS: usize = 8;

/// State of the view.
#[derive(Debug, Default)]
pub struct View {
    /// Selected row, 0 for C1.
    row: usize,
}

fn name(row: usize) -> String {
    if row < 7 { format!("C{}", row + 1) } else { "study".into() }
}

fn valid(epoch: &Epoch, row: usize) -> Option<f64> {
    match epoch.valid_vertebra_loss.get(row) {
        Some(loss) => *loss,
        None => Some(epoch.valid_study_loss),
    }
}

fn train(fold: &Fold, row: usize) -> Option<f64> {
    fold.vertebrae.get(row).unwrap_or(&fold.study_head).get()
}

impl View {
    /// Selects another row.
    pub fn scroll(&mut self, scroll: Scroll) {
        self.row = scroll.row(self.row, ROWS);
    }

    /// Draws the view of `fold`.
    pub fn draw(&self, frame: &mut Frame, area: Rect, fold: Option<&Fold>) {
        let Some(fold) = fold else {
            frame.render_widget(Line::styled("waiting for the trainer's plan", theme::FAINT), area);
            return;
        };
        let [table, chart] =
            Layout::vertical([Constraint::Length(ROWS as u16 + 3), Constraint::Fill(1)])
                .areas(area);
        self.draw_table(frame, table, fold);
        if chart.height >= 6 {
            self.draw_chart(frame, chart, fold);
        }
    }

    fn draw_table(&self, frame: &mut Frame, area: Rect, fold: &Fold) {
        const FIGURES: usize = 42;
        let wide = area.width >= WIDE;
        let figures = FIGURES + if wide { SCORES } else { 0 };
        let epochs = fold.epochs.len().max(1);
        let room = usize::from(area.width).saturating_sub(figures);
        let each = epochs.div_ceil(room.max(1));
        let cell = (room / epochs).clamp(1, 3);
        let of = if each > 1 { format!(", mean of {each}") } else { String::new() };
        let last = fold.last_epoch();
        let after = last.map(|e| format!("after epoch {}", e.at.epoch));
        let after = after.unwrap_or("no epoch is finished yet".into());
        let title = format!("fold {} · {after}", fold.plan.fold);
        let scores = match wide {
            true => format!("{:>7}{:>7}", "AUC", "AP"),
            false => String::new(),
        };
        let heading = format!(
            "  {:<6}{:>8}{:>8}{scores}  {:>8} {:<5}  valid loss by epoch{of}: low is good",
            "level", "train", "valid", "best", "@ep"
        );
        let mut lines =
            vec![Line::styled(title, theme::TITLE), Line::styled(heading, theme::FAINT)];
        let all = fold.done().flat_map(|e| (0..ROWS).filter_map(|row| valid(e, row)));
        let scale = Scale::of(all, 2.0 * fold.plan.baseline);
        for row in 0..ROWS {
            lines.push(self.row(fold, row, scale, (wide, room, each, cell)));
        }
        if let Some(e) = last {
            let (slice, study) = (format::auc(e.slice_auc), format::auc(e.study_auc));
            let mut spans = vec![
                Span::styled("  ROC AUC  ", theme::FAINT),
                Span::from(format!("slices {slice}   study {study}")),
            ];
            if let Some(scores) = &e.scores {
                spans.push(Span::styled("   competition metric ", theme::FAINT));
                spans.push(Span::from(format::loss(scores.competition.value)));
            }
            lines.push(Line::from(spans));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn row(
        &self,
        fold: &Fold,
        row: usize,
        scale: Scale,
        (wide, room, each, cell): (bool, usize, usize, usize),
    ) -> Line<'static> {
        let chosen = row == self.row;
        let best = fold
            .done()
            .filter_map(|e| Some((e.at.epoch, valid(e, row).filter(|y| y.is_finite())?)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let last = fold.last_epoch();
        let newest = last.and_then(|e| valid(e, row));
        let target = last.and_then(|e| Some(e.scores.as_ref()?.targets[row]));
        let score = |of: fn(TargetScores) -> Option<Figure>| {
            let figure = target.and_then(of).map(|figure| figure.value);
            Span::from(format!("{:>7}", format::auc(figure)))
        };
        let bold = if chosen { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        let mut spans = vec![
            Span::styled(format!("{} {:<6}", if chosen { "▸" } else { " " }, name(row)), bold),
            Span::styled(format!("{:>8}", format::maybe_loss(train(fold, row))), theme::TRAIN),
            Span::styled(format!("{:>8}", format::maybe_loss(newest)), theme::VALID),
        ];
        if wide {
            spans.extend([score(|t| t.auc), score(|t| t.average_precision)]);
        }
        spans.push(Span::styled(
            format!(
                "  {:>8} {:<5}  ",
                format::maybe_loss(best.map(|b| b.1)),
                best.map_or(String::new(), |b| b.0.to_string())
            ),
            bold,
        ));
        if room >= 4 {
            for group in fold.epochs.chunks(each) {
                let there: Vec<f64> =
                    group.iter().flatten().filter_map(|e| valid(e, row)).collect();
                spans.push(match there.is_empty() {
                    true => Span::styled(format!("{:<cell$}", "·"), theme::FAINT),
                    false => scale.cells(there.iter().sum::<f64>() / there.len() as f64, cell),
                });
            }
        }
        Line::from(spans)
    }

    /// The chart for export.
    pub fn export(&self, fold: &Fold) -> Option<export::Chart> {
        let title = format!("validation loss by level, fold {}", fold.plan.fold);
        self.with_plot(fold, |plot| plot.export(&title))
    }

    fn draw_chart(&self, frame: &mut Frame, area: Rect, fold: &Fold) {
        let [head, body] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let parts = vec![
            (format!("• {} valid loss", name(self.row)), theme::VALID),
            ("━ the others".into(), theme::FAINT),
        ];
        frame.render_widget(plot::legend(parts, head.width), head);
        self.with_plot(fold, |plot| frame.render_widget(plot, body));
    }

    /// Passes a plot of the selected level's validation loss, with the others' faintly behind it,
    /// to `then`; `None` before the first epoch.
    fn with_plot<R>(&self, fold: &Fold, then: impl FnOnce(&Plot) -> R) -> Option<R> {
        let points: Vec<Vec<(f64, f64)>> = (0..ROWS)
            .map(|row| {
                let point = |e: &Epoch| Some((e.at.epoch as f64, valid(e, row)?));
                fold.done().filter_map(point).filter(|p| p.1.is_finite()).collect()
            })
            .collect();
        // The selected one is drawn last, on top of the others.
        let rows = (0..ROWS).filter(|&row| row != self.row).chain([self.row]);
        let layers = rows.map(|row| {
            let own = row == self.row;
            let (shape, style) =
                if own { (Shape::Beads, theme::VALID) } else { (Shape::Line, theme::FAINT) };
            let mark = char::from_digit(row as u32 + 1, 10).filter(|_| row < 7).unwrap_or('s');
            let layer = Layer::new(Data::Points(&points[row]), shape, style).called(name(row));
            Layer { name: own.then_some(mark), ..layer }
        });
        let layers = layers.collect();
        let lines: Vec<&[(f64, f64)]> = points.iter().map(Vec::as_slice).collect();
        Plot::over_epochs(&lines, None, layers).map(|plot| then(&plot))
    }
}
