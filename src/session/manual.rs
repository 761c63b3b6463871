//! `rsna-tui completions` and `rsna-tui man`: shell completions and manual pages, generated from the
//! definition of the command line.

use super::out::{Destination, check_folder, make_folder};
use crate::{
    cli::{self, Cli},
    print::CommandOutput,
};
use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use eyre::Result;
use std::path::Path;

const NAME: &str = "rsna-tui";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the completion script for a shell.
pub fn completions(args: &cli::Completions) -> Result<CommandOutput> {
    let mut script = Vec::new();
    let mut command = visible(&Cli::command()).version(VERSION);
    clap_complete::generate(args.shell, &mut command, NAME, &mut script);
    to_stdout(&script)
}

/// Prints the program's manual page, or writes it and one per command into a folder.
///
/// Errors: when the folder cannot be written, or a page already exists and --force is not given.
pub fn man(args: &cli::Man) -> Result<CommandOutput> {
    let mut program = Cli::command().disable_help_subcommand(true);
    // This sets the commands' full names.
    program.build();
    let Some(dir) = &args.out else { return to_stdout(&page(program)?.1) };
    check_folder(dir, "a page for each command")?;
    let mut pages = Vec::new();
    for command in program.get_subcommands().chain([&program]) {
        let (name, text) = page(command.clone())?;
        pages.push((Destination::of(&dir.join(name), true, args.force)?, text));
    }
    make_folder(dir)?;
    for (place, text) in &pages {
        place.write(text)?;
    }
    Ok(format!("wrote {} manual pages to {}", pages.len(), dir.display()).into())
}

/// Returns the file name and text of a command's page.
fn page(command: Command) -> Result<(String, Vec<u8>)> {
    let examples = command.get_after_help().map(ToString::to_string);
    let man = Man::new(command.after_help(None::<&str>)).source(format!("{NAME} {VERSION}"));
    let mut text = Vec::new();
    man.render(&mut text)?;
    if let Some(examples) = examples {
        // clap_mangen would join the lines.
        let section = Roff::new()
            .control("SH", ["EXAMPLES"])
            .control("nf", [])
            .text([roman(examples.trim_start_matches("Examples:\n"))])
            .control("fi", [])
            .to_roff();
        text.extend(section.into_bytes());
    }
    Ok((man.get_filename(), text))
}

/// Copies the command without hidden flags, which clap_complete would offer.
fn visible(command: &Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    // clap requires static names; leaking is fine because this runs once.
    Command::new(&*command.get_name().to_owned().leak())
        .about(about)
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().map(visible))
}

fn to_stdout(text: &[u8]) -> Result<CommandOutput> {
    let stdout = Destination::of(Path::new("-"), true, false)?;
    stdout.write(text)?;
    Ok(stdout.output(Vec::new()))
}
