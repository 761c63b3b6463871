//! `rsna-tui`: parse the command line and do what it says.

use clap::Parser;
use eyre::Result;
use rsna_tui::{
    cli::{Background, Cli, Command},
    run, session,
    session::Shown,
    train::memory,
};
use std::{
    io::{ErrorKind, Write, stderr, stdout},
    process::ExitCode,
};

/// A step's tensors come and go by the hundred megabytes: an allocator that keeps the pages spares
/// the kernel's zeroing of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bad input, as clap's own.
const BAD_INPUT: u8 = 2;
/// Printing failed.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    memory::small_pages();
    session::outlive_file_size_limit();
    match start(&cli) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(stderr(), "rsna-tui: {error}");
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
        Some(Command::Keys) => return Ok(print(&session::keys_table()?)),
        Some(Command::Runs(args)) => return Ok(print(&session::runs(args)?)),
        Some(Command::Report(args)) => return Ok(print(&session::report(args)?)),
        Some(Command::Evaluate(args)) => return Ok(print(&session::evaluate(args)?)),
        Some(Command::Predict(args)) => return Ok(print(&session::predict(args)?)),
        Some(Command::Import(args)) => return Ok(print(&session::import(args)?)),
        Some(Command::Export(args)) => return Ok(print(&session::export(args)?)),
        Some(Command::Attach(args)) => return session::attach(args),
        Some(Command::Pause(args)) => return session::steer(args, run::Command::Pause),
        Some(Command::Unpause(args)) => return session::steer(args, run::Command::Resume),
        Some(Command::Checkpoint(args)) => return session::steer(args, run::Command::Checkpoint),
        Some(Command::Plan(args)) => return session::plan(args),
        Some(Command::Fold(args)) => return session::fold(args),
        Some(Command::Stop(args)) => {
            let command = match args.after_epoch {
                true => run::Command::StopAfterEpoch,
                false => run::Command::StopNow,
            };
            return session::steer(&args.steer, command);
        }
        Some(Command::Resume(args)) => {
            return in_background(&args.background, || {
                session::train(session::resume(args)?, shown(args.no_tui, &args.background))
            });
        }
        None => {}
    }
    let args = &cli.train;
    let config = session::config(args)?;
    if args.print_model {
        return Ok(print(&session::model_table(&config)?));
    }
    in_background(&args.background, || {
        session::train(session::prepare(args, config)?, shown(args.no_tui, &args.background))
    })
}

/// Trains in a process of its own where that is asked for, else here.
fn in_background(
    background: &Background,
    train: impl FnOnce() -> Result<ExitCode>,
) -> Result<ExitCode> {
    if background.detach {
        return session::detach(std::env::args_os().skip(1));
    }
    if background.detached {
        session::leave_session();
    }
    train()
}

fn shown(no_tui: bool, background: &Background) -> Shown {
    match (background.detached, no_tui) {
        (true, _) => Shown::Background,
        (false, true) => Shown::Lines,
        (false, false) => Shown::Dashboard,
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
