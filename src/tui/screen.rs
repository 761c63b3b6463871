//! The whole screen: its contents, and the effects of keys. Independent of clock and terminal, so
//! that tests can draw it.

use super::action::{Action, OfFold, Scroll};
use super::appearance::Appearance;
use super::confirm::{self, Question};
use super::context::{Context, View};
use super::fold_keys::verdict;
use super::keys::Keymap;
use super::pictures::Pictures;
use super::views::{Entry, Views, runs};
use super::{help, panes};
use crate::config::MOST_EPOCHS;
use crate::run::event::Stamped;
use crate::run::{Command, FoldAction, Request};
use crate::view::State;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use ratatui::layout::Rect;
use std::path::PathBuf;

mod draw;
mod files;
mod mouse;
mod pictures;
mod watching;

/// Response to a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reply {
    /// Nothing beyond redrawing.
    Nothing,
    /// Send this command to the trainer.
    Send(Command),
    /// Send this to the process of one fold.
    SendTo(Request),
    /// Leave the screen once the run is over.
    Leave,
    /// Leave the screen without affecting training.
    Detach,
    /// Give the terminal back to the shell until `fg`.
    Suspend,
}

/// Overlay on top of the panes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlay {
    Help,
    Summary,
    Confirm(Question),
}

/// Notice at the bottom, in place of the key line.
struct Notice {
    text: String,
    /// Whether it reports a completed action; otherwise it says why a key did nothing.
    done: bool,
    /// When it disappears, in seconds since the run started; set at the first draw.
    until: Option<f64>,
}

/// The screen: the run's state and the state of the user interface.
pub struct Screen {
    /// The run's state.
    pub state: State,
    view: View,
    keys: Keymap,
    appearance: Appearance,
    overlay: Option<Overlay>,
    /// The user has quit before the run ended.
    leaving: bool,
    help: help::Keys,
    /// Number of the selected fold, which keys act on; `None` = the one in training.
    selected_fold: Option<usize>,
    notice: Option<Notice>,
    /// The watched fold that the run's stream of events was told.
    told: Option<usize>,
    /// Number of alerts for which the bell was rung or is not needed.
    rung: u64,
    views: Views,
    /// Folder of the runs.
    dir: Option<PathBuf>,
    /// Area of the tabs at the last draw.
    tabs: Rect,
    /// Column of the mouse while its button is held.
    dragged_from: Option<u16>,
}

impl Screen {
    /// Creates an empty screen.
    pub fn new(pictures: Pictures, appearance: Appearance, keys: Keymap) -> Self {
        Self {
            state: State::default(),
            view: View::default(),
            keys,
            appearance,
            overlay: None,
            leaving: false,
            help: help::Keys::default(),
            selected_fold: None,
            notice: None,
            told: None,
            rung: 0,
            views: Views::new(pictures),
            dir: None,
            tabs: Rect::default(),
            dragged_from: None,
        }
    }

    /// Marks the run as trained in another process, which continues when the screen is left.
    pub fn attached(mut self) -> Self {
        self.state.attached = true;
        self
    }

    /// Adds the runs in `dir` for comparison.
    pub fn beside_runs_in(mut self, dir: PathBuf) -> Self {
        self.dir = Some(dir.clone());
        self.views.runs = runs::View::of(dir);
        self
    }

    /// Removes the pane of crops, for a run without previews.
    pub fn without_previews(mut self) -> Self {
        self.views.gallery = panes::crops::Gallery::new(Pictures::Off);
        self
    }

    /// Takes in data of other runs.
    pub fn take_runs(&mut self, answer: runs::Answer) {
        self.views.runs.take(answer);
    }

