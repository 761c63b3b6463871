//! Handles the signals that the process receives.

use crate::{
    config::RequeueSignal,
    print,
    run::{Command, Request, channel::RunHandle},
    tui,
};
use crossbeam_channel::Sender;
use eyre::{Result, eyre};
use std::{
    io::{IsTerminal, stdout},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

/// Value of `stopped_by` when this process only watches, so that there is no run to stop.
const LOOKS_ON: i32 = i32::MAX;

/// Makes a write beyond the limit on file sizes (`ulimit -f`) fail like any other: SIGXFSZ would end the
/// process without a message. It is handled, not ignored, because child processes would inherit that.
pub fn outlive_file_size_limit() {
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// State of signal handling. Cheap to clone.
#[derive(Clone)]
pub(super) struct Signals {
    /// Flags for the dashboard.
    pub tui: tui::Signals,
    /// Whether a dashboard is open.
    drawn: Arc<AtomicBool>,
    /// The signal that asked the run to stop; 0: none.
    stopped_by: Arc<AtomicI32>,
    /// Channel to this process's trainer. Signals reach it directly, because the front end may be blocked.
    trainer: Arc<Mutex<Option<Sender<Request>>>>,
    /// The signal by which a batch system ended the process; 0: none.
    preempted_by: Arc<AtomicI32>,
}

/// Signals at which the run saves and exits, to be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preemption {
    /// The config's.
    Config(RequeueSignal),
    /// SIGUSR1, which a job script asks for before its time limit, and SIGTERM, by which batch systems preempt.
    BatchSystem,
}

impl From<RequeueSignal> for Preemption {
    fn from(signal: RequeueSignal) -> Self {
        Self::Config(signal)
    }
}

impl Signals {
    /// Starts handling signals. The first SIGINT or SIGTERM asks the run to save and stop; the second ends
    /// the process. SIGHUP, the loss of the terminal, never ends training. `requeue` asks the run to save
    /// and exit with the code that requests a restart.
    pub fn listen(requeue: Preemption) -> Result<Self> {
        let signals = Self {
            tui: tui::Signals::new().map_err(|e| eyre!("cannot wake the dashboard: {e}"))?,
            drawn: Arc::default(),
            stopped_by: Arc::default(),
            trainer: Arc::default(),
            preempted_by: Arc::default(),
        };
        print::bound();
        #[cfg(unix)]
        signals.listen_on_a_thread(requeue).map_err(|e| eyre!("cannot listen to signals: {e}"))?;
        Ok(signals)
    }

    #[cfg(unix)]
    fn listen_on_a_thread(&self, requeue: Preemption) -> std::io::Result<()> {
        use signal_hook::consts::{
            SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
            SIGWINCH, SIGXCPU,
        };
        /// Signals that end the process at once, as by default, but restore the terminal first.
        const DEADLY: [i32; 5] = [SIGALRM, SIGQUIT, SIGUSR1, SIGUSR2, SIGXCPU];
        let preemption: &[i32] = match requeue {
            Preemption::Config(RequeueSignal::None) => &[],
            Preemption::Config(RequeueSignal::Usr1) => &[SIGUSR1],
            Preemption::Config(RequeueSignal::Usr2) => &[SIGUSR2],
            Preemption::Config(RequeueSignal::Term) => &[SIGTERM],
            Preemption::BatchSystem => &[SIGUSR1, SIGTERM],
        };
        let all = [SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGCONT, SIGWINCH];
        let deadly = DEADLY.into_iter().filter(move |signal| !preemption.contains(signal));
        let all = all.into_iter().chain(preemption.iter().copied()).chain(deadly);
        let mut received = signal_hook::iterator::Signals::new(all)?;
        let Self { tui, drawn, stopped_by, trainer, preempted_by } = self.clone();
        // Returns whether there is a trainer.
        let command = move |command: Command| {
            let trainer = trainer.lock().unwrap_or_else(PoisonError::into_inner);
            trainer.as_ref().is_some_and(|trainer| trainer.send(command.into()).is_ok())
        };
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in received.forever() {
                match signal {
                    // Only if its output goes to that terminal, and not to a file (`nohup`).
                    SIGHUP
                        if stopped_by.load(Ordering::Relaxed) == LOOKS_ON
                            && stdout().is_terminal() =>
                    {
                        std::process::exit(128 + SIGHUP);
                    }
                    SIGHUP => tui.hangup.store(true, Ordering::Relaxed),
                    // A dashboard restores the terminal first.
                    SIGTSTP if drawn.load(Ordering::Relaxed) => {
                        tui.suspend.store(true, Ordering::Relaxed);
                    }
                    SIGTSTP => {
                        let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
                    }
                    SIGCONT => tui.resumed.store(true, Ordering::Relaxed),
                    SIGWINCH => tui.resized.store(true, Ordering::Relaxed),
                    _ if preemption.contains(&signal) => {
                        preempted_by.store(signal, Ordering::Relaxed);
                        command(Command::Requeue);
                        continue;
                    }
                    _ => {
                        if DEADLY.contains(&signal) {
                            tui::restore_terminal();
                            let _ = signal_hook::low_level::emulate_default_handler(signal);
                        }
                        if stopped_by.swap(signal, Ordering::Relaxed) != 0 {
                            tui::restore_terminal();
                            std::process::exit(128 + signal);
                        }
                        tui.terminate.store(true, Ordering::Relaxed);
                        if command(Command::StopNow) && !drawn.load(Ordering::Relaxed) {
                            print::note_aside(
                                "stopping: saving the last weights (again to leave at once)",
                            );
                        }
                    }
                }
                tui.waker.wake();
            }
        })?;
        Ok(())
    }

    /// Sends the commands of later signals to this trainer.
    pub fn command_through(&self, handle: &RunHandle) {
        let mut trainer = self.trainer.lock().unwrap_or_else(PoisonError::into_inner);
        let trainer = trainer.insert(handle.commands.clone());
        if self.stopped_by().is_some() {
            let _ = trainer.send(Command::StopNow.into());
        } else if self.preempted_by().is_some() {
            let _ = trainer.send(Command::Requeue.into());
        }
    }

    /// Returns the signal by which a batch system ended the process.
    pub fn preempted_by(&self) -> Option<i32> {
        Some(self.preempted_by.load(Ordering::Relaxed)).filter(|&s| s != 0)
    }

    /// Records whether a dashboard is open.
    pub fn draws(&self, drawn: bool) {
        self.drawn.store(drawn, Ordering::Relaxed);
    }

    /// From now on, SIGINT, SIGTERM and the loss of the terminal end the process, which only watches.
    pub fn end_at_once(&self) {
        self.stopped_by.store(LOOKS_ON, Ordering::Relaxed);
    }

    /// Returns the signal that asked the run to stop.
    pub fn stopped_by(&self) -> Option<i32> {
        Some(self.stopped_by.load(Ordering::Relaxed)).filter(|&s| s != 0)
    }
}
