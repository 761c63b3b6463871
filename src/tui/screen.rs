//! The whole screen: what is on it, and what a key does to it. It knows neither clock nor
//! terminal, so that a test can draw it.

use super::crops::{self, Pictures};
use super::keys::{self, Action, Scroll};
use super::{confirm, help, layout, log, loss, overview, progress, schedule, summary, theme};
use super::{confirm::Question, vertebrae};
use crate::run::event::{Stamped, TrainerState};
use crate::run::{Command, FoldAction};
use crate::view::{Fold, State, format};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Wrap};

/// What is to be done about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Nothing beyond drawing anew.
    Nothing,
    /// Send this to the trainer.
    Send(Command),
    /// Leave the screen.
    Leave,
}

/// What lies on top of the panes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlay {
    Help,
    Summary,
    Confirm(Question),
}

/// The screen: the run's state, and what the user looks at.
pub struct Screen {
    /// The run's state.
    pub state: State,
    pictures: crops::Gallery,
    overlay: Option<Overlay>,
    /// The fold looked at; `None` = the one that is trained.
    looked_at: Option<usize>,
    log: log::View,
    color: bool,
}

impl Screen {
    /// An empty screen. `color`: whether to use colours at all.
    pub fn new(pictures: Pictures, color: bool) -> Self {
        Self {
            state: State::default(),
            pictures: crops::Gallery::new(pictures),
            overlay: None,
            looked_at: None,
            log: log::View::default(),
            color,
        }
    }

