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
    if error.downcast_ref().is_some_and(device::is_out_of_memory) {
        return "out of memory on the device: end other programs that use it, or lower train.batch_size"
            .into();
    }
    weights::report(error)
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
    let text = |text: String| Ok(print(&CommandOutput::of_text(&text)));
    let Some(command) = &cli.command else {
        let args = &cli.train;
        let config = session::config(args)?;
        if args.print_model {
            return text(session::model_table(&config)?);
        }
        return train(&args.background, |front_end| session::train(args, config, front_end));
    };
    match command {
        Command::Phantom(args) => Ok(print(&session::phantom(args)?)),
        Command::Augment(args) => Ok(print(&session::augment(args)?)),
        Command::Check(args) => text(session::check(args)?),
        Command::Bench(args) => text(session::bench(args)?),
        Command::Selftest(args) => Ok(judged(&session::selftest(args)?)),
        Command::Keys => text(session::keys_table()?),
        Command::Runs(args) => text(session::runs(args)?),
        Command::Report(args) => Ok(print(&session::report(args)?)),
        Command::Evaluate(args) => Ok(print(&session::evaluate(args)?)),
        Command::Predict(args) => Ok(judged(&session::predict(args)?)),
        Command::Import(args) => Ok(print(&session::import(args)?)),
        Command::Export(args) => Ok(print(&session::export(args)?)),
        Command::Completions(args) => Ok(print(&session::completions(args)?)),
        Command::Man(args) => Ok(print(&session::man(args)?)),
        Command::Attach(args) => session::attach(args),
        Command::Pause(args) => session::steer_fold(args, run::Command::Pause),
        Command::Unpause(args) => session::steer_fold(args, run::Command::Resume),
        Command::Checkpoint(args) => session::steer_fold(args, run::Command::Checkpoint),
        Command::Plan(args) => session::plan(args),
        Command::Fold(args) => session::fold(args),
        Command::Stop(args) => match args.after_epoch {
            true => session::steer_fold(&args.which, run::Command::StopAfterEpoch),
            false => session::steer_fold(&args.which, run::Command::StopNow),
        },
        Command::Create(args) => Ok(print(&session::create(args)?)),
        Command::Work(args) => session::work(args),
        Command::Submit(args) => Ok(print(&session::submit(args)?)),
        Command::Cancel(args) => Ok(print(&session::cancel(args)?)),
        Command::Resume(args) => {
            train(&args.background, |front_end| session::resume(args, front_end))
        }
    }
}

/// Trains in a background process if requested, otherwise in this one.
fn train(
    background: &Background,
    start: impl FnOnce(FrontEnd) -> Result<ExitCode>,
) -> Result<ExitCode> {
    if background.detach {
        return session::detach(std::env::args_os().skip(1));
    }
    if background.detached {
        session::leave_session();
    }
    let front_end = match (background.detached, background.no_tui) {
        (true, _) => FrontEnd::Background,
        (false, true) => FrontEnd::Lines,
        (false, false) => FrontEnd::Dashboard,
    };
    start(front_end)
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
