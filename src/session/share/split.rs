//! Makes a run of one process a shared one: gives each fold's files a folder of their own.

use crate::{
    bounded,
    config::Config,
    run::{
        event::{Event, RunStarted, Stamped},
        folder::{Folder, write_atomically},
        journal::{self, Journal},
        shared::Plan,
        status::{RunState, Status},
    },
    train::fold::MOST_KEPT,
};
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Maximum size of the notebook's log in bytes.
const LONGEST_LOG: u64 = 256 << 20;

/// Splits the run in `folder`, which this process has locked. The folds' folders are completed beside their
/// place and moved there at once, so that a crash leaves the run as it was, or split.
pub(super) fn split(folder: &Folder, config: &Config, plan: Plan) -> io::Result<()> {
    let status = match Status::read(&folder.state()) {
        Ok(status) => Some(status),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let plan = ordered(plan, status.as_ref());
    let unfinished = folder.path().join(".folds.tmp");
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir(&unfinished)?;
    let mut moved = Vec::new();
    for fold in plan.folds() {
        let dir = unfinished.join(fold.to_string());
        fs::create_dir_all(dir.join("logs"))?;
        if let Some(status) = &status {
            state(status, fold, &dir.join("state.json"))?;
            let seed = status.folds.iter().find(|f| f.fold == fold).map(|f| f.seed);
            let retrained = seed.filter(|&seed| seed != config.seed);
            moved.extend(files(folder, fold, retrained, &dir)?);
        }
        fs::copy(folder.config(), dir.join("config.toml"))?;
        log(folder, config, fold, &dir)?;
    }
    journals(folder, &plan, &unfinished)?;
    plan.write(folder)?;
    fs::rename(&unfinished, folder.path().join("folds"))?;
    for path in moved.into_iter().chain([folder.journal(), folder.state(), folder.socket()]) {
        let _ = fs::remove_file(path);
    }
    let _ = fs::remove_dir_all(folder.path().join("tensorboard"));
    let _ = fs::remove_dir_all(folder.path().join("previews"));
    Ok(())
}

/// The plan in the order of the run's queue.
fn ordered(plan: Plan, status: Option<&Status>) -> Plan {
    let order = status.map(|status| status.folds.iter().map(|fold| fold.fold).collect());
    Plan { order: order.unwrap_or(plan.order.clone()), ..plan }
}

/// Writes the state of one fold.
fn state(status: &Status, fold: usize, path: &Path) -> io::Result<()> {
    use crate::run::event::FoldState as S;
    let mut folds: Vec<_> =
        status.folds.iter().filter(|entry| entry.fold == fold).cloned().collect();
    let Some(entry) = folds.first_mut() else { return Ok(()) };
    if entry.state == S::Failed {
        // As when one process goes on with the run.
        entry.state = S::Waiting;
    }
    let state = match entry.state {
        S::Waiting | S::Paused | S::Failed => RunState::Waiting,
        S::Done | S::Skipped => RunState::Completed,
        S::Training | S::Validating | S::Stopped => match status.state {
            RunState::Requeued => RunState::Requeued,
            _ => RunState::Stopped,
        },
    };
    Status { state, reason: None, folds, ..status.clone() }.write(path)
}

/// Links a fold's files into `dir`; returns those that were linked.
fn files(
    folder: &Folder,
    fold: usize,
    retrained: Option<u64>,
    dir: &Path,
) -> io::Result<Vec<PathBuf>> {
    let prefix = format!("fold{fold}_");
    let mut linked = Vec::new();
    let of_fold = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str())?;
        let wanted = name.starts_with(&prefix) && !name.ends_with(".tmp");
        wanted.then(|| path.to_path_buf())
    };
    for entry in fs::read_dir(folder.path())?.flatten() {
        if let Some(path) = of_fold(&entry.path()) {
            link(&path, &dir.join(entry.file_name()))?;
            linked.push(path);
        }
    }
    for path in (0..=MOST_KEPT).map(|older| folder.last(fold, retrained, older)) {
        debug_assert!(!path.exists() || linked.contains(&path), "{}", path.display());
    }
    let previews = folder.path().join("previews");
    for entry in fs::read_dir(&previews).into_iter().flatten().flatten() {
        if let Some(path) = of_fold(&entry.path()) {
            fs::create_dir_all(dir.join("previews"))?;
            link(&path, &dir.join("previews").join(entry.file_name()))?;
        }
    }
    let curves = folder.path().join("tensorboard");
    for entry in fs::read_dir(&curves).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == format!("fold{fold}") || name.starts_with(&prefix) {
            let to = dir.join("tensorboard").join(&*name);
            fs::create_dir_all(&to)?;
            for file in fs::read_dir(entry.path())?.flatten() {
                link(&file.path(), &to.join(file.file_name()))?;
            }
        }
    }
    Ok(linked)
}

/// Links or copies a file.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    bounded::plain_file(from)?;
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

/// Writes the lines of a fold in the notebook's logs.
fn log(folder: &Folder, config: &Config, fold: usize, dir: &Path) -> io::Result<()> {
    let path = folder.log(&config.run.kernel_type, None);
    let logs = path.parent().unwrap_or(Path::new("."));
    let mark = format!("Fold {fold}, Epoch ");
    for entry in fs::read_dir(logs).into_iter().flatten().flatten() {
        let Ok(text) = bounded::read_text(&entry.path(), LONGEST_LOG) else { continue };
        let lines = text.lines().filter(|line| line.contains(&mark));
        let kept: String = lines.flat_map(|line| [line, "\n"]).collect();
        if !kept.is_empty() {
            write_atomically(&dir.join("logs").join(entry.file_name()), kept.as_bytes())?;
        }
    }
    Ok(())
}

/// Writes each fold's part of the run's journal. What belongs to no fold goes to the one in training.
fn journals(folder: &Folder, plan: &Plan, dir: &Path) -> io::Result<()> {
    if !folder.journal().exists() {
        return Ok(());
    }
    let folds = plan.folds();
    let open = |fold: &usize| Journal::open(&dir.join(fold.to_string()).join("journal.jsonl"));
    let mut journals: Vec<Journal> =
        folds.iter().map(open).collect::<Result<_, _>>().map_err(io::Error::other)?;
    let mut current = 0;
    let take = |stamped: &Stamped, time: f64| -> Result<(), journal::Error> {
        let failed = |source| journal::Error::Io { path: folder.journal(), source };
        match &stamped.event {
            Event::RunStarted(run) => {
                for (fold, journal) in folds.iter().zip(&mut journals) {
                    let plans = run.folds.iter().filter(|plan| plan.fold == *fold);
                    let run = RunStarted { folds: plans.cloned().collect(), ..run.clone() };
                    if !run.folds.is_empty() {
                        let event = Event::RunStarted(run);
                        journal
                            .append_at(&Stamped::new(stamped.at, event), time)
                            .map_err(failed)?;
                    }
                }
                return Ok(());
            }
            // A fold's worker tells its own.
            Event::Queue(_) | Event::RunFinished(_) => return Ok(()),
            _ => {}
        }
        if let Some(fold) = stamped.event.fold() {
            current = folds.iter().position(|f| *f == fold).unwrap_or(current);
        }
        match journals.get_mut(current) {
            Some(journal) => journal.append_at(stamped, time).map_err(failed),
            None => Ok(()),
        }
    };
    journal::for_each(&folder.journal(), None, take).map(drop).map_err(io::Error::other)
}
