//! What Slurm knows of a run's jobs, asked by its own commands.

use serde::{Deserialize, Serialize};
use std::{
    env, fmt,
    io::{ErrorKind, Read},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for a command of Slurm's: its controller may be down, or busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most bytes read of a command's output.
const LONGEST: u64 = 16 << 20;
/// Separates the columns of `squeue`. Slurm allows it in no name.
const SEPARATOR: char = '|';
/// Columns of [`Row`], for `squeue --Format`.
const COLUMNS: [&str; 7] =
    ["JobID", "ArrayJobID", "ArrayTaskID", "State", "RestartCnt", "NodeList", "Reason"];

/// The job, or task of a job array, that a process runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The job's own id, also within an array.
    pub id: u64,
    /// Id of the array, and the task's number in it.
    #[serde(default)]
    pub array: Option<(u64, u32)>,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
}

impl Task {
    /// The task that this process runs in, from its environment.
    pub fn here() -> Option<Self> {
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let array = number("SLURM_ARRAY_JOB_ID").zip(number("SLURM_ARRAY_TASK_ID"));
        Some(Self {
            id: number("SLURM_JOB_ID")?,
            array: array.map(|(job, task)| (job, task as u32)),
            restarts: number("SLURM_RESTART_COUNT").unwrap_or(0) as u32,
        })
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.array {
            Some((job, task)) => write!(f, "{job}_{task}"),
            None => write!(f, "{}", self.id),
        }
    }
}

/// A task in Slurm's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The job's own id. A task that has not been started yet has its array's.
    pub job: u64,
    /// Id of its array; its own if it is in none.
    pub array_job: u64,
    /// Its number in the array.
    pub array_task: Option<u32>,
    /// `PENDING`, `RUNNING`, `COMPLETING` and so on.
    pub state: String,
    /// How often it was started again.
    pub restarts: u32,
    /// Its nodes.
    pub nodes: String,
    /// Why it is pending: `Priority`, `Resources`, `BeginTime`.
    pub reason: String,
}

impl Row {
    /// Whether processes of the task's start that `task` names may be alive.
    pub fn runs(&self, task: &Task) -> bool {
        match &*self.state {
            // Of this start, or of the one before while it is being ended.
            "COMPLETING" => true,
            "RUNNING" | "SUSPENDED" | "STOPPED" | "SIGNALING" | "STAGE_OUT" | "RESIZING" => {
                self.restarts <= task.restarts
            }
            _ => false,
        }
    }

    /// Whether it is over, and Slurm will not start it again by itself.
    pub fn is_over(&self) -> bool {
        matches!(
            &*self.state,
            "BOOT_FAIL"
                | "CANCELLED"
                | "COMPLETED"
                | "DEADLINE"
                | "FAILED"
                | "NODE_FAIL"
                | "OUT_OF_MEMORY"
                | "PREEMPTED"
                | "REVOKED"
                | "TIMEOUT"
        )
    }

    /// Whether it is this task, of any start.
    pub fn is(&self, task: &Task) -> bool {
        match task.array {
            Some((job, number)) => self.array_job == job && self.array_task == Some(number),
            None => self.job == task.id,
        }
    }

    /// Parses a line of `squeue`.
    fn of_line(line: &str) -> Option<Self> {
        let mut columns = line.splitn(COLUMNS.len(), SEPARATOR).map(str::trim);
        let mut next = || columns.next();
        Some(Self {
            job: next()?.parse().ok()?,
            array_job: next()?.parse().ok()?,
            array_task: next()?.parse().ok(),
            state: next()?.into(),
            restarts: next()?.parse().unwrap_or(0),
            nodes: next()?.into(),
            reason: next()?.trim_end_matches(SEPARATOR).trim().into(),
        })
    }
}

/// What Slurm knows of a task: `Some(None)` if it is not in the queue any more, `None` if Slurm cannot be
/// asked.
pub fn ask(task: &Task) -> Option<Option<Row>> {
    Some(queue(&[task.array.map_or(task.id, |(job, _)| job)])?.into_iter().find(|row| row.is(task)))
}

/// The tasks of `jobs` (ids of arrays or of single jobs) in Slurm's queue; `None` if Slurm cannot be asked.
pub fn queue(jobs: &[u64]) -> Option<Vec<Row>> {
    // Without a list of jobs, it would list those of all users.
    if jobs.is_empty() {
        return Some(Vec::new());
    }
    let list: Vec<String> = jobs.iter().map(u64::to_string).collect();
    let columns: Vec<String> = COLUMNS.iter().map(|name| format!("{name}:96{SEPARATOR}")).collect();
    let mut command = Command::new("squeue");
    command.args(["--noheader", "--array", "--states=all"]);
    command.arg(format!("--jobs={}", list.join(",")));
    command.arg(format!("--Format={}", columns.join(",")));
    match run(&mut command) {
        Ok(out) => Some(out.lines().filter_map(Row::of_line).collect()),
        // It forgets jobs some minutes after their end.
        Err(why) if why.contains("Invalid job id") => Some(Vec::new()),
        Err(_) => None,
    }
}

/// Runs a command of Slurm's and returns its output. Errors: when it is not there, fails or does not
/// answer; in words.
pub fn run(command: &mut Command) -> Result<String, String> {
    run_within(PATIENCE, command)
}

/// Like [`run()`], with another longest wait for the answer.
pub fn run_within(patience: Duration, command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound => format!("there is no {name} on this machine"),
        _ => format!("{name}: {e}"),
    })?;
    // Read on threads of their own, or a long output would block the command.
    let (out, errors) = (child.stdout.take(), child.stderr.take());
    let out = std::thread::spawn(move || text(out));
    let errors = std::thread::spawn(move || text(errors));
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name}: no answer in {} s", patience.as_secs()));
            }
            Err(error) => return Err(format!("{name}: {error}")),
        }
    };
    let (out, errors) = (out.join().unwrap_or_default(), errors.join().unwrap_or_default());
    match status.success() {
        true => Ok(out),
        false => {
            let said = errors.lines().chain(out.lines()).find(|line| !line.trim().is_empty());
            Err(crate::bounded::excerpt(said.unwrap_or(&format!("{name}: {status}")), 300))
        }
    }
}

fn text(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        let _ = from.take(LONGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
