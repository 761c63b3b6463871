//! Suspends the program, as Ctrl-Z does: the shell gets the terminal until `fg`. Training in this
//! process stops meanwhile; with `bg` it continues without the screen.

#[cfg(unix)]
pub use unix::{has_shell, in_front, stop};

#[cfg(unix)]
mod unix {
    use rustix::process::{Signal, getpgrp, getsid, kill_current_process_group};
    use rustix::termios::tcgetpgrp;
    use std::os::fd::AsFd;

    /// Whether a shell would notice. If this process, or the one that merely started it, is the
    /// only job of its session (`ssh -t host rsna-tui`, `tmux new rsna-tui`), nobody could enter
    /// `fg`.
    pub fn has_shell() -> bool {
        getsid(None).is_ok_and(|session| session != getpgrp())
    }

    /// Stops, and returns once continued. `all`: stop the whole job, as the terminal does at
    /// Ctrl-Z, so that `cargo run` and pipelines stop too; otherwise only this process.
    pub fn stop(all: bool) {
        // If stopping fails, continue; there is nobody to report to.
        if all {
            let _ = kill_current_process_group(Signal::STOP);
        } else {
            use signal_hook::{consts::SIGTSTP, low_level::emulate_default_handler};
            let _ = emulate_default_handler(SIGTSTP);
        }
    }

    /// Whether this job is in the foreground; a background job is stopped again when it reads or
    /// writes the terminal.
    pub fn in_front(tty: impl AsFd) -> bool {
        tcgetpgrp(tty).map_or(true, |group| group == getpgrp())
    }
}

/// No job control on other platforms.
#[cfg(not(unix))]
pub fn has_shell() -> bool {
    false
}

/// No job control on other platforms.
#[cfg(not(unix))]
pub fn stop(_all: bool) {}

/// No job control on other platforms.
#[cfg(not(unix))]
pub fn in_front<T>(_tty: T) -> bool {
    true
}
