//! Destinations of a command's output: the path given by --out, or one in a run's folder.

use crate::{bounded, print, run::unfinished::Unfinished};
use eyre::{Result, bail, eyre};
use std::{
    fs::{self, File, FileType},
    io::{self, ErrorKind, IsTerminal, Write},
    path::{Path, PathBuf},
};

/// Path that stands for stdout.
const STDOUT: &str = "-";
/// Most links followed in a row, as by the system.
const MOST_LINKS: usize = 40;

/// Destination of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// `-`, or a path to the same file as stdout.
    Stdout,
    /// A pipe or a character device, which is written to in place.
    Stream(PathBuf),
    /// A file that is replaced once the new one is complete.
    File(PathBuf),
}

impl Destination {
    /// Returns the destination for `path`. `chosen`: from --out, so follows links, and overwrites an
    /// existing file only with `force`. Otherwise it is the program's own file in a run's folder, always
    /// overwritten; a link there is replaced, because the folder may come from elsewhere.
    ///
    /// Errors: when a folder, a socket or a block device is there, or a file without `force`.
    pub(super) fn of(path: &Path, chosen: bool, force: bool) -> Result<Self> {
        if chosen && (path == Path::new(STDOUT) || is_stdout(path)) {
            return Ok(Self::Stdout);
        }
        let there = if chosen { path.metadata() } else { path.symlink_metadata() };
        match there.map(|there| there.file_type()) {
            Ok(kind) if kind.is_dir() => {
                bail!("{} is a folder; give a file with --out", path.display())
            }
            _ if !chosen => return Ok(Self::File(path.into())),
            Ok(kind) if is_stream(kind) => return Ok(Self::Stream(path.into())),
            Ok(kind) if !kind.is_file() => {
                bail!("--out {}: {}", path.display(), bounded::irregular(kind))
            }
            _ if path.symlink_metadata().is_ok() && !force => {
                bail!("{} is already there; give another --out, or --force", path.display())
            }
            _ => {}
        }
        Ok(Self::File(target(path).map_err(|e| cannot_write(path, &e))?))
    }

    /// Rejects a file in a missing folder, before anything is computed.
    pub(super) fn refuse_missing_folder(self) -> Result<Self> {
        if let Self::File(path) = &self {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| matches!(folder.try_exists(), Ok(false))) {
                bail!("{}: its folder does not exist; make it, or give another", path.display())
            }
        }
        Ok(self)
    }

    /// Whether it is stdout, so that nothing else may be printed there.
    pub(super) fn is_stdout(&self) -> bool {
        *self == Self::Stdout
    }

    /// Whether it is a file, so that others can be written beside it.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Rejects a terminal, for output that is not text.
    pub(super) fn refuse_terminal(self) -> Result<Self> {
        let terminal = match &self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stream(path) => open(path).is_ok_and(|file| file.is_terminal()),
            Self::File(_) => false,
        };
        match terminal {
            true => bail!("--out: this is no text for a terminal; send it to a file or a pipe"),
            false => Ok(self),
        }
    }

    /// Opens it for writing.
    ///
    /// Errors: when its folder does not exist, or it cannot be written.
    pub(super) fn create(&self) -> Result<Out> {
        match self {
            Self::Stdout => Ok(Out::Stdout),
            Self::Stream(path) => match open(path) {
                // For a pipe without a reader, the system reports: no such device or address.
                Err(e) if e.raw_os_error() == Some(NO_READER) => {
                    let path = path.display();
                    bail!("--out {path}: nobody reads this pipe; start the reader first")
                }
                file => Ok(Out::Stream(file.map_err(|e| cannot_write(path, &e))?)),
            },
            Self::File(path) => {
                let file = Unfinished::create(path).map_err(|e| match e.kind() {
                    ErrorKind::InvalidFilename => eyre!("--out {}: no file", path.display()),
                    ErrorKind::NotFound => eyre!("{}: its folder does not exist", path.display()),
                    _ => cannot_write(path, &e),
                });
                Ok(Out::File(file?))
            }
        }
    }

    /// Writes complete contents there.
    ///
    /// Errors: as for [`Self::create`].
    pub(super) fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut out = self.create()?;
        let written = out.write_all(bytes).map_err(|e| self.cannot_write(&e));
        written.and_then(|()| self.finish(out))
    }

    /// Removes a file left by an earlier command.
    pub(super) fn remove(&self) -> Result<()> {
        let Self::File(path) = self else { return Ok(()) };
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(self.cannot_write(&e)),
            _ => Ok(()),
        }
    }

    /// Completes the output of [`Self::create`]: moves a file into place.
    pub(super) fn finish(&self, out: Out) -> Result<()> {
        let finished = match out {
            Out::File(file) => file.finish(),
            mut other => other.flush(),
        };
        finished.map_err(|e| self.cannot_write(&e))
    }

    /// Formats a write error.
    pub(super) fn cannot_write(&self, error: &io::Error) -> eyre::Report {
        match self {
            Self::Stdout => eyre!("cannot write to stdout: {error}"),
            Self::Stream(path) | Self::File(path) => cannot_write(path, error),
        }
    }

    /// Returns a command's output after writing there; it goes to stderr if the destination is stdout.
    pub(super) fn output(&self, lines: Vec<String>) -> print::CommandOutput {
        print::CommandOutput { lines, aside: self.is_stdout() }
    }
}