    /// Folds an event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        let was_over = self.state.is_over();
        self.state.apply(stamped);
        self.after_end(was_over);
    }

    /// The trainer is gone.
    pub fn disconnected(&mut self) {
        let was_over = self.state.is_over();
        self.state.disconnected();
        self.after_end(was_over);
    }

    fn after_end(&mut self, was_over: bool) {
        if self.state.is_over() && !was_over {
            // A question about a run that is over has no answer; its results are what matters.
            self.overlay = self.state.finished.is_some().then_some(Overlay::Summary);
        }
    }

    /// Does what `key` says to the screen, and tells what remains to be done.
    pub fn key(&mut self, key: &KeyEvent) -> Reply {
        if key.kind == KeyEventKind::Release {
            return Reply::Nothing;
        }
        let action = keys::action(key);
        if let Some(Overlay::Confirm(question)) = self.overlay {
            let again = question == Question::Quit && key.code == KeyCode::Char('c');
            return match (key.code, action) {
                (KeyCode::Char('y' | 'Y'), _) => self.answer(question),
                (_, Some(Action::Quit)) if again => self.answer(question),
                (KeyCode::Char('n' | 'N'), _) | (_, Some(Action::Close)) => {
                    self.overlay = None;
                    Reply::Nothing
                }
                // Ctrl-C only: a stray `q` must not turn one question into a worse one.
                (KeyCode::Char('c'), Some(Action::Quit)) => {
                    self.overlay = Some(Overlay::Confirm(Question::Quit));
                    Reply::Nothing
                }
                _ => Reply::Nothing,
            };
        }
        action.map_or(Reply::Nothing, |action| self.act(action))
    }

    fn answer(&mut self, question: Question) -> Reply {
        self.overlay = None;
        match question {
            Question::Quit => self.quit(),
            // Asked of one fold, meant for that one alone.
            Question::SkipFold(fold) if self.state.position().fold == fold => {
                self.send(Command::Fold { fold, action: FoldAction::Skip })
            }
            Question::SkipFold(_) => Reply::Nothing,
        }
    }

    /// A quit that was confirmed, by a key or by a signal.
    pub fn quit(&mut self) -> Reply {
        match self.state.is_over() {
            true => Reply::Leave,
            false => self.send(Command::StopNow),
        }
    }

    fn send(&mut self, command: Command) -> Reply {
        if self.state.is_over() || self.state.is_stopping() {
            return Reply::Nothing;
        }
        self.state.command_given(command);
        Reply::Send(command)
    }

    fn act(&mut self, action: Action) -> Reply {
        match action {
            Action::Quit if self.state.is_over() => return Reply::Leave,
            Action::Quit if !self.state.is_stopping() => {
                self.overlay = Some(Overlay::Confirm(Question::Quit));
            }
            Action::TogglePause if self.state.is_paused() => return self.send(Command::Resume),
            Action::TogglePause => return self.send(Command::Pause),
            Action::StopAfterEpoch if !self.state.stops_after_epoch => {
                return self.send(Command::StopAfterEpoch);
            }
            Action::SkipFold => {
                let open = !self.state.is_over() && !self.state.is_stopping();
                if let Some(fold) = self.state.fold().filter(|f| open && !f.is_over()) {
                    self.overlay = Some(Overlay::Confirm(Question::SkipFold(fold.plan.fold)));
                }
            }
            Action::Quit | Action::StopAfterEpoch => {}
            Action::FoldBefore => self.look(-1),
            Action::FoldAfter => self.look(1),
            Action::Log(scroll) => self.log.scroll(scroll, &self.state),
            Action::ToggleRaw => self.pictures.toggle_raw(),
            Action::Summary if self.overlay == Some(Overlay::Summary) => self.overlay = None,
            Action::Summary if self.state.is_over() => self.overlay = Some(Overlay::Summary),
            Action::Summary => {}
            Action::Help if self.overlay == Some(Overlay::Help) => self.overlay = None,
            Action::Help => self.overlay = Some(Overlay::Help),
            Action::Close if self.overlay.is_none() => self.log.scroll(Scroll::End, &self.state),
            Action::Close => self.overlay = None,
        }
        Reply::Nothing
    }

    fn look(&mut self, by: isize) {
        let now = self.looked_at.unwrap_or(self.state.current);
        let next = now.saturating_add_signed(by);
        self.looked_at = Some(next).filter(|&n| n != self.state.current);
        if next >= self.state.folds.len() {
            self.looked_at = None;
        }
    }

    /// The fold whose curves are shown.
    fn fold(&self) -> Option<&Fold> {
        self.state.folds.get(self.looked_at.unwrap_or(self.state.current))
    }

    /// Whether something moves by the clock faster than once a second.
    pub fn is_animated(&self) -> bool {
        !self.state.is_over() && (!self.state.has_begun() || self.state.is_stopping())
    }

    /// Draws everything. `now`: seconds since the run started.
    pub fn draw(&mut self, frame: &mut Frame, now: f64) {
        let area = frame.area();
        let folds = self.state.folds.len().min(99) as u16;
        let alarm = self.state.alarm();
        let alarm_rows = match &alarm {
            Some(text) if text.chars().count() + 3 > area.width as usize => 2,
            Some(_) => 1,
            None => 0,
        };
        match layout::panes(area, folds, alarm_rows, self.pictures.wanted()) {
            None => too_small(frame, area),
            Some(panes) => {
                self.draw_panes(frame, &panes, now, alarm);
                match self.overlay {
                    Some(Overlay::Help) => help::draw(frame, area),
                    Some(Overlay::Summary) => summary::draw(frame, area, &self.state),
                    Some(Overlay::Confirm(question)) => confirm::draw(frame, area, question),
                    None => {}
                }
            }
        }
        if !self.color {
            for cell in &mut frame.buffer_mut().content {
                cell.fg = Color::Reset;
                cell.bg = Color::Reset;
            }
        }
    }

    fn draw_panes(
        &mut self,
        frame: &mut Frame,
        panes: &layout::Panes,
        now: f64,
        alarm: Option<String>,
    ) {
        header(frame, panes.header, &self.state, now);
        if let (Some(area), Some(text)) = (panes.alarm, alarm) {
            let line = Line::from(format!("× {text}")).style(theme::ALARM);
            frame.render_widget(Paragraph::new(line).wrap(Wrap { trim: true }), area);
        }
        let state = &self.state;
        let shown = self.looked_at.unwrap_or(state.current);
        overview::draw(frame, panes.overview, state, shown);
        progress::draw(frame, panes.progress, state);
        loss::draw(frame, panes.loss, self.fold(), self.looked_at.is_some());
        if let Some(area) = panes.vertebrae {
            vertebrae::draw(frame, area, self.fold());
        }
        if let Some(area) = panes.schedule {
            schedule::draw(frame, area, state);
        }
        if let Some(area) = panes.log {
            self.log.draw(frame, area, state);
        }
        if let Some(area) = panes.crops {
            self.pictures.draw(frame, area, &self.state);
        }
        key_line(frame, panes.keys, &self.state, panes.crops.is_some());
    }
}

