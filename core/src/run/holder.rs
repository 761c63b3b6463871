//! A process that holds a claim, and whether it still lives.

use super::slurm::{self, Task};
use crate::bounded;
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Most bytes read of a file of /proc.
const LONGEST: u64 = 16 << 10;

/// A process on some host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Host name.
    pub host: String,
    /// The kernel's boot id; empty where there is none.
    pub boot: String,
    /// Inode of the PID namespace, 0 where there is none: PIDs of other containers mean nothing here.
    pub pids: u64,
    /// Process id.
    pub pid: u32,
    /// Start of the process in clock ticks since the boot, so that a reused PID is recognised.
    pub started: u64,
    /// The job and array task that it runs in.
    #[serde(default)]
    pub job: Option<Task>,
    /// Device that it computes on, as on the command line: `cuda:1`.
    #[serde(default)]
    pub device: String,
}

/// What is known of a holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It lives.
    Alive,
    /// It has ended; why that is certain.
    Gone(String),
    /// It is on another host, and no batch system can be asked.
    Unknown,
}

impl Holder {
    /// This process, computing on `device`.
    pub fn here(device: &str) -> Self {
        let pid = std::process::id();
        Self {
            host: host(),
            boot: boot(),
            pids: namespace(),
            pid,
            started: started(pid).unwrap_or(0),
            job: Task::here(),
            device: device.into(),
        }
    }

    /// Whether it lives, as far as can be seen from this process.
    pub fn life(&self) -> Life {
        self.life_seen_by(&Self::here(""))
    }

    /// Whether it lives, as far as `other`, a process of this host, can see.
    pub fn life_seen_by(&self, other: &Self) -> Life {
        // Without /proc only that the PID is in use can be seen.
        #[cfg(unix)]
        if self.host == other.host && self.boot.is_empty() && other.boot.is_empty() {
            let pid = rustix::process::Pid::from_raw(self.pid as i32);
            return match pid.map(rustix::process::test_kill_process) {
                Some(Err(rustix::io::Errno::SRCH)) | None => {
                    Life::Gone("its process has ended".into())
                }
                Some(_) => Life::Alive,
            };
        }
        if self.host == other.host && !self.boot.is_empty() && self.pids == other.pids {
            if self.boot != other.boot {
                return Life::Gone("its host was started anew".into());
            }
            return match started(self.pid) {
                Some(started) if started == self.started => Life::Alive,
                _ => Life::Gone("its process has ended".into()),
            };
        }
        match (&self.job, &other.job) {
            // The task that this process runs in was started again.
            (Some(theirs), Some(ours))
                if theirs.id == ours.id && theirs.restarts < ours.restarts =>
            {
                Life::Gone("its job was started again".into())
            }
            (Some(task), _) => match slurm::ask(task) {
                Some(Some(row)) if row.runs(task) => Life::Alive,
                Some(_) => Life::Gone("its job has ended".into()),
                None => Life::Unknown,
            },
            _ => Life::Unknown,
        }
    }

    /// A name for its temporary files, unique among all processes.
    pub fn tag(&self) -> String {
        let host: String =
            self.host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(60).collect();
        format!("{host}-{}-{}-{:?}", self.pid, self.started, std::thread::current().id())
            .replace(['(', ')'], "")
    }

    /// Whether it runs on the host of this process.
    pub fn is_local(&self) -> bool {
        self.host == host() && self.pids == namespace()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, crate::print::clean(&self.host))?;
        if let Some(job) = &self.job {
            write!(f, ", Slurm job {job}")?;
        }
        Ok(())
    }
}

/// This host's name.
pub fn host() -> String {
    #[cfg(unix)]
    {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        // Nodes of a cluster that run on one machine, as in tests, have names of their own.
        match std::env::var("SLURMD_NODENAME") {
            Ok(node) if !node.is_empty() && short(&node) != short(&name) => node,
            _ => name,
        }
    }
    #[cfg(not(unix))]
    {
        std::env::var("COMPUTERNAME").unwrap_or_default()
    }
}

/// A host's name without its domain.
#[cfg(unix)]
fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

fn boot() -> String {
    let id = bounded::read_text(Path::new("/proc/sys/kernel/random/boot_id"), LONGEST);
    let id = id.unwrap_or_default();
    id.trim().into()
}

fn namespace() -> u64 {
    #[cfg(unix)]
    return fs::metadata("/proc/self/ns/pid")
        .map_or(0, |found| std::os::unix::fs::MetadataExt::ino(&found));
    #[cfg(not(unix))]
    0
}

/// Start of a living process in clock ticks since the boot; `None` if there is no such process.
fn started(pid: u32) -> Option<u64> {
    let stat = bounded::read(&PathBuf::from(format!("/proc/{pid}/stat")), LONGEST).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name, in parentheses, may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    // A zombie writes nothing any more.
    fields.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    fields.nth(18)?.parse().ok()
}
