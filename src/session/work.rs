//! `rsna-tui work`: trains the folds of a shared run, one after the other, beside other workers.

use super::{
    devices,
    live::{self, FAILED, FrontEnd, REQUEUE, STOPPED},
    recorded::{self, Data},
    share, share_end,
    signals::{Preemption, Signals},
};
use crate::{
    cli,
    config::{Config, Set},
    device, print,
    run::{
        self,
        claim::{Attempt, Claim, Claimer, Timing},
        event::{FoldState, Outcome, WorkerState},
        folder::Folder,
        holder::Holder,
        shared::Plan,
        status::Status,
    },
    train::trainer::Job,
};
use eyre::{Result, bail, eyre};
use std::{collections::BTreeSet, path::Path, process::ExitCode, time::Duration};

/// Exit code when another process has taken the fold over.
const TAKEN_OVER: u8 = 3;

/// Runs `rsna-tui work`.
pub fn work(args: &cli::Work) -> Result<ExitCode> {
    let run = share::open(&args.named)?;
    let plan = Plan::read(&run)?;
    if let Some(fold) = args.fold.filter(|fold| !plan.folds().contains(fold)) {
        let folds: Vec<String> = plan.folds().iter().map(usize::to_string).collect();
        bail!("there is no fold {fold} in {}; it has {}", run.name, folds.join(", "));
    }
    let sets: Vec<Set> =
        args.threads.iter().map(|threads| Set::new(format!("train.threads={threads}"))).collect();
    let config = Config::load(Some(&run.config()), false, &sets)?;
    let device = devices::one(&args.device)?;
    let timing = args.claim_seconds.map(|s| Timing::of_quiet(Duration::from_secs_f64(s.max(0.3))));
    let mut worker = Worker {
        signals: Signals::listen(Preemption::BatchSystem)?,
        claimer: Claimer::new(Holder::here(device), timing.unwrap_or_default(), taken_over),
        run,
        args,
        sets,
        tried: BTreeSet::new(),
        waiting_for: None,
        ready: None,
    };
    worker.all(&config)
}

/// Ends the process, which must not write any more.
fn taken_over(why: &str) {
    print::warn(format_args!("{why}; this worker ends without a further write"));
    std::process::exit(TAKEN_OVER.into());
}

struct Worker<'a> {
    run: Folder,
    args: &'a cli::Work,
    /// Settings of this process.
    sets: Vec<Set>,
    signals: Signals,
    claimer: Claimer,
    /// Folds that this process has trained.
    tried: BTreeSet<usize>,
    /// The fold whose holder is being waited for, once that was said.
    waiting_for: Option<usize>,
    /// Device and data, once they are needed.
    ready: Option<(device::Chosen, Data)>,
}

/// What a worker finds to do.
enum Next {
    /// It trains this fold, which it has claimed.
    Train(usize, Claim),
    /// Nothing, but a holder that is silent may turn out to be gone.
    Wait,
    /// Nothing; why, in words.
    Nothing(String),
}

