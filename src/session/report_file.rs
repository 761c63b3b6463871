//! `rsna-tui report`: a run as one file, or its figures.

use super::attach::runs_dir;
use crate::{
    cli::{self, Format},
    report::{Report, csv, html, markdown},
    run::{folder::Folder, status},
};
use eyre::{Result, bail, eyre};
use std::{
    fs::{self, File},
    io::{BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
};

/// Writes the report and says where.
pub fn report(args: &cli::Report) -> Result<String> {
    let folder = run_folder(args.run.as_deref(), args.runs_dir.as_ref())?;
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
    let mut file = Unfinished::create(&path)?;
    file.out.write_all(text.as_bytes()).map_err(|e| cannot_write(&path, &e))?;
    file.finish()?;
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
    let (mut steps_file, mut epochs_file) =
        (Unfinished::create(&steps)?, Unfinished::create(&epochs)?);
    let counted = csv::write(&folder.journal(), &mut steps_file.out, &mut epochs_file.out)?;
    steps_file.finish()?;
    epochs_file.finish()?;
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

/// The run that is named, or whose folder is given.
pub(super) fn run_folder(run: Option<&str>, dir: Option<&PathBuf>) -> Result<Folder> {
    let path = run.map(Path::new);
    let path =
        path.filter(|p| p.components().count() > 1 || p.is_absolute() || *p == Path::new("."));
    let Some(path) = path else {
        return Ok(Folder::look(&runs_dir(dir)?, run)?);
    };
    let whole = fs::canonicalize(path).map_err(|e| {
        eyre!("{}: {e}; give a run's name, or its folder as a path", path.display())
    })?;
    let (dir, name) = (whole.parent(), whole.file_name().and_then(|name| name.to_str()));
    let (Some(dir), Some(name)) = (dir, name) else {
        bail!("{} is no run's folder", path.display());
    };
    Ok(Folder::look(dir, Some(name))?)
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

/// A file that takes its place once it is whole, or not at all.
struct Unfinished {
    out: BufWriter<File>,
    path: PathBuf,
    temporary: PathBuf,
}

impl Unfinished {
    fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| eyre!("--out {}: no file", path.display()))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(hidden);
        // One that is there, or a link to elsewhere, is not written through.
        let _ = fs::remove_file(&temporary);
        let file = File::create_new(&temporary).map_err(|e| match e.kind() {
            ErrorKind::NotFound => eyre!("{}: its folder does not exist", path.display()),
            _ => cannot_write(path, &e),
        })?;
        Ok(Self { out: BufWriter::new(file), path: path.into(), temporary })
    }

    fn finish(mut self) -> Result<()> {
        let written = self.out.flush().and_then(|()| fs::rename(&self.temporary, &self.path));
        written.map_err(|e| cannot_write(&self.path, &e))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once it has taken its place there is nothing left to remove.
        let _ = fs::remove_file(&self.temporary);
    }
}