/// Formats its name for messages.
impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stream(path) | Self::File(path) => path.display().fmt(f),
        }
    }
}

/// An output being written.
pub(super) enum Out {
    Stdout,
    Stream(File),
    File(Unfinished),
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout => passing(print::Data.write(bytes), bytes.len()),
            Self::Stream(file) => passing(file.write(bytes), bytes.len()),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout => passing(print::Data.flush(), ()),
            Self::Stream(file) => file.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

/// Ignores the error of a reader that closed the pipe early.
fn passing<T>(written: io::Result<T>, all: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(all),
        written => written,
    }
}

/// Checks the folder given by --out for several files.
///
/// Errors: when it is stdout, or not a folder.
pub(super) fn check_folder(dir: &Path, what: &str) -> Result<()> {
    if dir == Path::new(STDOUT) {
        bail!("--out -: {what} is several files; give a folder");
    }
    if dir.exists() && !dir.is_dir() {
        bail!("--out {} is no folder; give a new or an existing folder", dir.display());
    }
    Ok(())
}

/// Creates the output folder.
pub(super) fn make_folder(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)
        .map_err(|e| eyre!("cannot make the folder {}: {e}; give another --out", dir.display()))
}

pub(super) fn cannot_write(path: &Path, error: &io::Error) -> eyre::Report {
    eyre!("cannot write {}: {error}; give another --out", path.display())
}

/// Formats a size as `1.2 MB`.
pub(super) fn size(bytes: usize) -> String {
    match bytes as f64 / 1e6 {
        mb if mb < 0.1 => format!("{:.0} kB", 1e3 * mb),
        mb => format!("{mb:.1} MB"),
    }
}

/// Follows the links of a path; the final file need not exist.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(to) = fs::read_link(&path) else { return Ok(path) };
        path = path.parent().unwrap_or(Path::new("")).join(to);
    }
    Err(io::Error::other("its links lead in a circle"))
}

#[cfg(unix)]
const NO_READER: i32 = rustix::io::Errno::NXIO.raw_os_error();
#[cfg(not(unix))]
const NO_READER: i32 = i32::MIN;

/// Opens a pipe or a device for writing, without waiting for a reader.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true);
    #[cfg(unix)]
    {
        use rustix::fs::{OFlags, fcntl_setfl};
        use std::os::unix::fs::OpenOptionsExt;
        let file =
            options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32).open(path)?;
        // From here on, wait for a slow reader.
        fcntl_setfl(&file, OFlags::empty())?;
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

fn is_stream(kind: FileType) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        kind.is_fifo() || kind.is_char_device()
    }
    #[cfg(not(unix))]
    {
        let _ = kind;
        false
    }
}

/// Whether a path leads to the same file as stdout: `/dev/stdout`, or the file it is redirected to.
fn is_stdout(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::{fd::AsFd, unix::fs::MetadataExt};
        let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let both = stdout.and_then(|stdout| Ok((stdout.metadata()?, path.metadata()?)));
        both.is_ok_and(|(stdout, there)| same(stdout, there))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}
