//! Runs view: is it better than before? All runs next to this one, and their validation losses in
//! one chart.

use crate::export;
use crate::run::event::FoldBest;
use crate::tui::action::Scroll;
use crate::tui::plot::{self, Data, Layer, Plot, Shape};
use crate::tui::theme;
use crate::view::{State, format, runs};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Interval of reading the list again, seconds.
const FRESH: f64 = 5.0;
/// Label of the run being watched.
const OWN: &str = "this run";
/// Maximum number of curves in the chart.
const MOST_CURVES: usize = 7;

enum Question {
    List,
    Curve(String),
}

/// Answer from the reading thread.
pub enum Answer {
    /// All runs.
    List(Vec<runs::Run>),
    /// A run's name, and its validation loss by epoch.
    Curve(String, Vec<(f64, f64)>),
}

/// Reads runs on a thread of its own, because disks can be slow and journals long.
struct Reader {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
}

impl Reader {
    fn start(dir: PathBuf) -> Option<Self> {
        let (questions, asked) = bounded::<Question>(16);
        let (answer_sender, answers) = unbounded();
        let read = move || {
            for question in asked {
                let answer = match question {
                    Question::List => Answer::List(runs::list(&dir).unwrap_or_default()),
                    Question::Curve(name) => {
                        let curve = runs::curve_of(&dir, &name);
                        Answer::Curve(name, curve)
                    }
                };
                if answer_sender.send(answer).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("runs".into()).spawn(read).ok()?;
        Some(Self { questions, answers })
    }
}

/// State of the view.
#[derive(Default)]
pub struct View {
    reader: Option<Reader>,
    rows: Option<Vec<runs::Run>>,
    /// Curves in the chart, by run name; `None` until read.
    curves: BTreeMap<String, Option<Vec<(f64, f64)>>>,
    row: usize,
    asked: Option<f64>,
}

impl View {
    /// Creates a view that reads the runs in `dir` when shown.
    pub fn of(dir: PathBuf) -> Self {
        Self { reader: Reader::start(dir), ..Self::default() }
    }

    /// Takes in an answer from the reading thread.
    pub fn take(&mut self, answer: Answer) {
        match answer {
            Answer::List(rows) => {
                self.row = self.row.min(rows.len().saturating_sub(1));
                self.rows = Some(rows);
            }
            Answer::Curve(name, curve) => {
                if let Some(slot) = self.curves.get_mut(&name) {
                    *slot = Some(curve);
                }
            }
        }
    }

    /// Whether an answer is pending, so that the screen should be redrawn soon.
    pub fn is_waiting(&self) -> bool {
        self.reader.is_some() && (self.rows.is_none() || self.curves.values().any(Option::is_none))
    }

    fn ask(&self, question: Question) {
        if let Some(reader) = &self.reader {
            // If the channel is full, the thread is busy reading already.
            let _ = reader.questions.try_send(question);
        }
    }

    /// Moves through the list.
    pub fn scroll(&mut self, scroll: Scroll) {
        self.row = scroll.row(self.row, self.rows.as_ref().map_or(0, Vec::len));
    }

    /// Adds the selected run's curve to the chart, or removes it; returns the reason if it cannot.
    pub fn mark(&mut self, own: Option<&str>) -> Option<&'static str> {
        let Some(row) = self.rows.as_ref().and_then(|rows| rows.get(self.row)) else {
            return Some("there is no run to compare with");
        };
        let name = row.run.clone();
        if own == Some(name.as_str()) {
            return Some("this run's curve is always there");
        }
        if self.curves.remove(&name).is_some() {
            return None;
        }
        if self.curves.len() + 1 >= MOST_CURVES {
            return Some("so many curves can no more be told apart: take one away first");
        }
        self.ask(Question::Curve(name.clone()));
        self.curves.insert(name, None);
        None
    }

    /// Draws the list and the chart. `now`: seconds since the run started.
    pub fn draw(&mut self, frame: &mut Frame, area: Rect, state: &State, now: f64) {
        while let Some(answer) = self.reader.as_ref().and_then(|r| r.answers.try_recv().ok()) {
            self.take(answer);
        }
        if self.asked.is_none_or(|at| now - at >= FRESH) {
            self.ask(Question::List);
            self.asked = Some(now);
        }
        let rows = self.rows.as_deref().unwrap_or_default();
        if rows.is_empty() {
            let text =
                if self.is_waiting() { "reading the runs …" } else { "there are no other runs" };
            return frame.render_widget(Line::styled(text, theme::FAINT), area);
        }
        let most = (area.height / 2).max(4);
        let list = (rows.len() as u16 + 1).clamp(3, most);
        let [list, chart] =
            Layout::vertical([Constraint::Length(list), Constraint::Fill(1)]).areas(area);
        let own = state.plan.as_ref().map(|plan| plan.name.as_str());
        self.draw_list(frame, list, rows, own);
        if chart.height >= 6 {
            self.draw_chart(frame, chart, state);
        }
    }

    fn draw_list(&self, frame: &mut Frame, area: Rect, rows: &[runs::Run], own: Option<&str>) {
        let widest = rows.iter().map(|row| row.run.chars().count()).max().unwrap_or(0);
        let width = widest.clamp(4, usize::from(area.width).saturating_sub(58).max(12));
        let mut lines = vec![Line::styled(
            format!(
                "    {:width$}  {:9}  {:>8}  {:>5}  {:>9}  {:>9}  {}",
                "run", "state", "progress", "folds", "mean best", "best", "written"
            ),
            theme::FAINT,
        )];
        let room = usize::from(area.height).saturating_sub(1).max(1);
        let first = (self.row + 1).saturating_sub(room);
        for (i, row) in rows.iter().enumerate().skip(first).take(room) {
            let is_own = own == Some(row.run.as_str());
            let drawn = is_own || self.curves.contains_key(&row.run);
            let (done, all) = row.folds();
            let name: String = row.run.chars().take(width).collect();
            let text = format!(
                "{} {} {name:width$}  {:9}  {:>8}  {:>5}  {:>9}  {:>9}  {}",
                if i == self.row { "▸" } else { " " },
                if drawn { "●" } else { "○" },
                row.state,
                row.share().map_or("–".into(), |share| format!("{:.0}%", 100.0 * share)),
                format!("{done}/{all}"),
                format::maybe_loss(row.mean_best()),
                format::maybe_loss(row.best().map(FoldBest::loss)),
                row.ago().map_or("–".into(), |s| format!("{} ago", format::duration(s))),
            );
            let own = if is_own { theme::series(0) } else { Style::new() };
            lines.push(Line::styled(text, if i == self.row { theme::KEY } else { own }));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    /// The chart for export.
    pub fn export(&self, state: &State) -> Option<export::Chart> {
        self.with_plot(state, |plot| plot.export("mean validation loss of runs"))
    }

    fn draw_chart(&self, frame: &mut Frame, area: Rect, state: &State) {
        let [head, body] = theme::below_heading(area);
        let mut parts = vec![("mean valid loss by epoch".to_string(), theme::TITLE)];
        let names = std::iter::once(OWN).chain(self.curves.keys().map(String::as_str)).enumerate();
        parts.extend(names.map(|(i, name)| (format!("• {i} {name}"), theme::series(i))));
        frame.render_widget(plot::legend(parts, head.width), head);
        if self.with_plot(state, |plot| frame.render_widget(plot, body)).is_none() {
            let text = "no epoch is finished yet; o lays a run's curve here";
            frame.render_widget(Line::styled(text, theme::FAINT), body);
        }
    }

    /// Passes a plot of this run's and the selected runs' curves to `then`; `None` before the first
    /// epoch.
    fn with_plot<R>(&self, state: &State, then: impl FnOnce(&Plot) -> R) -> Option<R> {
        let own = runs::curve(state);
        let mut all: Vec<(&str, &[(f64, f64)])> = vec![(OWN, &own)];
        let others = self.curves.iter();
        all.extend(others.map(|(name, curve)| (&**name, curve.as_deref().unwrap_or_default())));
        let layers = all.iter().enumerate().map(|(i, (name, points))| {
            let layer = Layer::new(Data::Points(points), Shape::Beads, theme::series(i));
            Layer { name: char::from_digit(i as u32, 10), ..layer }.called(*name)
        });
        let lines: Vec<&[(f64, f64)]> = all.iter().map(|(_, points)| *points).collect();
        Plot::over_epochs(&lines, None, layers.collect()).map(|plot| then(&plot))
    }
}
