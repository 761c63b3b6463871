//! A run's folder and the paths of its files.

use super::claim::{Claim, Guard, Newest};
pub use super::unfinished::{append_line, write_atomically, write_keeping};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

mod lock;

use lock::lock;
pub(crate) use lock::try_lock;

/// A run folder that cannot be used; its message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is not a valid run name.
    #[error(
        "--run {0:?}: expected a name without slashes, at most 100 characters, not starting with a dot, not \"latest\""
    )]
    Name(String),
    /// A run of that name exists.
    #[error("{} already holds a run; give another --run NAME or remove the folder", .0.display())]
    Taken(PathBuf),
    /// There is no run of that name, or no run at all.
    #[error("{} holds no run: expected a folder with the config.toml of one; see `rsna-tui runs`, or begin with `rsna-tui --demo`", .0.display())]
    NotThere(PathBuf),
    /// Another process trains the run.
    #[error("{} is in use by another rsna-tui{}", path.display(), .pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// PID of the other process, if it wrote one.
        pid: Option<String>,
    },
    /// The folder cannot be made or written.
    #[error("cannot write the run folder {}: {source}; choose another with --runs-dir", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// `runs/NAME/`, or the folder of one of its folds, `runs/NAME/folds/0/`.
///
/// A run of one process keeps the files of all folds in the run's folder. A shared run, whose folds are
/// trained by several processes, has a folder for each fold, with its own journal, state and checkpoints.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The run's name; of a fold's folder, `NAME/folds/0`.
    pub name: String,
    path: PathBuf,
    /// Of a fold's folder: the run's.
    run: Option<PathBuf>,
    /// What keeps other processes from training here; `None` if the folder is only read.
    hold: Option<Hold>,
}

/// What keeps other processes from training in a folder.
#[derive(Debug, Clone)]
enum Hold {
    /// A lock; the system releases it however the process ends.
    Lock { _file: Arc<File> },
    /// A claim of a fold.
    Claim(Arc<Claim>),
}

