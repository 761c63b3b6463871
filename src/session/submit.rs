//! `rsna-tui submit` and `rsna-tui cancel`: a run's folds as a job array of Slurm's.

mod script;

use super::{named_run::named_run, share};
use crate::{
    bounded, cli,
    config::Config,
    print::{self, CommandOutput},
    run::{
        claim::{Newest, Timing},
        event::FoldState,
        folder::{self, Folder},
        holder::Life,
        jobs::Jobs,
        shared::{self, Plan},
        slurm::{self, Row},
        status::FoldStatus,
    },
};
use eyre::{Result, bail, eyre};
use script::Script;
use std::{
    env,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

/// Longest wait for `sbatch` and `scancel`, which try again by themselves while Slurm's controller is away.
const PATIENCE: Duration = Duration::from_secs(180);
/// Maximum number of submissions of a run.
const MOST: usize = 100_000;
/// Variables that would win over what every job script has, or mislead its tasks.
const OVERRIDES: [&str; 8] = [
    "SBATCH_ARRAY_INX",
    "SBATCH_JOB_NAME",
    "SBATCH_NO_REQUEUE",
    "SBATCH_OPEN_MODE",
    "SBATCH_OUTPUT",
    "SBATCH_REQUEUE",
    "SBATCH_SIGNAL",
    // A job submitted by a job has none of its own, and would be taken for one that was started again.
    "SLURM_RESTART_COUNT",
];

/// Runs `rsna-tui submit`.
pub fn submit(args: &cli::Submit) -> Result<CommandOutput> {
    check_time(args)?;
    if !args.dry_run {
        slurm::run(Command::new("sbatch").arg("--version")).map_err(no_slurm)?;
    }
    let config =
        args.new.is_given().then(|| super::config(&args.new.train(&args.named))).transpose()?;
    let folder = match config {
        Some(config) => match new(args, config)? {
            New::Made(folder) => folder,
            New::Planned(text) => return Ok(text),
        },
        None => existing(args)?,
    };
    let (folds, left_out) = missing(&folder, args)?;
    let name = &folder.name;
    if folds.is_empty() {
        let mut lines = vec![format!("{name}: nothing is missing, nothing is submitted")];
        lines.extend(left_out);
        return Ok(lines.into());
    }
    let path = std::path::absolute(folder.path())?;
    let text = script(args, name, &path, &folds)?;
    if args.dry_run {
        left_out.iter().for_each(print::note);
        return Ok(CommandOutput::of_text(&text));
    }
    for &fold in &folds {
        folder.make_fold(fold)?;
    }
    let file = write(&folder, &path, &text)
        .map_err(|e| eyre!("cannot write a job script into {}: {e}", path.display()))?;
    let job = sbatch(&file, args).map_err(|why| {
        // It counts submissions.
        let _ = fs::remove_file(&file);
        let again = match args.new.is_given() {
            true => format!("; {name} is made: submit it again without settings of a new run"),
            false => String::new(),
        };
        eyre!("{name} is not submitted: {why}{again}")
    })?;
    let recorded = Jobs::add(&folder, job, folds.clone());
    recorded.map_err(|e| {
        eyre!("{name} is submitted as job {job}, but that cannot be recorded: {e}; `scancel {job}`")
    })?;
    let most = args.at_most.map(|n| format!(", at most {n} at once")).unwrap_or_default();
    let mut lines = vec![format!("{name}: submitted {} as job {job}{most}", listed(&folds))];
    lines.extend(left_out);
    lines.extend([
        format!("job script: {}", file.display()),
        format!("watch it:   rsna-tui attach {name}"),
        format!("cancel it:  rsna-tui cancel {name}"),
    ]);
    Ok(lines.into())
}

/// Refuses a time limit that comes before its own warning.
fn check_time(args: &cli::Submit) -> Result<()> {
    let limit = args.time.as_deref().and_then(|limit| Some((limit, script::seconds(limit)?)));
    match limit.filter(|(_, seconds)| (1..=u64::from(args.signal_seconds)).contains(seconds)) {
        Some((limit, seconds)) => bail!(
            "--time {limit}: {seconds} s; expected more than --signal-seconds, {}: a task would have to \
             save as soon as it starts",
            args.signal_seconds
        ),
        None => Ok(()),
    }
}

fn no_slurm(why: String) -> eyre::Report {
    eyre!("{why}; submit where Slurm's commands are, or see the job script by --dry-run")
}

/// A run that was not there.
enum New {
    Made(Folder),
    /// Nothing is made by --dry-run: the script that would be.
    Planned(CommandOutput),
}

fn new(args: &cli::Submit, config: Config) -> Result<New> {
    let train = args.new.train(&args.named);
    if let Some(name) = &train.run
        && Folder::open(&config.run.dir, Some(name)).is_ok()
    {
        bail!(
            "{} is there already, with its settings: submit it without --config, --demo, --folds, --seed, \
             --set and --debug",
            config.run.dir.join(name).display()
        );
    }
    if !args.dry_run {
        super::use_threads(&config)?;
        return Ok(New::Made(share::new(&train, config)?));
    }
    let name = train.run.unwrap_or_else(|| super::default_name(args.new.demo));
    let path = std::path::absolute(config.run.dir.join(&name))?;
    let text = script(args, &name, &path, &config.train.folds)?;
    Ok(New::Planned(CommandOutput::of_text(&text)))
}

/// Opens a run that is there; a run of one process is made a shared one, but not by --dry-run.
fn existing(args: &cli::Submit) -> Result<Folder> {
    let opened = match args.dry_run {
        true => whole(&args.named),
        false => share::open(&args.named),
    };
    opened.map_err(|error| match error.downcast_ref() {
        Some(folder::Error::NotThere(path)) if args.named.run.is_some() => eyre!(
            "{} holds no run: see `rsna-tui runs`, or make it by giving --config, --demo or --set too",
            path.display()
        ),
        _ => error,
    })
}

/// Opens a run, not one of its folds.
fn whole(named: &cli::NamedRun) -> Result<Folder> {
    let folder = named_run(named)?;
    match folder.run() == folder.path() {
        true => Ok(folder),
        false => bail!("{} is a fold of a run: name the run", folder.path().display()),
    }
}

/// The folds to submit, and lines that say why others are left out.
fn missing(folder: &Folder, args: &cli::Submit) -> Result<(Vec<usize>, Vec<String>)> {
    let status = match shared::status(folder) {
        Ok(status) => status,
        // A run of one process that has saved nothing yet.
        Err(error) if error.kind() == ErrorKind::NotFound && !folder.is_shared() => {
            let config = Config::load(Some(&folder.config()), false, &[])?;
            return Ok((config.train.folds, Vec::new()));
        }
        Err(error) => bail!("{error}"),
    };
    let epochs = match folder.is_shared() {
        true => Plan::read(folder)?.plan.epochs,
        false => status.epochs,
    };
    let rows = match queued(folder) {
        Ok(rows) => rows,
        Err(why) if args.dry_run => {
            print::warn(format_args!("folds in Slurm's queue are not left out: {why}"));
            Vec::new()
        }
        Err(why) => {
            bail!("which folds of {} are in Slurm's queue is not known: {why}", folder.name)
        }
    };
    let mut folds = Vec::new();
    let mut left_out: Vec<(String, Vec<usize>)> = Vec::new();
    for entry in &status.folds {
        match why_not(folder, entry, epochs, &rows)? {
            None => folds.push(entry.fold),
            Some(why) => match left_out.iter_mut().find(|(other, _)| *other == why) {
                Some((_, folds)) => folds.push(entry.fold),
                None => left_out.push((why, vec![entry.fold])),
            },
        }
    }
    let line = |(why, folds): &(String, Vec<usize>)| format!("left out: {}: {why}", listed(folds));
    Ok((folds, left_out.iter().map(line).collect()))
}

/// The run's tasks in Slurm's queue that are not over. Errors: when Slurm cannot be asked, in words.
fn queued(folder: &Folder) -> Result<Vec<Row>> {
    let jobs = Jobs::read(folder).map_err(|e| eyre!("{e}"))?;
    let Some(mut rows) = slurm::queue(&jobs.ids()) else {
        let why = slurm::run(Command::new("squeue").args(["--noheader", "--me"])).err();
        bail!("{}; try again", why.as_deref().map_or("squeue gave no answer", without_name))
    };
    rows.retain(|row| !row.is_over());
    Ok(rows)
}

/// A message of Slurm's commands without `sbatch: error: ` before it.
fn without_name(said: &str) -> &str {
    let rest =
        said.split_once(": ").filter(|(name, _)| ["sbatch", "scancel", "squeue"].contains(name));
    let rest = rest.map_or(said, |(_, rest)| rest);
    rest.strip_prefix("error: ").unwrap_or(rest)
}

/// Whether a task is that of the fold.
fn is_of(row: &Row, fold: usize) -> bool {
    row.array_task.and_then(|task| usize::try_from(task).ok()) == Some(fold)
}

/// Why a fold is not to be submitted; `None` if it is.
fn why_not(
    folder: &Folder,
    entry: &FoldStatus,
    epochs: usize,
    rows: &[Row],
) -> Result<Option<String>> {
    match entry.state {
        FoldState::Done if entry.epoch >= epochs => return Ok(Some("done".into())),
        FoldState::Skipped => return Ok(Some("skipped (rsna-tui fold restore)".into())),
        FoldState::Paused => return Ok(Some("paused (rsna-tui fold start)".into())),
        _ => {}
    }
    if let Some(row) = rows.iter().find(|row| is_of(row, entry.fold)) {
        return Ok(Some(in_words(row)));
    }
    let dir = folder.of_fold(entry.fold);
    let newest = Newest::read(dir.path())
        .map_err(|e| eyre!("cannot read the claims of {}: {e}", dir.path().display()))?;
    Ok(newest.and_then(|newest| held(&newest)))
}

/// Who holds a fold, in words; `None` if the worker that is submitted may take it, now or after a wait.
fn held(newest: &Newest) -> Option<String> {
    let record = newest.unreleased()?;
    let by = &record.holder;
    match by.life() {
        Life::Alive => Some(format!("trained by {by}")),
        Life::Gone(_) => None,
        Life::Unknown => {
            // By this host's clock, which may be wrong: the worker finds out for certain.
            let silent = SystemTime::now().duration_since(newest.touched?).unwrap_or_default();
            let lives = silent < Timing::default().quiet;
            lives.then(|| format!("trained by {by}, heard of {} s ago", silent.as_secs()))
        }
    }
}

/// A task in words: `pending in Slurm's queue, job 7 (Priority)`.
fn in_words(row: &Row) -> String {
    let state = print::clean(&row.state.to_lowercase());
    let about = match row.state == "PENDING" {
        true => &row.reason,
        false => &row.nodes,
    };
    let about = match about.is_empty() {
        true => String::new(),
        false => format!(" ({})", bounded::excerpt(about, 80)),
    };
    format!("{state} in Slurm's queue, job {}{about}", row.array_job)
}

/// `fold 0` or `folds 0, 2`.
fn listed(folds: &[usize]) -> String {
    let numbers: Vec<String> = folds.iter().map(usize::to_string).collect();
    format!("fold{} {}", if folds.len() == 1 { "" } else { "s" }, numbers.join(", "))
}

fn script(args: &cli::Submit, name: &str, run: &Path, folds: &[usize]) -> Result<String> {
    let program = env::current_exe().map_err(|e| eyre!("this program: {e}"))?;
    let dir = env::current_dir().map_err(|e| eyre!("the folder at hand: {e}"))?;
    Script { name, run, program: &program, dir: &dir, folds, args }.text()
}

/// Writes the job script as the next of the run, and returns its path.
fn write(folder: &Folder, path: &Path, text: &str) -> io::Result<PathBuf> {
    let dir = path.join("slurm");
    fs::create_dir_all(&dir)?;
    for n in 1..=MOST {
        let file = dir.join(format!("{}-{n}.sbatch", folder.name));
        match File::create_new(&file) {
            Ok(mut open) => {
                open.write_all(text.as_bytes())?;
                return Ok(file);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("it has {MOST} of them")))
}

/// Submits a job script and returns the job's id. Errors: in words.
fn sbatch(file: &Path, args: &cli::Submit) -> Result<u64, String> {
    let mut command = Command::new("sbatch");
    command.arg("--parsable").arg(file);
    let given = [
        ("SBATCH_CPUS_PER_TASK", args.cpus.is_some()),
        ("SBATCH_GRES", args.gres.is_some()),
        ("SBATCH_MEM_PER_NODE", args.mem.is_some()),
        ("SBATCH_PARTITION", args.partition.is_some()),
        ("SBATCH_TIMELIMIT", args.time.is_some()),
    ];
    let given = given.into_iter().filter_map(|(name, given)| given.then_some(name));
    for name in OVERRIDES.into_iter().chain(given) {
        command.env_remove(name);
    }
    let said = slurm::run_within(PATIENCE, &mut command).map_err(|why| {
        let why = without_name(&why);
        match why.contains("array") {
            true => format!("{why}{}", largest_array()),
            false => why.into(),
        }
    })?;
    // With several clusters: `7;cluster`.
    let id = said.lines().last().and_then(|line| line.split(';').next()?.trim().parse().ok());
    id.ok_or_else(|| {
        format!("sbatch said {:?} instead of a job's number", bounded::excerpt(&said, 80))
    })
}

/// What the cluster's limit of arrays means for folds.
fn largest_array() -> String {
    let config = slurm::run(Command::new("scontrol").args(["show", "config"])).unwrap_or_default();
    let size = config.lines().find_map(|line| line.strip_prefix("MaxArraySize")?.split('=').nth(1));
    match size.and_then(|size| size.trim().parse::<u64>().ok()) {
        Some(size @ 1..) => format!("; this cluster takes fold numbers up to {}", size - 1),
        _ => String::new(),
    }
}

/// Runs `rsna-tui cancel`.
pub fn cancel(args: &cli::Cancel) -> Result<CommandOutput> {
    let folder = whole(&args.named)?;
    let name = &folder.name;
    if let (Some(fold), true) = (args.fold, folder.is_shared()) {
        let folds = Plan::read(&folder)?.folds();
        if !folds.contains(&fold) {
            bail!("--fold {fold}: {name} has the {}", listed(&folds));
        }
    }
    let tasks = || -> Result<Vec<Row>> {
        let mut rows = queued(&folder)?;
        rows.retain(|row| args.fold.is_none_or(|fold| is_of(row, fold)));
        Ok(rows)
    };
    let rows = tasks()?;
    if rows.is_empty() {
        let fold = args.fold.map(|fold| format!("fold {fold} of ")).unwrap_or_default();
        return Ok(format!("nothing of {fold}{name} is pending or running in Slurm's queue").into());
    }
    let id = |row: &Row| match row.array_task {
        Some(task) => format!("{}_{task}", row.array_job),
        None => row.job.to_string(),
    };
    let mut command = Command::new("scancel");
    command.args(rows.iter().map(id));
    if let Err(why) = slurm::run_within(PATIENCE, &mut command) {
        // One that ended meanwhile is no failure.
        let left = tasks()?;
        if left.iter().any(|row| matches!(&*row.state, "PENDING" | "RUNNING")) {
            bail!("{name} is not cancelled, or not all of it: {}", without_name(&why));
        }
    }
    let line = |row: &Row| {
        let fold = row.array_task.map(|task| format!("fold {task}: ")).unwrap_or_default();
        let end = match &*row.state {
            "PENDING" => "cancelled",
            _ => "being cancelled; it saves after the step at hand",
        };
        format!("{fold}{}: {end}", in_words(row))
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.push(format!("go on later: rsna-tui submit {name}"));
    Ok(lines.into())
}
