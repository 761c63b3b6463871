//! `rsna-tui`: parse the command line, tie trainer and view together.

use clap::Parser;
use eyre::{Result, eyre};
use rsna_tui::{
    cli::{Cli, Command},
    config::Config,
    headless,
    run::{self, channel::Line, event::Outcome},
    session,
    train::{
        memory,
        trainer::{self, Job},
    },
    tui,
    view::State,
};
use std::{
    io::{ErrorKind, IsTerminal, Write, stderr, stdout},
    process::ExitCode,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
};

/// A step's tensors come and go by the hundred megabytes: an allocator that keeps the pages spares
/// the kernel's zeroing of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bad input, as clap's own.
const BAD_INPUT: u8 = 2;
/// A fold or the run failed.
const FAILED: u8 = 1;
/// It was preempted and is to be started again: EX_TEMPFAIL of sysexits.h.
const REQUEUE: u8 = 75;
/// The user stopped it before its end, as by Ctrl-C.
const STOPPED: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    memory::small_pages();
    match start(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rsna-tui: {error}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn start(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Some(Command::Phantom(args)) => return Ok(print(&session::phantom(args)?)),
        Some(Command::Augment(args)) => return Ok(print(&session::augment(args)?)),
        Some(Command::Check(args)) => return Ok(print(&session::check(args)?)),
        Some(Command::Bench(args)) => return Ok(print(&session::bench(args)?)),
        Some(Command::Resume(args)) => return train(session::resume(args)?, args.no_tui),
        None => {}
    }
    let args = &cli.train;
    let config = session::config(args)?;
    if args.print_model {
        return Ok(print(&session::model_table(&config)?));
    }
    train(session::prepare(args, config)?, args.no_tui)
}

/// Trains, and shows it until it ends.
fn train(job: Job, no_tui: bool) -> Result<ExitCode> {
    let config = job.config.clone();
    let folder = job.folder.path().display().to_string();
    let plain = no_tui || {
        let piped = !stdout().is_terminal();
        if piped {
            eprintln!("rsna-tui: stdout is no terminal, so these are plain lines (--no-tui)");
        }
        piped
    };
    let signals = Signals::listen()?;
    let state = past(&job);
    let (_events, line, trainer) =
        trainer::spawn(job).map_err(|e| eyre!("cannot start the trainer thread: {e}"))?;
    match plain {
        true => headlessly(&line, &config, &signals, state),
        false => {
            match tui::run(&line, state.clone(), tui::Attachment::Own, &config.ui, &signals.tui) {
                Ok(tui::Exit::Quit | tui::Exit::Detached) => {}
                // Training outlives the connection.
                Ok(tui::Exit::TerminalGone(state)) => {
                    // Nobody could end a pause any more.
                    let _ = line.commands.send(run::Command::Resume);
                    headlessly(&line, &config, &signals, *state);
                }
                Err(error) => {
                    let why = format!("no dashboard on this terminal ({error}), so plain lines");
                    let _ = writeln!(stderr(), "rsna-tui: {why}");
                    headlessly(&line, &config, &signals, state);
                }
            }
        }
    }
    let outcome = trainer.join().unwrap_or(Outcome::Failed);
    if !plain {
        // Not `println!`: it panics where the terminal has gone.
        let _ = writeln!(stdout(), "{}: {folder}", in_words(outcome));
    }
    Ok(match (outcome, signals.stopped_by()) {
        (Outcome::Failed, _) => ExitCode::from(FAILED),
        (Outcome::Requeued, _) => ExitCode::from(REQUEUE),
        (Outcome::Stopped, Some(signal)) => ExitCode::from(128 + signal as u8),
        (Outcome::Stopped, None) => ExitCode::from(STOPPED),
        _ => ExitCode::SUCCESS,
    })
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
            eprintln!("rsna-tui: {error}; the curves from before are not shown");
            State::default()
        }
    }
}

/// Prints `text`; a reader that has enough of it is no failure.
fn print(text: &str) -> ExitCode {
    match writeln!(stdout(), "{text}") {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(stderr(), "rsna-tui: cannot write to stdout: {e}");
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
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

fn headlessly(line: &Line, config: &Config, signals: &Signals, state: State) {
    signals.command_through(line);
    let lines = headless::go_on(state, line, config.run.log_every_steps, &mut stdout());
    if let Err(error) = lines {
        // The training itself has gone on to its end.
        let _ = writeln!(stderr(), "rsna-tui: cannot write to stdout: {error}");
    }
}

/// What the system tells the process.
struct Signals {
    tui: tui::Signals,
    /// The signal that asked the run to stop, 0 for none.
    stopped_by: Arc<AtomicI32>,
    /// Where a headless run's Ctrl-C goes.
    line: Arc<std::sync::Mutex<Option<Line>>>,
}

impl Signals {
    /// The first SIGINT or SIGTERM asks the run to save and stop, the second ends the process.
    /// SIGHUP, the terminal going away, never ends training.
    fn listen() -> Result<Self> {
        let signals =
            Self { tui: tui::Signals::default(), stopped_by: Arc::default(), line: Arc::default() };
        #[cfg(unix)]
        signals.listen_on_a_thread().map_err(|e| eyre!("cannot listen to signals: {e}"))?;
        Ok(signals)
    }

    #[cfg(unix)]
    fn listen_on_a_thread(&self) -> std::io::Result<()> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let mut received = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let (tui, stopped_by, line) =
            (self.tui.clone(), self.stopped_by.clone(), self.line.clone());
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in received.forever() {
                if signal == SIGHUP {
                    tui.hangup.store(true, Ordering::Relaxed);
                    continue;
                }
                if stopped_by.swap(signal, Ordering::Relaxed) != 0 {
                    tui::restore_terminal();
                    std::process::exit(128 + signal);
                }
                raise(&tui.terminate);
                let line = line.lock().unwrap_or_else(|e| e.into_inner());
                if let Some(line) = &*line {
                    let _ = line.commands.send(run::Command::StopNow);
                    let said = "stopping: saving the last weights (again to leave at once)";
                    let _ = writeln!(stderr(), "{said}");
                }
            }
        })?;
        Ok(())
    }

    /// From now on there is no TUI: a signal's command goes straight to the trainer.
    fn command_through(&self, line: &Line) {
        *self.line.lock().unwrap_or_else(|e| e.into_inner()) = Some(line.clone());
        if self.stopped_by().is_some() {
            let _ = line.commands.send(run::Command::StopNow);
        }
    }

    fn stopped_by(&self) -> Option<i32> {
        Some(self.stopped_by.load(Ordering::Relaxed)).filter(|&s| s != 0)
    }
}

#[cfg(unix)]
fn raise(flag: &AtomicBool) {
    flag.store(true, Ordering::Relaxed);
}
