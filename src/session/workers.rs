//! Starts a worker for each device of this machine, watches them, and shows the run: `--devices`.

use super::{
    devices::{self, WorkerDevice},
    live::{FAILED, FrontEnd, REQUEUE, STOPPED},
    plain, share,
    show::Shown,
    signals::Signals,
};
use crate::{
    bounded, cli,
    config::{Config, Precision},
    device, print,
    run::{
        claim::{Attempt, Claimer, Newest, Timing},
        event::{FoldState, Outcome},
        folder::Folder,
        holder::Holder,
        shared::{self, Plan},
    },
};
use eyre::{Result, bail, eyre};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

/// How often a fold's worker may die before the fold counts as failed.
const MOST_DEATHS: usize = 3;
/// Time between two looks at the workers.
const TICK: Duration = Duration::from_millis(100);
/// Time between two looks for folds to train.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Exit code of a worker for bad input.
const BAD_INPUT: i32 = 2;
/// Most bytes of a worker's output that are looked at for what it said last.
const LAST_WORDS: u64 = 2048;

/// Begins a run with several workers.
pub fn begin_with_workers(
    args: &cli::Train,
    mut config: Config,
    devices: &str,
    front_end: FrontEnd,
) -> Result<ExitCode> {
    let devices = devices::parse(devices)?;
    // The run records how many threads each worker has: equal results need equal threads.
    if let Some(threads) = devices::threads(&devices, config.train.threads) {
        config.train.threads = threads;
    }
    super::use_threads(&config)?;
    check(&devices, config.train.precision)?;
    let run = share::new(args, config)?;
    supervise(run, &devices, front_end)
}

/// Goes on with a run with a worker for each of `devices`. A run that one process began is made a shared one.
pub fn resume_with_workers(
    args: &cli::Resume,
    devices: &str,
    front_end: FrontEnd,
) -> Result<ExitCode> {
    let devices = devices::parse(devices)?;
    let run = share::open(&args.named)?;
    let before = Config::load(Some(&run.config()), false, &[])?;
    let sets = args.all_sets();
    let mut config = super::load(Some(&run.config()), false, &sets)?;
    config.run.dir = run.dir().to_owned();
    for change in config.changes(&before.to_toml())? {
        print::warn(format_args!("changed since: {change}"));
    }
    super::use_threads(&config)?;
    check(&devices, config.train.precision)?;
    if !sets.is_empty() {
        run.write_config(&config.to_toml())?;
        let mut plan = Plan::read(&run)?;
        plan.plan.epochs = config.train.epochs;
        plan.plan.learning_rates = crate::train::schedule::learning_rates(&config.train);
        plan.write(&run)?;
    }
    set_failed(&run, None)?;
    supervise(run, &devices, front_end)
}

/// Errors: when a device is not there, or does not train in this precision.
fn check(devices: &[WorkerDevice], precision: Precision) -> Result<()> {
    for worker in devices {
        match worker.device.strip_prefix("cuda:").and_then(|n| n.parse::<usize>().ok()) {
            // To open a GPU would take memory from its worker.
            Some(n) => {
                let seen =
                    device::count().map_err(|why| eyre!("--devices {}: {why}", worker.device))?;
                if n >= seen {
                    bail!(
                        "--devices {}: the driver sees {seen} GPUs, counted from 0",
                        worker.device
                    );
                }
            }
            None => drop(device::choose(&worker.device, precision)?),
        }
    }
    Ok(())
}

/// How a worker's process ended, if it is not to be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Requeued,
    BadInput,
}

/// A device and its worker.
struct Slot {
    worker: WorkerDevice,
    log: PathBuf,
    child: Option<Child>,
    end: Option<End>,
}

