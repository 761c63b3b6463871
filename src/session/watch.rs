//! A run that several processes train, as one run: the stream of all its folds' events, and one channel for
//! commands to their workers. Everything goes through the files of the run's folder, so that the workers may
//! be on other hosts; only pictures come from a socket, where there is one on this host.

use crate::run::{
    Command, Event, FoldAction, Latest, Request,
    channel::{BACKLOG, RunHandle},
    event::{Outcome, Planned, Queue, RunFinished, RunStarted, Stamped, Worker},
    folder::Folder,
    shared::Plan,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use eyre::{Result, eyre};
use journals::Journals;
use pictures::Pictures;
use queue::Known;
use std::{
    thread,
    time::{Duration, Instant},
};
use steer::Steering;
use workers::{Held, Workers};

mod idle;
mod journals;
mod pictures;
mod queue;
mod steer;
mod workers;

/// Time after which a worker that has not answered is named.
pub(super) const LATE: Duration = Duration::from_secs(30);
/// Time between two looks at the journals of folds that are trained.
const EVERY: Duration = Duration::from_millis(250);
/// The states of the folds are read at every so many looks.
const STATES: u64 = 4;
/// The claims, and the journals of the other folds, are read at every so many looks.
const CLAIMS: u64 = 8;

/// A shared run that is watched.
pub struct Watched {
    /// Everything so far: what the run is, then the events of all folds by time, and its state now.
    pub past: Vec<Stamped>,
    /// What follows, and the way to steer it.
    pub handle: RunHandle,
    /// Whether a process trains it, or a job that will is pending.
    pub is_trained: bool,
}

/// Opens a shared run to watch and steer it. `reader`: who reads slices for those that no worker on this host
/// reads.
///
/// Errors: when its plan cannot be read.
pub fn watch(run: &Folder, reader: Option<RunHandle>) -> Result<Watched> {
    let (mut watch, handle, commands) = Watch::new(run, Journals::of, LATE)?;
    let past = watch.past();
    let is_trained = watch.workers.any();
    let folds = watch.known.plan.folds();
    let pictures = Pictures {
        run: run.clone(),
        clock: watch.journals.clock.clone(),
        fold: folds.into_iter().find(|fold| watch.workers.held(*fold).is_some()),
        events: watch.events.clone(),
        reader,
    };
    pictures.follow(&handle);
    watch.follow(commands)?;
    Ok(Watched { past, handle, is_trained })
}

/// Opens a shared run only to steer it: nothing of its past is read. After `late`, who has not answered is
/// named in a log line.
///
/// Errors: when its plan cannot be read.
pub(super) fn steer(run: &Folder, late: Duration) -> Result<RunHandle> {
    let (mut watch, handle, commands) = Watch::new(run, Journals::from_end, late)?;
    watch.begin();
    watch.follow(commands)?;
    Ok(handle)
}

/// What the thread that follows a run knows.
struct Watch {
    run: Folder,
    journals: Journals,
    workers: Workers,
    known: Known,
    steering: Steering,
    events: Sender<Stamped>,
    /// The queue as it was told last.
    told: Queue,
    /// Epochs of a fold as they were told last.
    epochs: usize,
    /// How the run has ended as it looked the last time.
    ended: Option<Outcome>,
    /// How the run has ended as it was told.
    over: Option<Outcome>,
    /// Nobody receives the events any more.
    gone: bool,
}

impl Watch {
    fn new(
        run: &Folder,
        journals: impl FnOnce(&Folder, &[usize], f64) -> Journals,
        late: Duration,
    ) -> Result<(Self, RunHandle, Receiver<Request>)> {
        let plan = Plan::read(run).map_err(|e| eyre!("{e}"))?;
        let (events, receiver) = unbounded();
        let (command_sender, commands) = unbounded();
        let handle = RunHandle {
            events: receiver,
            commands: command_sender,
            slice_requests: Latest::default(),
            watched: Latest::default(),
        };
        let watch = Self {
            run: run.clone(),
            journals: journals(run, &plan.folds(), plan.created),
            workers: Workers::new(),
            known: Known::new(plan),
            steering: Steering::new(late),
            events,
            told: Queue { folds: Vec::new() },
            epochs: 0,
            ended: None,
            over: None,
            gone: false,
        };
        Ok((watch, handle, commands))
    }

    /// Looks at the run for the first time. Returns who trains it.
    fn begin(&mut self) -> Vec<Worker> {
        let folds = self.known.plan.folds();
        let changed = self.workers.look(&self.run, &folds);
        self.known.look(&self.run);
        self.told = self.known.queue(&self.workers);
        self.epochs = self.known.plan.plan.epochs;
        changed
    }

    /// Everything so far.
    fn past(&mut self) -> Vec<Stamped> {
        // The claims first: a worker that ends meanwhile is still followed.
        let changed = self.begin();
        let journals = self.journals.past();
        let at = self.journals.clock.now();
        let of = |at, event| Stamped { at, event, fold: None };
        let mut past = vec![
            of(0.0, Event::RunStarted(self.started())),
            of(0.0, Event::Queue(self.told.clone())),
        ];
        past.extend(journals.into_iter().filter(|stamped| passes(&stamped.event)));
        // A fold's last event may be older than its state.
        past.push(of(at, Event::Queue(self.told.clone())));
        past.extend(changed.into_iter().map(|worker| of(at, Event::Worker(worker))));
        if let Some(outcome) = self.known.outcome(&self.workers) {
            (self.ended, self.over) = (Some(outcome), Some(outcome));
            past.push(of(at, Event::RunFinished(self.finished(outcome))));
        }
        past
    }

    /// Starts the thread that follows the run.
    fn follow(mut self, commands: Receiver<Request>) -> Result<()> {
        let follow = move || self.go_on(&commands);
        let started = thread::Builder::new().name("watch".into()).spawn(follow);
        started.map(drop).map_err(|e| eyre!("cannot watch the run: {e}"))
    }

    /// Sends what follows, and obeys, until the handle is gone.
    fn go_on(&mut self, commands: &Receiver<Request>) {
        let mut look = 0u64;
        let mut next = Instant::now();
        while !self.gone {
            match commands.recv_deadline(next) {
                Ok(request) => {
                    self.obey(request);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            next = Instant::now() + EVERY;
            look += 1;
            self.hear(look.is_multiple_of(CLAIMS));
            if look.is_multiple_of(CLAIMS) {
                let folds = self.known.plan.folds();
                for worker in self.workers.look(&self.run, &folds) {
                    self.tell(Event::Worker(worker));
                }
            }
            if look.is_multiple_of(STATES) {
                self.known.look(&self.run);
                self.tell_queue();
            }
            for event in self.steering.settle(&self.workers) {
                self.tell(event);
            }
            if look.is_multiple_of(CLAIMS) {
                self.tell_end();
            }
        }
    }

    /// Passes on what the journals of the folds that are trained have got, or those of `all`.
    fn hear(&mut self, all: bool) {
        let (workers, steering) = (&self.workers, &self.steering);
        let wanted = |fold: usize| all || workers.held(fold).is_some() || steering.waits_for(fold);
        for stamped in self.journals.news(wanted) {
            // The queue says more of a fold that was left than the fold's own event does.
            if matches!(stamped.event, Event::Fold(_)) {
                self.told.folds.clear();
            }
            if !self.steering.hear(&stamped) && passes(&stamped.event) {
                self.send(stamped);
            }
        }
    }

    /// Tells the queue if it changed.
    fn tell_queue(&mut self) {
        let plan = &self.known.plan.plan;
        if plan.epochs != self.epochs {
            // Somebody else's: a view that gave the run another plan told of it.
            self.epochs = plan.epochs;
            let (epochs, learning_rates) = (plan.epochs, plan.learning_rates.clone());
            let changes = vec![format!("train.epochs: {epochs}")];
            let at = Default::default();
            let planned = Planned { at, epochs, learning_rates, changes };
            self.tell(Event::Planned(planned));
        }
        let queue = self.known.queue(&self.workers);
        if queue != self.told {
            self.told = queue.clone();
            self.tell(Event::Queue(queue));
        }
    }

    /// Tells the end of the run, or that it goes on.
    fn tell_end(&mut self) {
        // Between two folds, for a moment nobody holds one.
        let ended = self.known.outcome(&self.workers);
        let is_certain = std::mem::replace(&mut self.ended, ended) == ended;
        if !is_certain || ended == self.over {
            return;
        }
        if self.over.is_some() {
            self.tell(Event::RunStarted(self.started()));
            self.tell(Event::Queue(self.told.clone()));
        }
        self.over = ended;
        if let Some(outcome) = ended {
            self.hear(true);
            self.tell_queue();
            self.tell(Event::RunFinished(self.finished(outcome)));
        }
    }

    /// Obeys a request, or passes it on.
    fn obey(&mut self, request: Request) {
        let mut refused = Vec::new();
        let folds = match (request.command, request.worker) {
            (Command::Fold { fold, action }, _) => {
                let stays = !matches!(action, FoldAction::Earlier | FoldAction::Later);
                match self.held(fold).filter(|_| stays) {
                    Some(held) => vec![(fold, held)],
                    None => {
                        self.known.look(&self.run);
                        let entries = self.known.entries(&self.workers);
                        let done = idle::act(&self.run, &mut self.known, entries, fold, action);
                        refused.extend(done.err());
                        Vec::new()
                    }
                }
            }
            (Command::Plan { epochs, min_learning_rate }, None) => {
                match idle::plan(&self.run, &mut self.known, epochs, min_learning_rate) {
                    Ok(planned) => {
                        self.epochs = planned.epochs;
                        self.tell(Event::Planned(planned));
                        self.all_held()
                    }
                    Err(why) => {
                        refused.push(why);
                        Vec::new()
                    }
                }
            }
            (command, None) => {
                let all = self.all_held();
                if all.is_empty() {
                    let what = steer::words(command);
                    refused.push(format!("nobody trains {} now: nobody to {what}", self.run.name));
                }
                all
            }
            (command, Some(fold)) => match self.held(fold) {
                Some(held) => vec![(fold, held)],
                None => {
                    let what = steer::words(command);
                    refused.push(format!("nobody trains fold {fold} now: nobody to {what}"));
                    Vec::new()
                }
            },
        };
        self.steering.pass(&self.run, request, folds, refused);
        self.known.look(&self.run);
        self.tell_queue();
        self.hear(false);
        for event in self.steering.settle(&self.workers) {
            self.tell(event);
        }
    }

    /// Who holds a fold at this moment.
    fn held(&mut self, fold: usize) -> Option<Held> {
        if let Some(worker) = self.workers.look_at(&self.run, fold) {
            self.tell(Event::Worker(worker));
        }
        self.workers.held(fold)
    }

    fn all_held(&mut self) -> Vec<(usize, Held)> {
        let folds = self.known.plan.folds();
        folds.into_iter().filter_map(|fold| Some((fold, self.held(fold)?))).collect()
    }

    /// Sends an event of this watch's own.
    fn tell(&mut self, event: Event) {
        let at = self.journals.clock.now();
        self.send(Stamped { at, event, fold: None });
    }

    fn send(&mut self, stamped: Stamped) {
        // As for every watcher that lags.
        if stamped.event.may_be_dropped() && self.events.len() >= BACKLOG * 16 {
            return;
        }
        self.gone |= self.events.send(stamped).is_err();
    }

    /// The run as it is announced.
    fn started(&self) -> RunStarted {
        RunStarted {
            name: self.run.name.clone(),
            folder: self.run.path().display().to_string(),
            ..self.known.plan.plan.clone()
        }
    }

    /// The end of the run.
    fn finished(&self, outcome: Outcome) -> RunFinished {
        RunFinished {
            outcome,
            best: journals::ordered(self.known.best()),
            skipped: self.journals.skipped(),
        }
    }
}

/// Whether an event of a fold's journal is passed on. A fold's queue and its end are parts of the run's.
fn passes(event: &Event) -> bool {
    !matches!(event, Event::Queue(_) | Event::RunFinished(_) | Event::Worker(_))
}
