//! `rsna-tui`: parses the command line and runs the command.

use clap::Parser;
use eyre::{Report, Result};
use rsna_tui::{
    cli::{self, Background, Cli, Command},
    device,
    net::weights,
    print::{self, CommandOutput},
    run, session,
    session::FrontEnd,
    train::memory,
};
use std::{ffi::OsString, io::ErrorKind, process::ExitCode};

/// Each step allocates and frees hundreds of megabytes of tensors. An allocator that keeps the pages
/// saves the kernel from zeroing them again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for bad input, as clap's.
const BAD_INPUT: u8 = 2;
/// Exit code when printing failed, studies were left out, or a device computes incorrectly.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let Some(cli) = parse(std::env::args_os().skip(1)) else { return ExitCode::from(BAD_INPUT) };
    memory::small_pages();
    session::outlive_file_size_limit();
    match start(&cli) {
        Ok(code) => code,
        Err(error) => {
            print::warn(sentence(&error));
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// Formats an error without the stack trace that candle adds to its own.
fn sentence(error: &Report) -> String {
    match error.downcast_ref() {
        Some(engine) if device::is_out_of_memory(engine) => {
            "out of memory on the device: end other programs that use it, or lower train.batch_size"
                .into()
        }
        Some(engine) => weights::sentence(engine),
        None => error.to_string(),
    }
}

/// Parses the command line; `None` if it is invalid and clap's message has been printed.
fn parse(args: impl Iterator<Item = OsString>) -> Option<Cli> {
    let args = args.map(cli::expand_home);
    let args: Vec<OsString> = std::iter::once("rsna-tui".into()).chain(args).collect();
    let error = match Cli::try_parse_from(&args) {
        Ok(cli) => return Some(cli),
        // --help and --version.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => error,
    };
    // clap quotes invalid arguments over several lines; clean them so that none starts a line of its own.
    let plain = args.iter().map(|arg| print::clean(&arg.to_string_lossy()));
    let plain = Cli::try_parse_from(plain).err().filter(clap::Error::use_stderr);
    print::lines_aside(&plain.unwrap_or(error).render().to_string());
    None
}

fn start(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Some(Command::Phantom(args)) => return Ok(print(&session::phantom(args)?)),
        Some(Command::Augment(args)) => return Ok(print(&session::augment(args)?)),
        Some(Command::Check(args)) => {
            return Ok(print(&CommandOutput::of_text(&session::check(args)?)));
        }
        Some(Command::Bench(args)) => {
            return Ok(print(&CommandOutput::of_text(&session::bench(args)?)));
        }
        Some(Command::Selftest(args)) => return Ok(judged(&session::selftest(args)?)),
        Some(Command::Keys) => return Ok(print(&CommandOutput::of_text(&session::keys_table()?))),
        Some(Command::Runs(args)) => {
            return Ok(print(&CommandOutput::of_text(&session::runs(args)?)));
        }
        Some(Command::Report(args)) => return Ok(print(&session::report(args)?)),
        Some(Command::Evaluate(args)) => return Ok(print(&session::evaluate(args)?)),
        Some(Command::Predict(args)) => {
            return Ok(judged(&session::predict(args)?));
        }
        Some(Command::Import(args)) => return Ok(print(&session::import(args)?)),
        Some(Command::Export(args)) => return Ok(print(&session::export(args)?)),
        Some(Command::Completions(args)) => return Ok(print(&session::completions(args)?)),
        Some(Command::Man(args)) => return Ok(print(&session::man(args)?)),
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
                session::train(session::resume(args)?, front_end(args.no_tui, &args.background))
            });
        }
        None => {}
    }
    let args = &cli.train;
    let config = session::config(args)?;
    if args.print_model {
        return Ok(print(&CommandOutput::of_text(&session::model_table(&config)?)));
    }
    in_background(&args.background, || {
        session::train(session::prepare(args, config)?, front_end(args.no_tui, &args.background))
    })
}

/// Trains in a background process if requested, otherwise in this one.
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

fn front_end(no_tui: bool, background: &Background) -> FrontEnd {
    match (background.detached, no_tui) {
        (true, _) => FrontEnd::Background,
        (false, true) => FrontEnd::Lines,
        (false, false) => FrontEnd::Dashboard,
    }
}

/// Like [`print()`], for a command that can finish and still report a problem.
fn judged((output, well): &(CommandOutput, bool)) -> ExitCode {
    let printed = print(output);
    if *well { printed } else { ExitCode::from(FAILED) }
}

/// Prints a command's output. It is no failure if the reader closes the pipe early.
fn print(output: &CommandOutput) -> ExitCode {
    match print::command_output(output) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            print::warn(format_args!("cannot write to stdout: {e}"));
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}