/// Runs the workers until nothing is left to train, or they were stopped.
fn supervise(run: Folder, devices: &[WorkerDevice], front_end: FrontEnd) -> Result<ExitCode> {
    let config = Config::load(Some(&run.config()), false, &[])?;
    let is_plain = front_end != FrontEnd::Dashboard || plain::is_needed();
    let signals = Signals::listen(config.run.requeue_signal.into())?;
    let logs = run.path().join("workers");
    std::fs::create_dir_all(&logs).map_err(|e| eyre!("cannot make {}: {e}", logs.display()))?;
    let slots = devices.iter().enumerate().map(|(i, worker)| Slot {
        worker: worker.clone(),
        log: logs.join(format!("{i}-{}.log", worker.device.replace(':', ""))),
        child: None,
        end: None,
    });
    let mut workers = Workers {
        run: run.clone(),
        slots: slots.collect(),
        deaths: BTreeMap::new(),
        signalled: false,
    };
    if front_end == FrontEnd::Background {
        super::detach::ready(&run)?;
    }
    let shown = Shown::start(&run, &config, is_plain, &signals)?;
    // Workers go on by themselves if this process fails.
    let code = workers.until_over(&signals)?;
    let outcome = match code {
        0 => Outcome::Completed,
        FAILED => Outcome::Failed,
        REQUEUE => Outcome::Requeued,
        _ => Outcome::Stopped,
    };
    shown.close(outcome, &signals);
    if !is_plain {
        print::line(format_args!("everything is in {}", run.path().display()));
    }
    Ok(ExitCode::from(code))
}

struct Workers {
    run: Folder,
    slots: Vec<Slot>,
    /// How often each fold's worker has died.
    deaths: BTreeMap<usize, usize>,
    /// Whether the workers were asked to end.
    signalled: bool,
}

