//! Who trains the folds of a shared run, by its claims and by what Slurm knows.

use crate::run::{
    claim::{Newest, Record, Timing},
    event::{Worker, WorkerState},
    folder::Folder,
    holder::{Holder, Life},
    jobs::Jobs,
    slurm::{self, Row},
    status::{RunState, Status},
};
use crossbeam_channel::{Receiver, bounded};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

/// Time between two questions to Slurm, for all jobs together.
const ASK_EVERY: Duration = Duration::from_secs(15);
/// Time until it is asked again after something happened.
const SOON: Duration = Duration::from_secs(3);
/// Longest wait for the first answer.
const AT_FIRST: Duration = Duration::from_millis(500);
/// Most jobs that are asked about.
const MOST_JOBS: usize = 1000;

/// What was seen of the folds' workers.
pub(super) struct Workers {
    /// This process, for others' claims to be judged from; in no job, so that Slurm is not asked for each.
    here: Holder,
    seen: BTreeMap<usize, Seen>,
    slurm: Slurm,
}

/// The newest claim of a fold.
struct Seen {
    number: u64,
    record: Record,
    /// When it was seen first.
    begun: Instant,
    /// Time of its last touch, and since when it is unchanged.
    touched: Option<SystemTime>,
    since: Instant,
    state: WorkerState,
}

/// A process that holds a fold.
pub(super) struct Held {
    /// Number of its claim.
    pub(super) claim: u64,
    /// The process.
    pub(super) holder: Holder,
}

impl Workers {
    pub(super) fn new() -> Self {
        let here = Holder { job: None, ..Holder::here("") };
        Self { here, seen: BTreeMap::new(), slurm: Slurm::default() }
    }

    /// Looks at the claims of `folds`, and at what Slurm has said of the run's jobs. Returns what changed.
    pub(super) fn look(&mut self, run: &Folder, folds: &[usize]) -> Vec<Worker> {
        let remote = self.seen.values().filter_map(|seen| {
            let job = seen.record.holder.job.as_ref()?;
            (seen.record.released.is_none()).then_some(job.array.map_or(job.id, |(job, _)| job))
        });
        self.slurm.ask(run, remote.collect());
        let mut changed: Vec<Worker> =
            folds.iter().filter_map(|&fold| self.look_at(run, fold)).collect();
        let held: BTreeSet<usize> =
            folds.iter().copied().filter(|fold| self.held(*fold).is_some()).collect();
        changed.extend(self.slurm.pending(folds, &held));
        changed
    }

    /// Looks at the claim of one fold. Returns what changed.
    pub(super) fn look_at(&mut self, run: &Folder, fold: usize) -> Option<Worker> {
        // What cannot be read now may be read later.
        let newest = Newest::read(run.of_fold(fold).path()).ok().flatten()?;
        let record = newest.record?;
        // A process that only changed the state of a fold that nobody trains.
        if record.holder.device.is_empty() {
            return None;
        }
        let before = self.seen.get(&fold).filter(|seen| seen.number == newest.number);
        let unchanged = before.filter(|seen| seen.touched == newest.touched);
        let since = unchanged.map_or_else(Instant::now, |seen| seen.since);
        let begun = before.map_or_else(Instant::now, |seen| seen.begun);
        let (state, reason) = match (&record.released, self.life(&record.holder, begun)) {
            (Some(_), _) => (left(run, fold), None),
            (None, Life::Alive) => (WorkerState::Training, None),
            (None, Life::Gone(why)) => (WorkerState::Died, Some(why)),
            (None, Life::Unknown) if since.elapsed() > Timing::default().beat * 3 => {
                let why = format!("not heard of for {} s", since.elapsed().as_secs());
                (WorkerState::Silent, Some(why))
            }
            (None, Life::Unknown) => (WorkerState::Training, None),
        };
        let told = before.map(|seen| seen.state);
        if told != Some(state) {
            self.slurm.hurry();
        }
        let worker = Worker {
            fold,
            state,
            holder: Some(record.holder.clone()),
            device: record.holder.device.clone(),
            reason,
        };
        let number = newest.number;
        self.seen
            .insert(fold, Seen { number, record, begun, touched: newest.touched, since, state });
        // Whoever ended before anybody looked is of no interest.
        let is_news = told != Some(state) && (told.is_some() || state != WorkerState::Ended);
        is_news.then_some(worker)
    }

    /// Who holds a fold, as far as it is known.
    pub(super) fn held(&self, fold: usize) -> Option<Held> {
        let seen = self.seen.get(&fold)?;
        let holds = matches!(seen.state, WorkerState::Training | WorkerState::Silent);
        holds.then(|| Held { claim: seen.number, holder: seen.record.holder.clone() })
    }

    /// Whether a process holds a fold, or a job that will is pending.
    pub(super) fn any(&self) -> bool {
        self.seen.keys().any(|fold| self.held(*fold).is_some()) || !self.slurm.told.is_empty()
    }

