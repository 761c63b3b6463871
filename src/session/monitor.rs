//! Reports the state of the machine every few seconds during training.

use crate::{
    run::{Event, channel::EventSender, event::System, folder::Folder},
    train::cgroup,
};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use std::{path::Path, thread::JoinHandle, time::Duration};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate};

/// Time between reports.
const EVERY: Duration = Duration::from_secs(5);

/// Reports until dropped.
pub(super) struct Monitor {
    /// Dropping this stops the thread.
    going_on: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Starts it. If no thread can be started, there are no reports.
    pub(super) fn start(folder: &Folder, events: &EventSender) -> Self {
        let (going_on, end) = bounded::<()>(0);
        let (folder, events) = (folder.path().to_path_buf(), events.clone());
        let tell = move || {
            // Usage is measured since the previous report.
            let mut machine = Machine::new();
            while end.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                events.send(Event::System(machine.sample(&folder)));
            }
        };
        let thread = std::thread::Builder::new().name("monitor".into()).spawn(tell).ok();
        Self { going_on: Some(going_on), thread }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.going_on = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Machine {
    system: sysinfo::System,
    process: Option<Pid>,
}

impl Machine {
    fn new() -> Self {
        let process = sysinfo::get_current_pid().ok();
        let mut machine = Self { system: sysinfo::System::new(), process };
        machine.refresh();
        machine
    }

    fn refresh(&mut self) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        // Skip the threads, of which there may be hundreds.
        let what = ProcessRefreshKind::nothing().without_tasks().with_cpu().with_memory();
        let this = ProcessesToUpdate::Some(self.process.as_slice());
        self.system.refresh_processes_specifics(this, false, what);
    }

    fn sample(&mut self, folder: &Path) -> System {
        self.refresh();
        let process = self.process.and_then(|pid| self.system.process(pid));
        let (memory_used, memory_total) = self.memory();
        let (disk_free, disk_total) = disk(folder).unzip();
        let load = sysinfo::System::load_average().one;
        System {
            cpu: f64::from(self.system.global_cpu_usage()).clamp(0.0, 100.0),
            process_cpu: process.map_or(0.0, |p| f64::from(p.cpu_usage())).max(0.0),
            resident: process.map_or(0, sysinfo::Process::memory),
            memory_used,
            memory_total,
            disk_free,
            disk_total,
            load: Some(load).filter(|_| cfg!(unix)),
        }
    }

    /// Returns used and total memory in bytes: of a container or a batch job if its limit is below the
    /// machine's memory.
    fn memory(&self) -> (u64, u64) {
        let total = self.system.total_memory();
        match cgroup::tightest() {
            Some(group) if group.limit < total => (group.used, group.limit),
            _ => (self.system.used_memory(), total),
        }
    }
}

/// Returns the bytes that this user can still write to a file system, and its size.
#[cfg(unix)]
fn disk(folder: &Path) -> Option<(u64, u64)> {
    let stats = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stats.f_frsize);
    Some((bytes(stats.f_bavail), bytes(stats.f_blocks)))
}

#[cfg(not(unix))]
fn disk(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_busy_process_is_seen_at_little_cost() {
        let work = |millis| {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(millis) {
                std::hint::black_box(begun);
            }
        };
        // The first report has no CPU share before any work is done.
        work(100);
        let mut machine = Machine::new();
        work(400);
        let system = machine.sample(&std::env::temp_dir());
        // Take the minimum of several: other processes may use the CPU.
        let cost = |_| {
            let looked = Instant::now();
            machine.sample(&std::env::temp_dir());
            looked.elapsed()
        };
        let cost = (0..20).map(cost).min().unwrap();
        println!("{system:?} in {cost:?}");
        assert!(system.process_cpu > 1.0 && system.cpu > 0.0, "{system:?}");
        assert!(system.resident > 1 << 20 && system.memory_used > system.resident / 2);
        assert!(system.memory_used <= system.memory_total);
        #[cfg(unix)]
        assert!(system.disk_free <= system.disk_total && system.disk_free.is_some());
        // A thousandth of one core's time between reports.
        assert!(cost < EVERY / 200, "{cost:?}");
    }
}