impl Folder {
    /// Creates `dir/name`, which must not exist or be empty, with its `logs`.
    pub fn create(dir: &Path, name: &str) -> Result<Self, Error> {
        if !is_name(name) || name == LATEST {
            return Err(Error::Name(name.into()));
        }
        let path = dir.join(name);
        let failed = |source| Error::Io { path: path.clone(), source };
        match fs::read_dir(&path).map(|mut entries| entries.next().is_some()) {
            Ok(true) => return Err(Error::Taken(path)),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        fs::create_dir_all(&path).map_err(failed)?;
        // If two runs start at once, only one creates this folder.
        match fs::create_dir(path.join("logs")) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Taken(path)),
            made => made.map_err(failed)?,
        }
        let hold = Some(Hold::Lock { _file: lock(&path, true)? });
        point_latest(dir, OsStr::new(name));
        Ok(Self { name: name.into(), path, run: None, hold })
    }

    /// Locks the run for training by this process. Removes files that a crashed process left half
    /// written.
    ///
    /// Errors: when another process trains it.
    pub fn lock(mut self) -> Result<Self, Error> {
        self.hold = Some(Hold::Lock { _file: lock(&self.path, true)? });
        self.remove_temporary();
        point_latest(self.dir(), self.path.file_name().unwrap_or_default());
        Ok(self)
    }

    /// Like [`Self::lock`], for a fold's folder that this process has claimed.
    ///
    /// Errors: when it cannot be written.
    pub fn claimed(mut self, claim: Claim) -> Result<Self, Error> {
        // `check` takes it as the sign that this is the fold's folder.
        make_dir(self.path.join("logs"))?;
        self.hold = Some(Hold::Claim(Arc::new(claim)));
        self.remove_temporary();
        Ok(self)
    }

    /// Removes files that a crashed process left half written.
    fn remove_temporary(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "tmp") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Opens the run `name` in `dir`, or without a name the newest run, for reading.
    pub fn open(dir: &Path, name: Option<&str>) -> Result<Self, Error> {
        let path = match name {
            Some(name) if is_name(name) => dir.join(name),
            Some(name) => return Err(Error::Name(name.into())),
            None => latest(dir).ok_or_else(|| Error::NotThere(dir.into()))?,
        };
        // Resolve `latest` to the run's own name.
        let path = match fs::read_link(&path) {
            Ok(to) if path.ends_with(LATEST) => dir.join(to.file_name().unwrap_or_default()),
            _ => path,
        };
        Self::at(path)
    }

    /// Opens the run in the folder `path`, for reading.
    pub fn at(path: PathBuf) -> Result<Self, Error> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        // Reading it later reports an unreadable file.
        let Some(name) = name.filter(|_| has_config(&path)) else {
            return Err(Error::NotThere(path));
        };
        let run = path.parent().filter(|folds| folds.ends_with(FOLDS)).and_then(Path::parent);
        let run = run.filter(|run| has_config(run)).map(Path::to_path_buf);
        let of_run = run.as_ref().and_then(|run| run.file_name());
        let name = match of_run {
            Some(run) => format!("{}/{FOLDS}/{name}", run.to_string_lossy()),
            None => name,
        };
        Ok(Self { name, path, run, hold: None })
    }

    /// Whether the run is shared: its folds have folders of their own.
    pub fn is_shared(&self) -> bool {
        self.run.is_none() && self.path.join(FOLDS).is_dir()
    }

    /// Makes this run a shared one, unless it is.
    pub fn make_shared(&self) -> Result<(), Error> {
        make_dir(self.path.join(FOLDS))
    }

    /// The folder that holds the files of `fold`: of a shared run the fold's own, else this one.
    pub fn of_fold(&self, fold: usize) -> Self {
        if !self.is_shared() {
            return self.clone();
        }
        let path = self.path.join(FOLDS).join(fold.to_string());
        let name = format!("{}/{FOLDS}/{fold}", self.name);
        Self { name, path, run: Some(self.path.clone()), hold: None }
    }

    /// Makes the folder of a shared run's fold, unless it is there, and returns it.
    pub fn make_fold(&self, fold: usize) -> Result<Self, Error> {
        let of_fold = self.of_fold(fold);
        make_dir(of_fold.path.clone())?;
        Ok(of_fold)
    }

    /// Returns every run in `dir`, the newest first.
    pub fn all(dir: &Path) -> io::Result<Vec<Self>> {
        let mut runs: Vec<_> = runs(dir)?.collect();
        runs.sort_by(|a, b| b.cmp(a));
        // Skip dot files. Show a name that is not UTF-8, perhaps given by another program, with
        // replacement characters.
        let named = runs.into_iter().filter_map(|(_, path)| Self::at(path).ok());
        Ok(named.filter(|folder| is_name(&folder.name)).collect())
    }

    /// Whether a process trains it now.
    pub fn is_in_use(&self) -> bool {
        if self.hold.is_some() {
            return true;
        }
        if self.run.is_some() {
            return Newest::read(&self.path).ok().flatten().is_some_and(|newest| newest.is_held());
        }
        if self.is_shared() {
            return self.fold_folders().iter().any(Self::is_in_use);
        }
        matches!(lock(&self.path, false), Err(Error::InUse { .. }))
    }

    /// The folders of a shared run's folds that exist, by number; empty for other runs.
    pub fn fold_folders(&self) -> Vec<Self> {
        if self.run.is_some() {
            return Vec::new();
        }
        let entries = fs::read_dir(self.path.join(FOLDS)).into_iter().flatten().flatten();
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<usize>().ok();
        let mut folds: Vec<usize> = entries.filter_map(number).collect();
        folds.sort_unstable();
        folds.dedup();
        folds.into_iter().map(|fold| self.of_fold(fold)).collect()
    }

    /// Whether this process may still write, if it trains a fold of a shared run.
    pub fn guard(&self) -> Option<Guard> {
        match &self.hold {
            Some(Hold::Claim(claim)) => Some(claim.guard()),
            _ => None,
        }
    }

    /// Like [`Self::create`], but appends a number to a name that is taken.
    pub fn create_new(dir: &Path, name: &str) -> Result<Self, Error> {
        let (mut made, mut n) = (Self::create(dir, name), 1);
        while let Err(Error::Taken(_)) = made {
            n += 1;
            made = Self::create(dir, &format!("{name}-{n}"));
        }
        made
    }

    /// Errors: when the folder at the path, or another in its place, is no longer this run's, or another
    /// process has taken the fold over. Users may rename or delete it during the run.
    pub fn check(&self) -> io::Result<()> {
        // Only `create` and `claimed` make this subfolder.
        fs::metadata(self.path.join("logs")).map(drop)?;
        self.guard().map_or(Ok(()), |guard| guard.check())
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's folder; of a fold's folder, that of its run.
    pub fn run(&self) -> &Path {
        self.run.as_deref().unwrap_or(&self.path)
    }

    /// The runs folder that it lies in.
    pub fn dir(&self) -> &Path {
        self.run().parent().unwrap_or(Path::new("."))
    }

    /// Path of the resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Path of the list of the run's studies.
    pub fn studies(&self) -> PathBuf {
        self.run().join("studies.csv")
    }

    /// Path of a shared run's plan and the order of its folds.
    pub fn queue(&self) -> PathBuf {
        self.run().join("queue.json")
    }

    /// Path of the job arrays by which a shared run was submitted to Slurm.
    pub fn jobs(&self) -> PathBuf {
        self.run().join("slurm").join("jobs.json")
    }

    /// Path of the requests that other hosts leave for the process that trains the fold.
    pub fn requests(&self) -> PathBuf {
        self.path.join("requests")
    }

    /// Path of the journal.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// Path of the training process's control socket.
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Path of a background run's output.
    pub fn output(&self) -> PathBuf {
        self.path.join("output.log")
    }

    /// Path of the run's state.
    pub fn state(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// Path of the notebook's log; `retrain_seed`: the seed of a fold that is trained again.
    pub fn log(&self, kernel_type: &str, retrain_seed: Option<u64>) -> PathBuf {
        self.path.join("logs").join(format!("{kernel_type}{}.txt", seed_suffix(retrain_seed)))
    }

    /// Path of the fold's best weights.
    pub fn best(&self, fold: usize, retrain_seed: Option<u64>) -> PathBuf {
        let name = format!("fold{fold}{}_best.safetensors", seed_suffix(retrain_seed));
        self.of_fold(fold).path.join(name)
    }

    /// Path of the fold's `last` checkpoint, `older` generations back.
    pub fn last(&self, fold: usize, retrain_seed: Option<u64>, older: usize) -> PathBuf {
        let older = if older == 0 { String::new() } else { format!("-{older}") };
        let name = format!("fold{fold}{}_last{older}.safetensors", seed_suffix(retrain_seed));
        self.of_fold(fold).path.join(name)
    }

    /// Path of a fold's TensorBoard folder.
    pub fn tensorboard(&self, fold: usize, retrain_seed: Option<u64>) -> PathBuf {
        let name = format!("fold{fold}{}", seed_suffix(retrain_seed));
        self.of_fold(fold).path.join("tensorboard").join(name)
    }

    /// Path of the final report.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.txt")
    }

    /// Writes the resolved configuration.
    pub fn write_config(&self, toml: &str) -> Result<(), Error> {
        let path = self.config();
        write_atomically(&path, toml.as_bytes()).map_err(|source| Error::Io { path, source })
    }
}

