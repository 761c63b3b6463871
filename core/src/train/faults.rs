//! Faults that the tests cause in a process that trains.

/// Which faults occur, and when.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Faults {
    /// For the tests: the trainer panics at this step of a fold
    #[arg(long, hide = true, value_name = "N")]
    pub panic_at_step: Option<usize>,
    /// For the tests: the trainer prints at this step of a fold
    #[arg(long, hide = true, value_name = "N")]
    pub print_at_step: Option<usize>,
    /// For the tests: the loss of this batch of each epoch is not finite
    #[arg(long, hide = true, value_name = "N")]
    pub nan_at_batch: Option<usize>,
}

impl Faults {
    /// Panics or prints at `step` of a fold, counted from 1, if it is the one.
    pub(super) fn at_step(&self, step: usize) {
        if self.panic_at_step == Some(step) {
            panic!("asked to panic at step {step}");
        }
        if self.print_at_step == Some(step) {
            // A line with each of Rust's macros, and a write to fd 2 without a newline, as libraries do.
            println!("a stray line on stdout");
            eprintln!("a stray line on stderr");
            #[cfg(unix)]
            let _ = rustix::io::write(rustix::stdio::stderr(), b"a stray write to fd 2");
        }
    }

    /// Whether the loss of this batch of an epoch, counted from 1, is not finite.
    pub(super) fn spoils(&self, batch: usize) -> bool {
        self.nan_at_batch == Some(batch)
    }
}
