//! Runs training in this process, with its front end and control socket.

use super::{detach, monitor::Monitor, on_alert::Hook, previews, signals::Signals, tensorboard};
#[cfg(unix)]
use crate::run::control_socket;
use crate::{
    config::Config,
    headless, print,
    run::{
        Command,
        channel::{EventSender, RunHandle},
        event::{Level, Outcome},
        folder::Folder,
        requests::{self, Listener},
    },
    train::{
        faults::Faults,
        trainer::{self, Job},
    },
    tui,
    view::State,
};
use eyre::{Result, eyre};
use std::{
    io::{IsTerminal, stdout},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// Exit code when a fold or the run failed.
pub(super) const FAILED: u8 = 1;
/// Exit code when the run was preempted and should be started again: EX_TEMPFAIL of sysexits.h.
pub(super) const REQUEUE: u8 = 75;
/// Exit code when the user stopped the run early, as for Ctrl-C.
pub(super) const STOPPED: u8 = 130;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontEnd {
    /// A dashboard, if there is a terminal.
    Dashboard,
    /// Plain lines.
    Lines,
    /// Plain lines in a file of the run's folder, for a background process.
    Background,
}

/// Longest wait for a write when the process should end.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest wait for the front end to close.
const LONGEST_LEAVE: Duration = Duration::from_secs(4);
const TICK: Duration = Duration::from_millis(20);
/// Stack size, equal to the main thread's.
const STACK: usize = 8 << 20;

/// Trains and shows the run until it ends.
///
/// Errors: when training cannot start.
pub fn train(job: Job, faults: Faults, front_end: FrontEnd) -> Result<ExitCode> {
    let signals = Signals::listen(job.config.run.requeue_signal.into())?;
    let outcome = train_until(job, faults, front_end, &signals)?;
    Ok(exit_code(outcome, &signals))
}

/// The exit code of a run that ended in `outcome`.
pub(super) fn exit_code(outcome: Outcome, signals: &Signals) -> ExitCode {
    match (outcome, signals.stopped_by()) {
        (Outcome::Failed, _) => ExitCode::from(FAILED),
        (Outcome::Requeued, _) => ExitCode::from(REQUEUE),
        (Outcome::Stopped, Some(signal)) => ExitCode::from(128 + signal as u8),
        (Outcome::Stopped, None) => ExitCode::from(STOPPED),
        (Outcome::Completed, _) => ExitCode::SUCCESS,
    }
}

/// Trains and shows the run until it ends; returns its outcome.
///
/// Errors: when training cannot start.
pub(super) fn train_until(
    job: Job,
    faults: Faults,
    front_end: FrontEnd,
    signals: &Signals,
) -> Result<Outcome> {
    let config = job.config.clone();
    let folder = job.folder.clone();
    let plain = front_end != FrontEnd::Dashboard || super::plain::is_needed();
    let state = past(&job);
    let mut kept = Vec::new();
    let mut hook = None;
    let keep = |events: &EventSender| {
        kept.extend(previews::spawn_writer(&folder, events));
        hook = Hook::start(&config.ui.on_alert, &folder, events);
        if config.run.tensorboard {
            kept.extend(tensorboard::spawn_writer(&folder, events));
        }
    };
    let (events, handle, trainer) =
        trainer::spawn_with(job, faults, keep).map_err(|e| eyre!("{e}"))?;
    signals.command_through(&handle);
    let server = listen(&folder, &events, &handle);
    let _requests = take_requests(&folder, &events, &handle);
    let monitor = Monitor::start(&folder, &events);
    drop(events);
    if front_end == FrontEnd::Background {
        detach::ready(&folder)?;
    }
    let front = Front { handle, config, signals: signals.clone(), reachable: server.is_some() };
    let front = front.start(state, plain)?;
    let outcome = trainer.join().unwrap_or(Outcome::Failed);
    wait_for(&front, outcome, plain, signals);
    drop(monitor);
    for thread in kept {
        let _ = thread.join();
    }
    if let Some(hook) = hook {
        hook.finish();
    }
    if !plain {
        tui::restore_terminal();
        print::line(format_args!("{}: {}", in_words(outcome), folder.path().display()));
    }
    #[cfg(unix)]
    if let Some(server) = server {
        server.close();
    }
    Ok(outcome)
}

/// Waits until the front end has shown the finished run: until the user closes the dashboard, or all
/// lines are printed. Never waits for a terminal that does not read, nor, if somebody asked for the end,
/// for a pipe that is not read. A run that ends on its own waits until a pipe has taken everything.
pub(super) fn wait_for(
    front: &thread::JoinHandle<()>,
    outcome: Outcome,
    plain: bool,
    signals: &Signals,
) {
    let is_pipe = plain && !stdout().is_terminal();
    let mut asked_since = None;
    while !front.is_finished() {
        thread::sleep(TICK);
        let signalled = signals.stopped_by().is_some() || outcome == Outcome::Requeued;
        let asked = signalled || outcome == Outcome::Stopped;
        if (asked || !is_pipe) && print::hangs_for() >= PATIENCE {
            return;
        }
        if signalled {
            let since = asked_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= LONGEST_LEAVE {
                return;
            }
        }
    }
}

/// Lets other processes watch and steer, if possible.
#[cfg(unix)]
fn listen(
    folder: &Folder,
    events: &EventSender,
    handle: &RunHandle,
) -> Option<control_socket::Server> {
    match control_socket::serve(folder, events.clone(), handle) {
        Ok(server) => Some(server),
        Err(error) => {
            let path = folder.socket();
            let message =
                format!("cannot listen on {}: {error}; attach will not work", path.display());
            events.log(Level::Warn, message);
            None
        }
    }
}

#[cfg(not(unix))]
fn listen(_: &Folder, _: &EventSender, _: &RunHandle) -> Option<()> {
    None
}

/// Takes requests of other hosts, if this process trains a fold of a run that several share.
fn take_requests(folder: &Folder, events: &EventSender, handle: &RunHandle) -> Option<Listener> {
    folder.guard()?;
    match requests::listen(folder, events, &handle.commands) {
        Ok(listener) => Some(listener),
        Err(error) => {
            let message = format!("no thread to take requests of other hosts: {error}");
            events.log(Level::Warn, message);
            None
        }
    }
}

/// Reads the state before this process from the run's journal.
fn past(job: &Job) -> State {
    if job.resume.is_none() {
        return State::default();
    }
    match State::of_journal(&job.folder.journal(), None) {
        Ok((mut state, _)) => {
            state.reopen();
            state
        }
        Err(error) => {
            print::warn(format_args!("{error}; the curves from before are not shown"));
            State::default()
        }
    }
}

fn in_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "training completed",
        Outcome::Stopped => "training stopped",
        Outcome::Requeued => "training stopped, to be started again",
        Outcome::Failed => "training failed, see the log",
    }
}