    /// Whether the holder of a fold died, and nobody has taken it over yet.
    pub(super) fn died(&self, fold: usize) -> bool {
        self.seen.get(&fold).is_some_and(|seen| seen.state == WorkerState::Died)
    }

    /// Whether the holder of a claim that was seen first at `begun` lives.
    fn life(&self, holder: &Holder, begun: Instant) -> Life {
        let alone = Holder { job: None, ..holder.clone() };
        match (alone.life_seen_by(&self.here), &holder.job) {
            (Life::Unknown, Some(task)) => {
                let job = task.array.map_or(task.id, |(job, _)| job);
                let Some(said) = &self.slurm.said else { return Life::Unknown };
                // What was asked before the claim was made says nothing of this start of the job.
                if !said.jobs.contains(&job) || said.asked <= begun {
                    return Life::Unknown;
                }
                match said.rows.iter().find(|row| row.is(task)) {
                    Some(row) if row.runs(task) => Life::Alive,
                    _ => Life::Gone("its job has ended".into()),
                }
            }
            (life, _) => life,
        }
    }
}

/// How a process that has released the fold left it.
fn left(run: &Folder, fold: usize) -> WorkerState {
    match Status::read(&run.of_fold(fold).state()).map(|status| status.state) {
        Ok(RunState::Requeued) => WorkerState::Preempted,
        _ => WorkerState::Ended,
    }
}

/// What Slurm says of the run's jobs.
#[derive(Default)]
struct Slurm {
    asked: Option<Instant>,
    /// The answer that a thread waits for: the controller may be down, or busy.
    answer: Option<Receiver<Option<Answer>>>,
    /// The newest answer.
    said: Option<Answer>,
    /// The reasons of pending tasks that were told, by fold.
    told: BTreeMap<usize, String>,
}

/// Jobs that were asked about, when, and their tasks in the queue.
struct Answer {
    jobs: BTreeSet<u64>,
    asked: Instant,
    rows: Vec<Row>,
}

impl Slurm {
    /// Asks soon, because something happened.
    fn hurry(&mut self) {
        let soon = Instant::now().checked_sub(ASK_EVERY - SOON);
        self.asked = self.asked.min(soon.or(self.asked));
    }

    /// Takes in an answer, and asks again if it is time.
    fn ask(&mut self, run: &Folder, mut jobs: BTreeSet<u64>) {
        if let Some(answer) = self.answer.as_ref().and_then(|answer| answer.try_recv().ok()) {
            (self.answer, self.said) = (None, answer);
        }
        if self.answer.is_some() || self.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return;
        }
        let is_first = self.asked.replace(Instant::now()).is_none();
        let submitted = Jobs::read(run).map(|jobs| jobs.ids()).unwrap_or_default();
        jobs.extend(submitted.into_iter().rev().take(MOST_JOBS));
        if jobs.is_empty() {
            self.said = None;
            return;
        }
        let (sender, answer) = bounded(1);
        let asked = Instant::now();
        let ask = move || {
            let rows = slurm::queue(&jobs.iter().copied().collect::<Vec<_>>());
            let _ = sender.send(rows.map(|rows| Answer { jobs, asked, rows }));
        };
        if std::thread::Builder::new().name("slurm".into()).spawn(ask).is_ok() {
            // What is shown first should say what is pending.
            match is_first.then(|| answer.recv_timeout(AT_FIRST)) {
                Some(Ok(said)) => self.said = said,
                _ => self.answer = Some(answer),
            }
        }
    }

    /// What changed of the folds whose tasks are pending. A task has the number of its fold.
    fn pending(&mut self, folds: &[usize], held: &BTreeSet<usize>) -> Vec<Worker> {
        // Slurm that is down says nothing of its queue.
        let Some(Answer { rows, .. }) = &self.said else { return Vec::new() };
        let of = |row: &Row| Some((row.array_task? as usize, row.reason.clone()));
        let now: BTreeMap<usize, String> = rows
            .iter()
            .filter(|row| matches!(&*row.state, "PENDING" | "REQUEUED" | "REQUEUE_HOLD"))
            .filter_map(of)
            .filter(|(fold, _)| folds.contains(fold) && !held.contains(fold))
            .collect();
        let worker = |fold, state, reason: Option<String>| Worker {
            fold,
            state,
            holder: None,
            device: String::new(),
            reason,
        };
        let mut changed = Vec::new();
        for (&fold, reason) in &now {
            if self.told.get(&fold) != Some(reason) {
                changed.push(worker(fold, WorkerState::Pending, Some(reason.clone())));
            }
        }
        for &fold in self.told.keys().filter(|fold| !now.contains_key(fold)) {
            // One that runs now makes its claim in a moment, which tells more.
            let runs = rows.iter().any(|row| row.array_task == Some(fold as u32));
            if !held.contains(&fold) && !runs {
                let why = "its job has left Slurm's queue".to_string();
                changed.push(worker(fold, WorkerState::Ended, Some(why)));
            }
        }
        self.told = now;
        changed
    }
}