    /// Folds an event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        let was_over = self.state.is_over();
        self.state.apply(stamped);
        // A selection of the fold in training follows training.
        let current = self.state.fold().map(|fold| fold.plan.fold);
        self.selected_fold = self.selected_fold.filter(|&number| Some(number) != current);
        self.after_end(was_over);
    }

    /// Whether an alert was raised since the last call.
    pub fn rings(&mut self) -> bool {
        let raised = self.state.alerts.raised();
        std::mem::replace(&mut self.rung, raised) < raised
    }

    /// Handles the end of the trainer's events.
    pub fn disconnected(&mut self) {
        let was_over = self.state.is_over();
        self.state.disconnected();
        self.after_end(was_over);
    }

    fn after_end(&mut self, was_over: bool) {
        if self.state.is_over() && !was_over {
            // A pending question about quitting counts as confirmed, because the run has ended.
            self.leaving |= self.overlay == Some(Overlay::Confirm(Question::Quit));
            // Other questions have become meaningless; show the results instead.
            self.overlay = self.state.finished.is_some().then_some(Overlay::Summary);
        }
    }

    /// Handles `key` and returns what the caller has to do.
    pub fn key(&mut self, key: &KeyEvent) -> Reply {
        if key.kind == KeyEventKind::Release {
            return Reply::Nothing;
        }
        self.notice = None;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let typing = self.view == View::Log && self.views.log.is_typing();
        if typing && self.overlay.is_none() && !control {
            self.views.log.type_key(key, &self.state);
            return Reply::Nothing;
        }
        if let (Some(Overlay::Help), Some(scroll)) = (self.overlay, Scroll::of(key.code)) {
            self.help.scroll(scroll);
            return Reply::Nothing;
        }
        let action = self.keys.action(key, self.view);
        match (self.overlay, action) {
            (Some(Overlay::Confirm(question)), _) => self.reply(question, key.code, action),
            (_, Some(action)) => self.act(action),
            (_, None) => Reply::Nothing,
        }
    }

    /// Handles a key while `question` is asked.
    fn reply(&mut self, question: Question, code: KeyCode, action: Option<Action>) -> Reply {
        if let Some(changed) = Scroll::of(code).and_then(|s| question.changed(s, &self.state)) {
            self.overlay = Some(Overlay::Confirm(changed));
            return Reply::Nothing;
        }
        let control_c = code == KeyCode::Char('c') && action == Some(Action::Quit);
        match (code, action) {
            (KeyCode::Char('y' | 'Y'), _) => self.answer(question),
            (KeyCode::Char('n' | 'N'), _) | (_, Some(Action::Close)) => {
                self.overlay = None;
                Reply::Nothing
            }
            (_, Some(Action::Detach)) if question == Question::Quit => self.detach(),
            _ if control_c && question == Question::Quit => match self.state.attached {
                // A hasty second Ctrl-C must not stop a run in another process.
                true => self.detach(),
                false => self.answer(question),
            },
            // Only Ctrl-C, so that a stray `q` does not replace the question by a more serious one.
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
            Question::Epochs(n) => {
                return self.send(Command::Plan { epochs: Some(n), min_learning_rate: None });
            }
            Question::Rate(at) => {
                let min_learning_rate = Some(confirm::rate(at));
                return self.send(Command::Plan { epochs: None, min_learning_rate });
            }
            Question::Start(fold) => (fold, FoldAction::Start),
            Question::Skip(fold) => (fold, FoldAction::Skip),
            Question::Retrain(fold) => (fold, FoldAction::Retrain),
        };
        // The answer applies only to the fold in the question, and only if it still makes sense.
        let asked = self.state.folds.iter().find(|f| f.plan.fold == fold);
        match asked.map(|f| verdict(OfFold::Act(action), &self.state, f)) {
            Some(Ok((command, _))) => self.send(command),
            Some(Err(why)) => self.notice(why),
            None => Reply::Nothing,
        }
    }

    /// Carries out a confirmed quit.
    fn quit(&mut self) -> Reply {
        match self.state.is_over() {
            true => Reply::Leave,
            false => self.send(Command::StopNow),
        }
    }

    /// Whether the run is over and the user had asked to quit before.
    pub fn is_left(&self) -> bool {
        self.leaving && self.state.is_over()
    }

    /// Handles SIGTERM. A run in this process was told to stop by the same signal.
    pub fn terminate(&mut self) -> Reply {
        if self.state.attached {
            return Reply::Detach;
        }
        self.state.command_given(Command::StopNow);
        Reply::Leave
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

    /// The reason why commands would have no effect, if any.
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

    /// Shows why a key does nothing, until the next key or for a while.
    pub fn notice(&mut self, why: impl Into<String>) -> Reply {
        self.notice = Some(Notice { text: why.into(), done: false, until: None });
        Reply::Nothing
    }

    /// Shows what a key has done, for as long as a notice.
    fn done(&mut self, what: String) -> Reply {
        self.notice = Some(Notice { text: what, done: true, until: None });
        Reply::Nothing
    }

    fn act(&mut self, action: Action) -> Reply {
        match action {
            Action::Quit if self.state.is_over() => return Reply::Leave,
            // No need to ask, because the run is ending already.
            Action::Quit if self.state.is_stopping() => {
                self.leaving = true;
                return self.notice(match self.state.attached {
                    true => "it saves the last weights, then this closes; d leaves at once",
                    false => "it saves the last weights, then this closes",
                });
            }
            Action::Quit => self.overlay = Some(Overlay::Confirm(Question::Quit)),
            Action::Detach => return self.detach(),
            Action::Suspend => return Reply::Suspend,
            // Resuming without a waiting fold would end the run.
            Action::TogglePause
                if self.state.is_paused() && self.state.lacks_a_fold() && !self.state.shared =>
            {
                return self.notice("no fold waits: ← → choose one, f or g bring it back");
            }
            Action::TogglePause if self.state.is_paused() => return self.send(Command::Resume),
            Action::TogglePause => return self.send(Command::Pause),
            Action::StopAfterEpoch
                if self.state.all_stop_after_epoch() && self.deaf().is_none() =>
            {
                return self.notice("it stops after this epoch already");
            }
            Action::StopAfterEpoch => return self.send(Command::StopAfterEpoch),
            Action::Checkpoint if !self.state.any_in_training() && self.deaf().is_none() => {
                return self.notice("no fold is in training: there is nothing to save");
            }
            Action::Checkpoint => return self.send(Command::Checkpoint),
            Action::MoreEpochs | Action::RateEnd => return self.ask_for_plan(action),
            Action::Fold(key) => return self.of_fold(key),
            Action::Show(view) => self.show(view),
            Action::NextView => self.show(self.view.beside(1)),
            Action::PreviousView => self.show(self.view.beside(-1)),
            Action::FoldBefore => self.select_fold(-1),
            Action::FoldAfter => self.select_fold(1),
            Action::Watch(which) => return self.watch(which),
            Action::PauseWorker => return self.pause_worker(),
            Action::Scroll(to) => {
                let (view, views, context) = self.current(self.state.at);
                if let Some((_, scroll)) = view.scroll {
                    scroll(views, to, &context);
                }
            }
            Action::LogFilter(key) => self.views.log.act(key, &self.state),
            Action::Chart(key) => self.views.curves.act(key),
            Action::EpochBefore => self.views.folds.select_epoch(-1, &self.state),
            Action::EpochAfter => self.views.folds.select_epoch(1, &self.state),
            Action::MarkRun => {
                let own = self.state.plan.as_ref().map(|plan| plan.name.as_str());
                if let Some(why) = self.views.runs.mark(own) {
                    return self.notice(why);
                }
            }
            Action::Acknowledge if self.state.alerts.acknowledge() => {}
            Action::Acknowledge => return self.notice("there is no alert to acknowledge"),
            Action::Crops(key) => {
                let fold = self.state.folds.get(self.shown());
                if let Err(why) = self.views.crops.key(key, &self.state, fold) {
                    return self.notice(why);
                }
            }
            Action::ToggleRaw if !self.views.gallery.wanted() && self.view != View::Crops => {
                return self.notice("there are no crops: ui.preview_seconds is 0");
            }
            Action::ToggleRaw => self.views.gallery.raw = !self.views.gallery.raw,
            Action::Export => return self.export(),
            Action::Summary if self.overlay == Some(Overlay::Summary) => self.overlay = None,
            Action::Summary if self.state.is_over() => self.overlay = Some(Overlay::Summary),
            Action::Summary => return self.notice("there are no results before the run is over"),
            Action::Help if self.overlay == Some(Overlay::Help) => self.overlay = None,
            Action::Help => self.overlay = Some(Overlay::Help),
            Action::Close if self.leaving => {
                self.leaving = false;
                return self.notice("this stays open when the run has ended");
            }
            Action::Close if self.overlay.is_some() => self.overlay = None,
            Action::Close => (self.view.entry().close)(&mut self.views),
        }
        Reply::Nothing
    }

    /// The view's entry, what the views remember, and what they show. `now`: seconds since the run
    /// started.
    fn current(&mut self, now: f64) -> (&'static Entry, &mut Views, Context<'_>) {
        let (shown, covered) = (self.shown(), self.overlay.is_some());
        let context = Context { state: &self.state, shown, covered, now };
        (self.view.entry(), &mut self.views, context)
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.overlay = None;
        self.help = help::Keys::default();
    }

    fn ask_for_plan(&mut self, action: Action) -> Reply {
        if let Some(why) = self.deaf() {
            return self.notice(why);
        }
        let Some(plan) = &self.state.plan else {
            return self.notice("there is no plan yet: the run is starting");
        };
        let lowest = plan.learning_rates.last().copied().unwrap_or(0.0);
        let question = match action {
            Action::MoreEpochs => Question::Epochs(plan.epochs.saturating_add(10).min(MOST_EPOCHS)),
            _ => Question::Rate(confirm::place(lowest)),
        };
        self.overlay = Some(Overlay::Confirm(question));
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
            Ok((command, None)) => return self.send(command),
            Ok((_, Some(question))) => self.overlay = Some(Overlay::Confirm(question)),
            Err(why) => return self.notice(why),
        }
        Reply::Nothing
    }
}