/// The front end of a run.
pub(super) struct Front {
    pub handle: RunHandle,
    pub config: Config,
    pub signals: Signals,
    /// Whether other processes can steer the run.
    pub reachable: bool,
}

impl Front {
    /// Shows the run, whose state so far is `state`, on a thread of its own: waiting for a terminal must
    /// not keep the process from ending.
    pub(super) fn start(
        self,
        state: State,
        plain: bool,
    ) -> std::io::Result<thread::JoinHandle<()>> {
        let show = move || {
            let draw = AssertUnwindSafe(|| self.dashboard(state.clone()));
            // A display that fails reports it itself, and training continues.
            if plain || catch_unwind(draw).is_err() {
                self.lines(state);
            }
        };
        thread::Builder::new().name("front".into()).stack_size(STACK).spawn(show)
    }

    fn dashboard(&self, state: State) {
        self.signals.draws(true);
        // The keys were checked with the rest of the config.
        let keys = super::keys(&self.config).unwrap_or_default();
        let runs = self.config.run.dir.clone();
        let settings = tui::Settings { ui: &self.config.ui, keys, runs };
        let attachment = tui::Attachment::Own;
        let left = tui::run(&self.handle, state.clone(), attachment, settings, &self.signals.tui);
        self.signals.draws(false);
        match left {
            Ok(tui::Exit::Quit | tui::Exit::Detached) => {}
            // Training continues after the connection is lost.
            Ok(tui::Exit::TerminalGone(state)) => {
                if !self.reachable {
                    // Nobody could end a pause any more.
                    let _ = self.handle.commands.send(Command::Resume.into());
                }
                self.lines(*state);
            }
            Err(error) => {
                print::warn(format_args!(
                    "no dashboard on this terminal ({error}), so plain lines"
                ));
                self.lines(state);
            }
        }
    }

    fn lines(&self, state: State) {
        self.signals.draws(false);
        let every = self.config.run.log_every_steps;
        if let Err(error) = headless::run(state, &self.handle, every, &mut print::Lines) {
            // Training itself has completed.
            print::warn(format_args!("cannot write to stdout: {error}"));
        }
    }
}
