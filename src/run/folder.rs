//! A run's folder: where everything lies.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
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
        Ok(Self { name: name.into(), path })
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