impl Worker<'_> {
    fn all(&mut self, config: &Config) -> Result<ExitCode> {
        let mut failed = false;
        loop {
            if let Some(code) = self.ended() {
                return Ok(code);
            }
            let (fold, claim) = match self.next()? {
                Next::Train(fold, claim) => (fold, claim),
                Next::Wait => {
                    std::thread::sleep(self.claimer.timing().beat.min(Duration::from_secs(5)));
                    continue;
                }
                Next::Nothing(why) => {
                    // The worker that ended the last fold may have been killed before it wrote this.
                    if !self.run.report().exists() {
                        self.finish();
                    }
                    print::line(format_args!("{}: {why}", self.run.name));
                    return Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS });
                }
            };
            self.waiting_for = None;
            self.tried.insert(fold);
            let job = self.job(fold, claim, config)?;
            let outcome = live::train_until(job, self.args.faults, FrontEnd::Lines, &self.signals)?;
            self.finish();
            // Whoever trains the last fold puts the run together.
            if let Err(error) = share_end::finish(&self.run) {
                print::warn(error);
            }
            match outcome {
                Outcome::Completed => {}
                Outcome::Failed => failed = true,
                Outcome::Requeued | Outcome::Stopped => {
                    return Ok(self.ended().unwrap_or(ExitCode::from(match outcome {
                        Outcome::Requeued => REQUEUE,
                        _ => STOPPED,
                    })));
                }
            }
        }
    }

    /// Writes the report of the run, if no fold is in training any more.
    fn finish(&self) {
        if let Err(error) = share_end::finish(&self.run) {
            print::warn(format_args!("the report of the run: {error}"));
        }
    }

    /// The exit code, if a signal has ended this worker.
    fn ended(&self) -> Option<ExitCode> {
        #[cfg(unix)]
        if self.signals.preempted_by() == Some(signal_hook::consts::SIGUSR1) {
            return Some(ExitCode::from(REQUEUE));
        }
        let signal = self.signals.preempted_by().or(self.signals.stopped_by())?;
        Some(ExitCode::from(128 + signal as u8))
    }

    /// Claims the next fold that nobody trains.
    fn next(&mut self) -> Result<Next> {
        let plan = Plan::read(&self.run)?;
        let folds = match self.args.fold {
            Some(fold) => vec![fold],
            None => plan.folds(),
        };
        let mut why = "nothing is left to train".to_string();
        let mut silent = None;
        for fold in folds {
            let status = plan.status(&self.run, fold)?;
            if let Some(no) = self.unfit(&plan, fold, &status) {
                let failed = status.folds.iter().any(|entry| entry.state == FoldState::Failed);
                if self.args.fold.is_some() || failed {
                    why = no;
                }
                continue;
            }
            let folder = self.run.make_fold(fold)?;
            let attempt = self.claimer.claim(folder.path());
            match attempt.map_err(|e| eyre!("cannot claim {}: {e}", folder.path().display()))? {
                Attempt::Claimed(claim) => {
                    // Whoever held it may have finished it meanwhile.
                    if self.unfit(&plan, fold, &plan.status(&self.run, fold)?).is_none() {
                        return Ok(Next::Train(fold, claim));
                    }
                }
                Attempt::Held(held) => {
                    if self.args.fold.is_some() && held.silent.is_none() {
                        bail!("fold {fold} of {} is being trained by {}", self.run.name, held.by);
                    }
                    why =
                        format!("nothing is left to claim: fold {fold} is trained by {}", held.by);
                    silent = silent.or(held.silent.map(|since| (fold, held.by, since)));
                }
            }
        }
        let timing = self.claimer.timing();
        match silent {
            // Its holder may have touched the claim just before it died.
            Some((fold, by, since)) if self.args.fold.is_some() || since > timing.beat * 3 => {
                if self.waiting_for.replace(fold) != Some(fold) {
                    print::note(format_args!(
                        "fold {fold} is held by {by}, which cannot be asked about and was heard of \
                         {} s ago; after {} s without a sign this worker takes it over",
                        since.as_secs(),
                        timing.quiet.as_secs()
                    ));
                }
                Ok(Next::Wait)
            }
            _ => Ok(Next::Nothing(why)),
        }
    }

    /// Why a fold is not to be trained by this worker; `None` if it is.
    fn unfit(&self, plan: &Plan, fold: usize, status: &Status) -> Option<String> {
        let entry = status.folds.iter().find(|entry| entry.fold == fold)?;
        match entry.state {
            FoldState::Done if entry.epoch >= plan.plan.epochs => {
                Some(format!("fold {fold} is done"))
            }
            FoldState::Skipped => Some(format!("fold {fold} is skipped; bring it back first")),
            FoldState::Paused => Some(format!("fold {fold} is paused; start it first")),
            FoldState::Failed if self.args.fold.is_none() || self.tried.contains(&fold) => {
                Some(format!(
                    "fold {fold} failed; `rsna-tui work {} --fold {fold}` tries it again",
                    self.run.name
                ))
            }
            _ => None,
        }
    }

    /// Prepares the training of a fold.
    fn job(&mut self, fold: usize, claim: Claim, first: &Config) -> Result<Job> {
        let folder = self.run.of_fold(fold).claimed(claim)?;
        // The run's settings as they are now. Checkpoints hold them, so they are the same in every worker.
        let config = Config::load(Some(&self.run.config()), false, &self.sets)?;
        if self.ready.is_none() {
            let device = super::set_up_again(&self.run, first, &self.args.device)?;
            let data = recorded::data(&self.run, &config)?;
            let checked = super::check_inputs(&config, &data.table, &*data.source)?;
            data.same_slices(&data.table.studies, &checked.fingerprints)?;
            self.ready = Some((device, data));
        }
        let (device, data) = self.ready.as_ref().expect("it was just made");
        let begun = began(&folder);
        folder.write_config(&config.to_toml())?;
        let left = super::left(&folder, &config, &device.name)?;
        let data = (data.table.clone(), data.source.clone());
        let worker = run::event::Worker {
            fold,
            state: WorkerState::Training,
            holder: Some(Holder::here(devices::one(&self.args.device)?)),
            device: device.name.clone(),
            reason: None,
        };
        let job = super::job(config, device.clone(), data, folder);
        Ok(Job {
            worker: Some(worker),
            sharing: self.args.sharing,
            resume: begun.then_some(left),
            ..job
        })
    }
}

/// Whether a fold was begun before.
fn began(folder: &Folder) -> bool {
    let there = |path: &Path| path.symlink_metadata().is_ok();
    there(&folder.journal()) || there(&folder.state())
}
