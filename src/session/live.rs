//! A run in this process: the trainer, who shows it, and who may steer it.

use super::{
    detach, monitor::Monitor, on_alert::Hook, previews, signals::Signals, studio::Studio,
    tensorboard,
};
#[cfg(unix)]
use crate::run::{control_socket, event::Level};
use crate::{
    config::Config,
    headless, print,
    run::{
        channel::{EventSender, Line},
        event::Outcome,
        folder::Folder,
    },
    train::trainer::{self, Job},
    tui,
    view::State,
};
use eyre::{Result, eyre};
use std::{
    io::{IsTerminal, stdout},
    process::ExitCode,
};

/// A fold or the run failed.
const FAILED: u8 = 1;
/// It was preempted and is to be started again: EX_TEMPFAIL of sysexits.h.
const REQUEUE: u8 = 75;
/// The user stopped it before its end, as by Ctrl-C.
const STOPPED: u8 = 130;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// As a dashboard, where there is a terminal.
    Dashboard,
    /// As plain lines.
    Lines,
    /// As plain lines into a file of the run's: it is in the background.
    Background,
}

/// Trains, and shows it until it ends.
///
/// Errors: what cannot be begun.
pub fn train(job: Job, shown: Shown) -> Result<ExitCode> {
    let config = job.config.clone();
    let folder = job.folder.clone();
    let plain = shown != Shown::Dashboard || {
        let piped = !stdout().is_terminal();
        if piped {
            print::warn("stdout is no terminal, so these are plain lines (--no-tui)");
        }
        piped
    };
    let signals = Signals::listen(config.run.requeue_signal)?;
    let state = past(&job);
    let studio = Studio::new(job.config.clone(), job.table.clone(), job.source.clone());
    let mut kept = Vec::new();
    let mut hook = None;
    let keep = |events: &EventSender| {
        kept.extend(previews::keep(&folder, events));
        hook = Hook::start(&config.ui.on_alert, &folder, events);
        if config.run.tensorboard {
            kept.extend(tensorboard::keep(&folder, events));
        }
    };
    let (events, line, trainer) = trainer::spawn(job, keep).map_err(|e| eyre!("{e}"))?;
    signals.preempt(&line);
    let server = listen(&folder, &events, &line);
    let monitor = Monitor::start(&folder, &events);
    studio.open(&line, &events);
    drop(events);
    if shown == Shown::Background {
        detach::ready(&folder)?;
    }
    match plain {
        true => headlessly(&line, &config, &signals, state),
        false => match dashboard(&line, state.clone(), &config, &signals) {
            Ok(tui::Exit::Quit | tui::Exit::Detached) => {}
            // Training outlives the connection.
            Ok(tui::Exit::TerminalGone(state)) => {
                if server.is_none() {
                    // Nobody could end a pause any more.
                    let _ = line.commands.send(crate::run::Command::Resume);
                }
                headlessly(&line, &config, &signals, *state);
            }
            Err(error) => {
                let why = format!("no dashboard on this terminal ({error}), so plain lines");
                print::warn(why);
                headlessly(&line, &config, &signals, state);
            }
        },
    }
    let outcome = trainer.join().unwrap_or(Outcome::Failed);
    drop(monitor);
    for thread in kept {
        let _ = thread.join();
    }
    if let Some(hook) = hook {
        hook.finish();
    }
    if !plain {
        print::line(format_args!("{}: {}", in_words(outcome), folder.path().display()));
    }
    #[cfg(unix)]
    if let Some(server) = server {
        server.close();
    }
    Ok(match (outcome, signals.stopped_by()) {
        (Outcome::Failed, _) => ExitCode::from(FAILED),
        (Outcome::Requeued, _) => ExitCode::from(REQUEUE),
        (Outcome::Stopped, Some(signal)) => ExitCode::from(128 + signal as u8),
        (Outcome::Stopped, None) => ExitCode::from(STOPPED),
        (Outcome::Completed, _) => ExitCode::SUCCESS,
    })
}

/// Lets other processes watch and steer, where that is possible.
#[cfg(unix)]
fn listen(folder: &Folder, events: &EventSender, line: &Line) -> Option<control_socket::Server> {
    match control_socket::serve(folder, events.clone(), line.commands.clone(), line.looks.clone()) {
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
fn listen(_: &Folder, _: &EventSender, _: &Line) -> Option<()> {
    None
}

/// What the run's journal tells of the time before this process.
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

fn dashboard(
    line: &Line,
    state: State,
    config: &Config,
    signals: &Signals,
) -> std::io::Result<tui::Exit> {
    signals.draws(true);
    // They were checked with the rest of the config.
    let keys = super::keys(config).unwrap_or_default();
    let settings = tui::Settings { ui: &config.ui, keys, runs: config.run.dir.clone() };
    let left = tui::run(line, state, tui::Attachment::Own, settings, &signals.tui);
    signals.draws(false);
    left
}

fn headlessly(line: &Line, config: &Config, signals: &Signals, state: State) {
    signals.command_through(line);
    let lines = headless::go_on(state, line, config.run.log_every_steps, &mut print::Lines);
    if let Err(error) = lines {
        // The training itself has gone on to its end.
        print::warn(format_args!("cannot write to stdout: {error}"));
    }
}