impl Workers {
    /// Returns the exit code.
    fn until_over(&mut self, signals: &Signals) -> Result<u8> {
        let mut looked: Option<Instant> = None;
        let mut told_of_pause = false;
        loop {
            self.reap()?;
            self.pass_on(signals);
            let alive = self.slots.iter().any(|slot| slot.child.is_some());
            let free = self.slots.iter().any(|slot| slot.child.is_none() && slot.end.is_none());
            let may_start = free && !self.signalled;
            if may_start && looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                looked = Some(Instant::now());
                let open = self.open()?;
                if open.claimable > 0 {
                    self.start(open.claimable)?;
                    continue;
                }
                if !alive && !open.paused {
                    break;
                }
                if !alive && !std::mem::replace(&mut told_of_pause, true) {
                    print::note("no fold waits, and one is paused: start it, or stop the run");
                }
            }
            if !alive && !may_start {
                break;
            }
            std::thread::sleep(TICK);
        }
        let ended = |end| self.slots.iter().any(|slot| slot.end == Some(end));
        let failed = || -> Result<bool> {
            let status = shared::status(&self.run)?;
            Ok(status.folds.iter().any(|fold| fold.state == FoldState::Failed))
        };
        Ok(match signals.stopped_by() {
            _ if ended(End::BadInput) => BAD_INPUT as u8,
            _ if ended(End::Requeued) || signals.preempted_by().is_some() => REQUEUE,
            Some(signal) => 128 + signal as u8,
            None if ended(End::Stopped) => STOPPED,
            None if failed()? => FAILED,
            None => 0,
        })
    }

    /// Asks the workers to end, once this process was asked to.
    fn pass_on(&mut self, signals: &Signals) {
        use rustix::process::{Pid, Signal, kill_process};
        let signal = match (signals.preempted_by(), signals.stopped_by()) {
            (Some(_), _) => Signal::USR1,
            (None, Some(_)) => Signal::INT,
            (None, None) => return,
        };
        if !std::mem::replace(&mut self.signalled, true) {
            for child in self.slots.iter().filter_map(|slot| slot.child.as_ref()) {
                if let Some(pid) = Pid::from_raw(child.id() as i32) {
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }

    /// Notes which workers have ended, and how.
    fn reap(&mut self) -> Result<()> {
        for i in 0..self.slots.len() {
            let slot = &mut self.slots[i];
            let Some(child) = &mut slot.child else { continue };
            let Some(status) = child.try_wait().map_err(|e| eyre!("a worker: {e}"))? else {
                continue;
            };
            let pid = child.id();
            slot.child = None;
            match status.code() {
                // A fold that failed is no reason to leave its device idle. A fold that another worker
                // took over is that one's.
                Some(0 | 1 | 3) => {}
                Some(code) if code == i32::from(REQUEUE) => slot.end = Some(End::Requeued),
                Some(BAD_INPUT) => {
                    slot.end = Some(End::BadInput);
                    print::warn(last_words(&slot.log));
                }
                Some(code) if (129..160).contains(&code) => slot.end = Some(End::Stopped),
                _ => {
                    let device = &slot.worker.device;
                    print::warn(format_args!(
                        "the worker on {device} (process {pid}) died: {status}; its output is in {}",
                        slot.log.display()
                    ));
                    self.died(pid)?;
                }
            }
        }
        Ok(())
    }

    /// Counts the death of the worker `pid`; the third of a fold's makes the fold a failed one.
    fn died(&mut self, pid: u32) -> Result<()> {
        let held = self.run.fold_folders().into_iter().find_map(|folder| {
            let newest = Newest::read(folder.path()).ok().flatten()?;
            let holder = &newest.unreleased()?.holder;
            let fold = folder.path().file_name()?.to_str()?.parse::<usize>().ok()?;
            (holder.pid == pid && holder.is_local()).then_some(fold)
        });
        let Some(fold) = held else { return Ok(()) };
        let deaths = self.deaths.entry(fold).or_default();
        *deaths += 1;
        if *deaths >= MOST_DEATHS {
            print::warn(format_args!(
                "fold {fold}: its worker has died {deaths} times, so it counts as failed; \
                 `rsna-tui work {} --fold {fold}` tries it again",
                self.run.name
            ));
            set_failed(&self.run, Some(fold))?;
        }
        Ok(())
    }

    /// What is left to train.
    fn open(&self) -> Result<Open> {
        let plan = Plan::read(&self.run)?;
        let mut open = Open::default();
        for fold in plan.folds() {
            let status = plan.status(&self.run, fold)?;
            let Some(entry) = status.folds.first() else { continue };
            open.paused |= entry.state == FoldState::Paused;
            let over = match entry.state {
                FoldState::Done => entry.epoch >= plan.plan.epochs,
                FoldState::Skipped | FoldState::Paused | FoldState::Failed => true,
                _ => false,
            };
            open.claimable += usize::from(!over && !self.run.of_fold(fold).is_in_use());
        }
        Ok(open)
    }

    /// Starts at most `folds` workers.
    fn start(&mut self, folds: usize) -> Result<()> {
        let program = std::env::current_exe().map_err(|e| eyre!("this program: {e}"))?;
        let free = self.slots.iter_mut().filter(|slot| slot.child.is_none() && slot.end.is_none());
        for slot in free.take(folds) {
            let log = slot.log.display();
            let failed = |e: std::io::Error| eyre!("cannot write {log}: {e}");
            let mut options = File::options();
            let out = bounded::open_with(&slot.log, options.create(true).append(true));
            let out = out.map_err(failed)?;
            let mut command = Command::new(&program);
            command.arg("work").arg(self.run.path());
            command.args(["--device", &slot.worker.device]);
            command.args(["--sharing", &slot.worker.sharing.to_string()]);
            command.stdin(Stdio::null()).stderr(out.try_clone().map_err(failed)?).stdout(out);
            // Signals of the terminal reach this process alone, which passes them on.
            #[cfg(unix)]
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            let child = command.spawn().map_err(|e| eyre!("cannot start a worker: {e}"))?;
            slot.child = Some(child);
        }
        Ok(())
    }
}

/// What is left to train.
#[derive(Debug, Default)]
struct Open {
    /// Number of folds that a worker could claim.
    claimable: usize,
    /// Whether a fold is paused.
    paused: bool,
}

/// Makes the fold a failed one, or without a fold puts all that failed back into the queue.
fn set_failed(run: &Folder, fold: Option<usize>) -> Result<()> {
    let plan = Plan::read(run)?;
    let mut claimer = Claimer::new(Holder::here(""), Timing::default(), |_| {});
    for number in plan.folds() {
        let mut status = plan.status(run, number)?;
        let Some(entry) = status.folds.first_mut() else { continue };
        let to = match fold {
            Some(fold) if fold == number => FoldState::Failed,
            None if entry.state == FoldState::Failed => FoldState::Waiting,
            _ => continue,
        };
        let folder = run.make_fold(number)?;
        let failed = |e| eyre!("{}: {e}", folder.path().display());
        // A fold that another process trains is that one's.
        let Attempt::Claimed(_claim) = claimer.claim(folder.path()).map_err(failed)? else {
            continue;
        };
        entry.state = to;
        status.state = match to {
            FoldState::Failed => crate::run::status::RunState::Failed,
            _ => crate::run::status::RunState::Waiting,
        };
        status.write(&folder.state()).map_err(failed)?;
    }
    Ok(())
}

/// What a worker said last, in a line.
fn last_words(log: &std::path::Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = bounded::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS)))?;
        let mut bytes = Vec::new();
        file.take(LAST_WORDS).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let said = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("a worker failed");
    bounded::excerpt(said.trim_start_matches("rsna-tui: "), 500)
}
