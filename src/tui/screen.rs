//! The whole screen: what is on it, and what a key does to it. It knows neither clock nor
//! terminal, so that a test can draw it.

use super::confirm::{self, Question};
use super::crops;
use super::fold_keys::{Verdict, verdict};
use super::keys::{self, Action, OfFold, Scroll};
use super::pictures::Pictures;
use super::{header, help, key_line, layout, log, loss, overview, progress, schedule, summary};
use super::{theme, vertebrae};
use crate::run::event::Stamped;
use crate::run::{Command, FoldAction};
use crate::view::{Fold, State};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

/// Seconds for which a notice stands, unless a key comes before.
const NOTICE: f64 = 8.0;

/// What is to be done about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Nothing beyond drawing anew.
    Nothing,
    /// Send this to the trainer.
    Send(Command),
    /// Leave the screen; the run is over.
    Leave,
    /// Leave the screen and training alone.
    Detach,
    /// Give the terminal back to the shell until it says `fg`.
    Suspend,
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
    help: help::Keys,
    /// The number of the fold looked at, which keys act on; `None` = whichever is in training.
    looked_at: Option<usize>,
    /// Why a key did nothing, and until when it is told, once that is known.
    notice: Option<(String, Option<f64>)>,
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
            help: help::Keys::default(),
            looked_at: None,
            notice: None,
            log: log::View::default(),
            color,
        }
    }

    /// The same for training in another process, which goes on when the screen is left.
    pub fn attached(mut self) -> Self {
        self.state.attached = true;
        self
    }

    /// Folds an event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        let was_over = self.state.is_over();
        self.state.apply(stamped);
        // Whoever looks at the fold in training follows training.
        let current = self.state.fold().map(|fold| fold.plan.fold);
        self.looked_at = self.looked_at.filter(|&number| Some(number) != current);
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
        self.notice = None;
        let action = keys::action(key);
        match (self.overlay, action) {
            (Some(Overlay::Confirm(question)), _) => self.reply(question, key.code, action),
            (_, Some(action)) => self.act(action),
            (_, None) => Reply::Nothing,
        }
    }

    /// A key while `question` is asked.
    fn reply(&mut self, question: Question, code: KeyCode, action: Option<Action>) -> Reply {
        let control_c = code == KeyCode::Char('c') && action == Some(Action::Quit);
        match (code, action) {
            (KeyCode::Char('y' | 'Y'), _) => self.answer(question),
            (KeyCode::Char('n' | 'N'), _) | (_, Some(Action::Close)) => {
                self.overlay = None;
                Reply::Nothing
            }
            (_, Some(Action::Detach)) if question == Question::Quit => self.detach(),
            _ if control_c && question == Question::Quit => match self.state.attached {
                // Pressed twice in haste it must not end what it did not begin.
                true => self.detach(),
                false => self.answer(question),
            },
            // Ctrl-C only: a stray `q` must not turn one question into a worse one.
            _ if control_c => {
                self.overlay = Some(Overlay::Confirm(Question::Quit));
                Reply::Nothing
            }
            (_, Some(Action::Suspend)) => Reply::Suspend,
            _ => Reply::Nothing,
        }
    }

    fn answer(&mut self, question: Question) -> Reply {
        self.overlay = None;
        let (fold, action) = match question {
            Question::Quit => return self.quit(),
            Question::Start(fold) => (fold, FoldAction::Start),
            Question::Skip(fold) => (fold, FoldAction::Skip),
            Question::Again(fold) => (fold, FoldAction::Again),
        };
        // Asked of one fold, meant for that one alone, if it still has a sense.
        let asked = self.state.folds.iter().find(|f| f.plan.fold == fold);
        match asked.map(|f| verdict(OfFold::Act(action), &self.state, f)) {
            Some(Verdict::Ask(_)) => self.send(Command::Fold { fold, action }),
            Some(Verdict::Send(command)) => self.send(command),
            Some(Verdict::Refuse(why)) => self.notice(why),
            None => Reply::Nothing,
        }
    }

    /// A quit that was confirmed.
    pub fn quit(&mut self) -> Reply {
        match self.state.is_over() {
            true => Reply::Leave,
            false => self.send(Command::StopNow),
        }
    }

    /// SIGTERM: this process is to end, and with it what is trained in it.
    pub fn terminate(&mut self) -> Reply {
        if self.state.attached { Reply::Detach } else { self.quit() }
    }

    fn detach(&mut self) -> Reply {
        match (self.state.attached, self.state.is_over()) {
            (true, _) => Reply::Detach,
            (false, true) => self.notice("the run is over: q leaves"),
            (false, false) => self.notice(
                "training lives in this terminal's process; start with --detach to leave it alone",
            ),
        }
    }

    fn send(&mut self, command: Command) -> Reply {
        if let Some(why) = self.deaf() {
            return self.notice(why);
        }
        self.state.command_given(command);
        Reply::Send(command)
    }

    /// Why the trainer would hear nothing, if so.
    fn deaf(&self) -> Option<&'static str> {
        if self.state.is_over() {
            return Some("the run is over: q leaves");
        }
        match (self.state.is_stopping(), self.state.attached) {
            (true, false) => Some("it is being stopped: it saves the last weights"),
            (true, true) => Some("it is being stopped: it saves the last weights; d leaves"),
            _ => None,
        }
    }

    /// Tells why a key does nothing, until the next one or for a while.
    pub fn notice(&mut self, why: impl Into<String>) -> Reply {
        self.notice = Some((why.into(), None));
        Reply::Nothing
    }

    fn act(&mut self, action: Action) -> Reply {
        match action {
            Action::Quit if self.state.is_over() => return Reply::Leave,
            Action::Quit => match self.deaf() {
                Some(why) => return self.notice(why),
                None => self.overlay = Some(Overlay::Confirm(Question::Quit)),
            },
            Action::Detach => return self.detach(),
            Action::Suspend => return Reply::Suspend,
            // Going on without a fold would be the run's end.
            Action::TogglePause if self.state.is_paused() && self.state.lacks_a_fold() => {
                return self.notice("no fold waits: ← → choose one, f or g bring it back");
            }
            Action::TogglePause if self.state.is_paused() => return self.send(Command::Resume),
            Action::TogglePause => return self.send(Command::Pause),
            Action::StopAfterEpoch if self.state.stops_after_epoch && self.deaf().is_none() => {
                return self.notice("it stops after this epoch already");
            }
            Action::StopAfterEpoch => return self.send(Command::StopAfterEpoch),
            Action::Checkpoint if self.state.in_training().is_none() && self.deaf().is_none() => {
                return self.notice("no fold is in training: there is nothing to save");
            }
            Action::Checkpoint => return self.send(Command::Checkpoint),
            Action::Fold(key) => return self.of_fold(key),
            Action::FoldBefore => self.look(-1),
            Action::FoldAfter => self.look(1),
            Action::Log(scroll) if self.overlay == Some(Overlay::Help) => self.help.scroll(scroll),
            Action::Log(scroll) => self.log.scroll(scroll, &self.state),
            Action::ToggleRaw if !self.pictures.wanted() => {
                return self.notice("there are no crops: ui.preview_seconds is 0");
            }
            Action::ToggleRaw => self.pictures.toggle_raw(),
            Action::Summary if self.overlay == Some(Overlay::Summary) => self.overlay = None,
            Action::Summary if self.state.is_over() => self.overlay = Some(Overlay::Summary),
            Action::Summary => return self.notice("there are no results before the run is over"),
            Action::Help if self.overlay == Some(Overlay::Help) => self.overlay = None,
            Action::Help => self.overlay = Some(Overlay::Help),
            Action::Close if self.overlay.is_none() => self.log.scroll(Scroll::End, &self.state),
            Action::Close => self.overlay = None,
        }
        Reply::Nothing
    }

    fn of_fold(&mut self, key: OfFold) -> Reply {
        if let Some(why) = self.deaf() {
            return self.notice(why);
        }
        let Some(fold) = self.fold() else {
            return self.notice("there is no fold yet: the run is starting");
        };
        match verdict(key, &self.state, fold) {
            Verdict::Send(command) => return self.send(command),
            Verdict::Ask(question) => self.overlay = Some(Overlay::Confirm(question)),
            Verdict::Refuse(why) => return self.notice(why),
        }
        Reply::Nothing
    }

    fn look(&mut self, by: isize) {
        let next = self.shown().saturating_add_signed(by);
        let next = self.state.folds.get(next).filter(|_| next != self.state.current);
        self.looked_at = next.map(|fold| fold.plan.fold);
    }

    /// Which of the state's folds is looked at.
    fn shown(&self) -> usize {
        let place = |number| self.state.folds.iter().position(|f| f.plan.fold == number);
        self.looked_at.and_then(place).unwrap_or(self.state.current)
    }

    /// The fold whose curves are shown, and which keys act on.
    fn fold(&self) -> Option<&Fold> {
        self.state.folds.get(self.shown())
    }

    /// From now on pictures are encoded aside from drawing.
    pub fn encode_aside(&mut self) {
        self.pictures.go_aside();
    }

    /// Whether there are newer pictures to draw.
    pub fn take_pictures(&mut self) -> bool {
        self.pictures.take()
    }

    /// The terminal has forgotten what was drawn.
    pub fn forget_pictures(&mut self) {
        self.pictures.forget();
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
                    Some(Overlay::Help) => self.help.draw(frame, area),
                    Some(Overlay::Summary) => summary::draw(frame, area, &self.state),
                    Some(Overlay::Confirm(question)) => {
                        confirm::draw(frame, area, question, &self.state);
                    }
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
        header::draw(frame, panes.header, &self.state, now);
        if let (Some(area), Some(text)) = (panes.alarm, alarm) {
            let line = Line::from(format!("× {text}")).style(theme::ALARM);
            frame.render_widget(Paragraph::new(line).wrap(Wrap { trim: true }), area);
        }
        let state = &self.state;
        let shown = self.shown();
        overview::draw(frame, panes.overview, state, shown);
        progress::draw(frame, panes.progress, state);
        loss::draw(frame, panes.loss, self.fold(), shown != state.current);
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
            let covered = self.overlay.is_some();
            self.pictures.draw(frame, area, &self.state, covered);
        }
        match &mut self.notice {
            Some((_, Some(until))) if now > *until => self.notice = None,
            Some((_, until)) => *until = until.or(Some(now + NOTICE)),
            None => {}
        }
        match &self.notice {
            Some((text, _)) => key_line::notice(frame, panes.keys, text),
            None => {
                let (state, fold, crops) = (&self.state, self.fold(), panes.crops.is_some());
                key_line::draw(frame, panes.keys, &key_line::Context { state, fold, crops });
            }
        }
    }
}

fn too_small(frame: &mut Frame, area: Rect) {
    let (width, height) = layout::MINIMUM;
    let text = format!("terminal too small: {width}×{height} needed");
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}
