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
        Arc, OnceLock,
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
    trainer: Arc<OnceLock<Sender<Request>>>,
}

impl Signals {
    /// Starts handling signals. The first SIGINT or SIGTERM asks the run to save and stop; the second ends
    /// the process. SIGHUP, the loss of the terminal, never ends training. `requeue` asks the run to save
    /// and exit with the code that requests a restart.
    pub fn listen(requeue: RequeueSignal) -> Result<Self> {
        let signals = Self {
            tui: tui::Signals::new().map_err(|e| eyre!("cannot wake the dashboard: {e}"))?,
            drawn: Arc::default(),
            stopped_by: Arc::default(),
            trainer: Arc::default(),
        };
        print::bound();
        #[cfg(unix)]
        signals.listen_on_a_thread(requeue).map_err(|e| eyre!("cannot listen to signals: {e}"))?;
        Ok(signals)
    }

    #[cfg(unix)]
    fn listen_on_a_thread(&self, requeue: RequeueSignal) -> std::io::Result<()> {
        use signal_hook::consts::{
            SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
            SIGWINCH, SIGXCPU,
        };
        /// Signals that end the process at once, as by default, but restore the terminal first.
        const DEADLY: [i32; 5] = [SIGALRM, SIGQUIT, SIGUSR1, SIGUSR2, SIGXCPU];
        let preemption = match requeue {
            RequeueSignal::None => None,
            RequeueSignal::Usr1 => Some(SIGUSR1),
            RequeueSignal::Usr2 => Some(SIGUSR2),
            RequeueSignal::Term => Some(SIGTERM),
        };
        let all = [SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGCONT, SIGWINCH];
        let deadly = DEADLY.into_iter().filter(move |signal| Some(*signal) != preemption);
        let all = all.into_iter().chain(preemption).chain(deadly);
        let mut received = signal_hook::iterator::Signals::new(all)?;
        let Self { tui, drawn, stopped_by, trainer } = self.clone();
        // Returns whether there is a trainer.
        let command = move |command: Command| {
            trainer.get().is_some_and(|trainer| trainer.send(command.into()).is_ok())
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
                    _ if Some(signal) == preemption => {
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
        let trainer = self.trainer.get_or_init(|| handle.commands.clone());
        if self.stopped_by().is_some() {
            let _ = trainer.send(Command::StopNow.into());
        }
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
