//! `rsna-tui report`: a run as one file, or its figures.

use super::attach::named_run;
use crate::{
    cli::{self, Format},
    report::{Report, csv, html, markdown},
    run::{folder::Folder, status, unfinished::Unfinished},
};
use eyre::{Result, bail, eyre};
use std::{
    fs,
    io::{ErrorKind, Write},
    path::Path,
};

/// Writes the report and says where.
pub fn report(args: &cli::Report) -> Result<String> {
    let folder = named_run(args.run.as_deref(), args.runs_dir.as_ref())?;
    if args.format == Format::Csv {
        return figures(args, &folder);
    }
    let report = Report::of(&folder, status::now())?;
    let (name, text) = match args.format {
        Format::Markdown => ("report.md", markdown::text(&report)),
        _ => ("report.html", html::page(&report)),
    };
    let path = args.out.clone().unwrap_or_else(|| folder.path().join(name));
    check(args, &path)?;
    let mut file = begin(&path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.finish());
    written.map_err(|e| cannot_write(&path, &e))?;
    Ok(format!("wrote {} ({})", path.display(), size(text.len())))
}

/// `steps.csv` and `epochs.csv` into a folder, the run's own unless another one is given.
fn figures(args: &cli::Report, folder: &Folder) -> Result<String> {
    let dir = args.out.as_deref().unwrap_or(folder.path());
    let [steps, epochs] = ["steps.csv", "epochs.csv"].map(|name| dir.join(name));
    check(args, &steps)?;
    check(args, &epochs)?;
    fs::create_dir_all(dir)
        .map_err(|e| eyre!("cannot make the folder {}: {e}; give another --out", dir.display()))?;
    let (mut steps_file, mut epochs_file) = (begin(&steps)?, begin(&epochs)?);
    let counted = csv::write(&folder.journal(), &mut steps_file, &mut epochs_file)?;
    for (file, path) in [(steps_file, &steps), (epochs_file, &epochs)] {
        file.finish().map_err(|e| cannot_write(path, &e))?;
    }
    let damaged = match counted.damaged {
        0 => String::new(),
        n => format!("; {n} lines of the journal cannot be understood"),
    };
    Ok(format!(
        "wrote {} ({} steps) and {} ({} epochs){damaged}",
        steps.display(),
        counted.steps,
        epochs.display(),
        counted.epochs
    ))
}

/// What is written into the run's own folder may be written anew; elsewhere a file that is there is
/// somebody's.
fn check(args: &cli::Report, path: &Path) -> Result<()> {
    check_place(path, args.out.is_some(), args.force)
}

/// As [`check`]; `chosen`: with --out.
pub(super) fn check_place(path: &Path, chosen: bool, force: bool) -> Result<()> {
    let Ok(there) = path.symlink_metadata() else { return Ok(()) };
    if there.is_dir() {
        bail!("{} is a folder; give a file with --out", path.display());
    }
    if chosen && !force {
        bail!("{} is already there; give another --out, or --force", path.display());
    }
    Ok(())
}

fn begin(path: &Path) -> Result<Unfinished> {
    Unfinished::create(path).map_err(|e| match e.kind() {
        ErrorKind::InvalidFilename => eyre!("--out {}: no file", path.display()),
        ErrorKind::NotFound => eyre!("{}: its folder does not exist", path.display()),
        _ => cannot_write(path, &e),
    })
}

pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> eyre::Report {
    eyre!("cannot write {}: {error}; give another --out", path.display())
}

/// `1.2 MB`
pub(super) fn size(bytes: usize) -> String {
    match bytes as f64 / 1e6 {
        mb if mb < 0.1 => format!("{:.0} kB", 1e3 * mb),
        mb => format!("{mb:.1} MB"),
    }
}