fn make_dir(path: PathBuf) -> Result<(), Error> {
    fs::create_dir_all(&path).map_err(|source| Error::Io { path, source })
}

/// Name of the link to the newest run.
const LATEST: &str = "latest";
/// Name of the folder of the folds' folders.
const FOLDS: &str = "folds";

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && !name.chars().any(|c| matches!(c, '/' | '\\') || c.is_control())
}

/// Whether the folder has an entry named config.toml.
fn has_config(path: &Path) -> bool {
    path.join("config.toml").symlink_metadata().is_ok()
}

/// The part of a file's name for a fold that is trained again.
fn seed_suffix(retrain_seed: Option<u64>) -> String {
    retrain_seed.map(|seed| format!("_seed{seed}")).unwrap_or_default()
}

/// Returns the target of `latest`, or else the folder in `dir` whose config.toml is the newest.
fn latest(dir: &Path) -> Option<PathBuf> {
    let link = dir.join(LATEST);
    match has_config(&link) {
        true => Some(link),
        false => runs(dir).ok()?.max().map(|(_, path)| path),
    }
}

/// Returns the runs in `dir` with the modification times of their configs.
fn runs(dir: &Path) -> io::Result<impl Iterator<Item = (std::time::SystemTime, PathBuf)>> {
    Ok(fs::read_dir(dir)?.filter_map(|entry| {
        let entry = entry.ok()?;
        let path = entry.path();
        let config = path.join("config.toml");
        let config = fs::metadata(&config).or_else(|_| fs::symlink_metadata(&config)).ok()?;
        let begun = config.modified().ok()?;
        (!path.ends_with(LATEST)).then_some((begun, path))
    }))
}

/// Points `latest` to the run, on file systems with links.
fn point_latest(dir: &Path, name: &OsStr) {
    #[cfg(unix)]
    {
        let temporary = dir.join(format!(".{LATEST}-{}", std::process::id()));
        let made = std::os::unix::fs::symlink(name, &temporary)
            .and_then(|()| fs::rename(&temporary, dir.join(LATEST)));
        if made.is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }
    #[cfg(not(unix))]
    let _ = (dir, name);
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
        let names = fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.filter(|name| name.to_string_lossy().contains("tmp")).count(), 0);
    }
}
