//! Stopping as Ctrl-Z stops any program: the shell gets the terminal until it says `fg`. Training
//! in this process stands still meanwhile; with `bg` it goes on without the screen.

#[cfg(unix)]
pub use unix::{has_shell, in_front, stop};

#[cfg(unix)]
mod unix {
    use rustix::process::{Signal, getpgrp, getsid, kill_current_process_group};
    use rustix::termios::tcgetpgrp;
    use std::os::fd::AsFd;

    /// Whether a shell would notice: where this process, or the one that merely started it, is all
    /// of its session (`ssh -t host rsna-tui`, `tmux new rsna-tui`), nobody could say `fg`.
    pub fn has_shell() -> bool {
        getsid(None).is_ok_and(|session| session != getpgrp())
    }

    /// Stops, and returns when it is continued. `all`: the whole job, as the terminal itself does
    /// at Ctrl-Z, so that `cargo run` and pipelines stop too; else this process.
    pub fn stop(all: bool) {
        // What cannot be stopped goes on: there is nobody to tell.
        if all {
            let _ = kill_current_process_group(Signal::STOP);
        } else {
            use signal_hook::{consts::SIGTSTP, low_level::emulate_default_handler};
            let _ = emulate_default_handler(SIGTSTP);
        }
    }

    /// Whether the terminal is this job's; who writes or reads it from behind is stopped again.
    pub fn in_front(tty: impl AsFd) -> bool {
        tcgetpgrp(tty).map_or(true, |group| group == getpgrp())
    }
}

/// There are no jobs here.
#[cfg(not(unix))]
pub fn has_shell() -> bool {
    false
}

/// There are no jobs here.
#[cfg(not(unix))]
pub fn stop(_all: bool) {}

/// There are no jobs here.
#[cfg(not(unix))]
pub fn in_front<T>(_tty: T) -> bool {
    true
}
