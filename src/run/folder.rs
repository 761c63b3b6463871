//! A run's folder: where everything lies.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A run folder that cannot be used; one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is no file name.
    #[error(
        "--run {0:?}: expected a name without slashes, at most 100 characters, not starting with a dot"
    )]
    Name(String),
    /// A run of that name is there.
    #[error("{} already holds a run; give another --run NAME or remove the folder", .0.display())]
    Taken(PathBuf),
    /// There is none of that name, or none at all.
    #[error("{} holds no run: expected a folder with the config.toml of one", .0.display())]
    NotThere(PathBuf),
    /// It is being trained.
    #[error("{} is in use by another rsna-tui{}", path.display(), .pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Of the other one, where it said.
        pid: Option<String>,
    },
    /// It cannot be made or written.
    #[error("cannot write the run folder {}: {source}; choose another with --runs-dir", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// `runs/NAME/`
#[derive(Debug, Clone)]
pub struct Folder {
    /// The run's name.
    pub name: String,
    path: PathBuf,
    /// Held as long as this lives: a lock of the system's, which ends with the process however it
    /// ends.
    _lock: Arc<File>,
}

impl Folder {
    /// Makes `dir/name`, which must not exist or be empty, with its `logs`.
    pub fn create(dir: &Path, name: &str) -> Result<Self, Error> {
        let bad = name.is_empty()
            || name.len() > 100
            || name.starts_with('.')
            || name.chars().any(|c| matches!(c, '/' | '\\') || c.is_control());
        if bad {
            return Err(Error::Name(name.into()));
        }
        let path = dir.join(name);
        let failed = |source| Error::Io { path: path.clone(), source };
        match fs::read_dir(&path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(Error::Taken(path));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
        fs::create_dir_all(&path).map_err(failed)?;
        // Of two runs that start at once, one makes this folder.
        match fs::create_dir(path.join("logs")) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Taken(path)),
            made => made.map_err(failed)?,
        }
        let lock = lock(&path)?;
        Ok(Self { name: name.into(), path, _lock: lock })
    }

    /// The run `name` in `dir`, or without a name the one that was begun last.
    pub fn open(dir: &Path, name: Option<&str>) -> Result<Self, Error> {
        let path = match name {
            Some(name) => dir.join(name),
            None => newest(dir).ok_or_else(|| Error::NotThere(dir.into()))?,
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name.filter(|_| path.join("config.toml").is_file()) else {
            return Err(Error::NotThere(path));
        };
        let lock = lock(&path)?;
        Ok(Self { name, path, _lock: lock })
    }

    /// As [`Self::create`], with a number behind the name where it is taken.
    pub fn create_new(dir: &Path, name: &str) -> Result<Self, Error> {
        let mut tried = name.to_string();
        for n in 2.. {
            match Self::create(dir, &tried) {
                Err(Error::Taken(_)) => tried = format!("{name}-{n}"),
                made => return made,
            }
        }
        unreachable!("there are more numbers than folders")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// The notebook's log.
    pub fn log(&self, kernel_type: &str) -> PathBuf {
        self.path.join("logs").join(format!("{kernel_type}.txt"))
    }

    /// The fold's best weights.
    pub fn best(&self, fold: usize) -> PathBuf {
        self.path.join(format!("fold{fold}_best.safetensors"))
    }

    /// The fold's newest weights with the optimizer's state.
    pub fn last(&self, fold: usize) -> PathBuf {
        self.path.join(format!("fold{fold}_last.safetensors"))
    }

    /// How the run ended.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.txt")
    }

    /// Writes the resolved configuration.
    pub fn write_config(&self, toml: &str) -> Result<(), Error> {
        let path = self.config();
        write_atomically(&path, toml.as_bytes()).map_err(|source| Error::Io { path, source })
    }
}

/// The folder in `dir` whose config.toml is the newest.
fn newest(dir: &Path) -> Option<PathBuf> {
    let runs = fs::read_dir(dir).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let begun = fs::metadata(path.join("config.toml")).ok()?.modified().ok()?;
        Some((begun, path))
    });
    runs.max().map(|(_, path)| path)
}

/// Takes the run for this process alone.
fn lock(path: &Path) -> Result<Arc<File>, Error> {
    let file = path.join("lock");
    let failed = |source| Error::Io { path: file.clone(), source };
    let mut options = File::options();
    let mut lock =
        options.create(true).read(true).write(true).truncate(false).open(&file).map_err(failed)?;
    #[cfg(unix)]
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = fs::read_to_string(&file).ok().map(|pid| pid.trim().to_string());
            let pid = pid.filter(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()));
            return Err(Error::InUse { path: path.into(), pid });
        }
        // A file system without locks: as before there were any.
        Err(_) => {}
    }
    let written = lock
        .set_len(0)
        .and_then(|()| lock.write_all(format!("{}\n", std::process::id()).as_bytes()));
    written.map_err(failed)?;
    Ok(Arc::new(lock))
}

/// Writes a file so that it is there whole or not at all: a temporary one beside it, fsync,
/// rename, fsync of the folder.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // The file is whole and in its place; not every file system can sync a folder.
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        let _ = File::open(dir).and_then(|dir| dir.sync_all());
    }
    Ok(())
}

/// Appends a line. Errors: the file cannot be opened or written.
pub fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let run = Folder::create(dir.path(), "a").unwrap();
        run.write_config("seed = 0\n").unwrap();
        let again = Folder::create(dir.path(), "a").unwrap_err().to_string();
        assert!(again.contains("already holds a run"), "{again}");
        assert!(Folder::create(dir.path(), "../b").is_err());
        assert!(Folder::create(dir.path(), "").is_err());
        assert!(!run.path().join("config.toml.tmp").exists());
    }
}