fn too_small(frame: &mut Frame, area: Rect) {
    let (width, height) = layout::MINIMUM;
    let text = format!("terminal too small: {width}×{height} needed");
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

fn header(frame: &mut Frame, area: Rect, state: &State, now: f64) {
    let (mark, style) = mark(state, now);
    let name = state.plan.as_ref().map_or("rsna-tui", |p| p.name.as_str());
    let mut left = vec![Span::from(format!(" {name} ")).bold(), Span::styled(mark, style)];
    left.push(Span::from(" "));
    left.push(Span::styled(state.status(), style));
    let left = Line::from(left);
    let device = state.plan.as_ref().map_or("", |p| p.device.as_str());
    let clock = format!("elapsed {} ", format::duration(now));
    let room = (area.width as usize).saturating_sub(left.width() + 2);
    let gpu = state.gpu.as_ref().map(format::gpu).unwrap_or_default();
    // As much as there is room for: how the GPU is doing before what it is called.
    let ways = [vec![device, &gpu, &clock], vec![&gpu, &clock], vec![device, &clock]];
    let told = |parts: Vec<&str>| {
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(" · ")
    };
    let mut ways = ways.into_iter().map(told);
    let right = ways.find(|way| way.chars().count() <= room).unwrap_or_else(|| clock.clone());
    if right.chars().count() <= room {
        frame.render_widget(Line::styled(right, theme::FAINT).right_aligned(), area);
        let width = left.width() as u16;
        frame.render_widget(left, Rect { width: width.min(area.width), ..area });
    } else {
        frame.render_widget(left, area);
    }
}

/// A mark for the state, so that it is not told by colour alone.
fn mark(state: &State, now: f64) -> (String, Style) {
    const SPINNER: [&str; 4] = ["◐", "◓", "◑", "◒"];
    let spin = || SPINNER[(now.max(0.0) * 4.0) as u64 as usize % 4].to_string();
    if state.is_over() {
        return match state.ended_well() {
            true => ("✓".into(), theme::GOOD.bold()),
            false => ("×".into(), theme::ALARM),
        };
    }
    if state.pending.is_some() || state.is_stopping() {
        return (spin(), theme::WARN.bold());
    }
    match state.trainer {
        Some(TrainerState::Paused) => ("‖".into(), theme::WARN.bold()),
        _ if !state.has_begun() => (spin(), Style::new()),
        _ => ("●".into(), theme::GOOD),
    }
}

/// `crops`: whether there is a pane of them.
fn key_line(frame: &mut Frame, area: Rect, state: &State, crops: bool) {
    let mut spans = Vec::new();
    for b in keys::BINDINGS {
        let over = state.is_over();
        let short = match b.action {
            Action::Summary if over => "results",
            Action::TogglePause | Action::SkipFold | Action::StopAfterEpoch if over => continue,
            Action::ToggleRaw if !crops => continue,
            Action::TogglePause if state.is_paused() => "resume",
            Action::TogglePause => "pause",
            _ if b.short.is_empty() => continue,
            _ => b.short,
        };
        spans.push(Span::from(" "));
        spans.push(Span::styled(b.key, theme::KEY));
        spans.push(Span::styled(format!(" {short} "), theme::FAINT));
    }
    frame.render_widget(Text::from(Line::from(spans)), area);
}
