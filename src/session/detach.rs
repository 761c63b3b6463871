//! `--detach`: trains in a background process that survives its terminal.

use crate::{bounded, print, run::folder::Folder};
use eyre::{Result, bail, eyre};
use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
};

/// Flag that replaces `--detach` for the background process.
pub const FLAG: &str = "--detached";
/// Message of the background process that it trains.
const READY: &str = "ready";

/// Starts this program again with the same arguments, in the background, and returns once it trains. If
/// it fails before that, it prints the reason itself.
///
/// Errors: when it cannot be started.
pub fn detach(args: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    if !cfg!(unix) {
        bail!("--detach: expected a Unix system; leave the terminal open");
    }
    let program = std::env::current_exe().map_err(|e| eyre!("--detach: this program: {e}"))?;
    let args = args.map(|arg| if arg == "--detach" { FLAG.into() } else { arg });
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| eyre!("--detach: cannot start the process: {e}"))?;
    let said = child.stdout.take().ok_or_else(|| eyre!("--detach: no pipe"))?;
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        let Some(run) = line.strip_prefix(READY) else {
            print::line(line);
            continue;
        };
        let (run, pid) = (run.trim(), child.id());
        print::line(format_args!("training {run} in the background, process {pid}"));
        print::line(format_args!("watch it:  rsna-tui attach {run}"));
        print::line(format_args!("stop it:   rsna-tui stop {run}"));
        return Ok(ExitCode::SUCCESS);
    }
    let ended = child.wait().map_err(|e| eyre!("--detach: {e}"))?;
    Ok(ExitCode::from(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Leaves the terminal's session, so that the background process gets no signal when the terminal
/// closes.
pub fn leave_session() {
    #[cfg(unix)]
    let _ = rustix::process::setsid();
}

/// Tells the parent process that this one trains. Redirects later output to the run's folder.
pub(super) fn ready(folder: &Folder) -> Result<()> {
    let output = folder.output();
    let failed = |e: std::io::Error| eyre!("cannot write {}: {e}", output.display());
    let file =
        bounded::open_with(&output, File::options().create(true).append(true)).map_err(failed)?;
    print::line(format_args!("{READY} {}", folder.name));
    #[cfg(unix)]
    {
        rustix::stdio::dup2_stdout(&file).map_err(|e| failed(e.into()))?;
        rustix::stdio::dup2_stderr(&file).map_err(|e| failed(e.into()))?;
    }
    Ok(())
}
