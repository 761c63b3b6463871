//! A run that several processes train, watched and steered as one. The workers are threads of this process
//! that claim folds, write journals and answer requests; some of them say that they are on another host.

mod commands;
mod steer;
mod watch;

use crossbeam_channel::Receiver;
use rsna_tui::{
    config::Config,
    run::{
        Event, Request,
        channel::{EventSender, RunHandle, channel},
        claim::{Attempt, Claimer, Timing},
        event::{Ack, Epoch, FoldState, Outcome, RunFinished, Stamped},
        folder::Folder,
        holder::Holder,
        journal::Journal,
        requests::{self, Listener},
        shared::Plan,
        status::{self, FoldStatus, RunState, Status},
    },
};
use rsna_tui_testkit::script::Script;
use std::{path::Path, time::Duration};

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a shared run of folds that nobody has trained yet.
pub fn run(dir: &Path, folds: usize) -> (Folder, Script) {
    let script = Script { folds: (0..folds).collect(), epochs: 3, ..Script::default() };
    let run = Folder::create(dir, "r").unwrap();
    let mut config = Config::load(None, false, &[]).unwrap();
    (config.train.epochs, config.train.folds) = (3, script.folds.clone());
    run.write_config(&config.to_toml()).unwrap();
    let Event::RunStarted(plan) = script.started() else { unreachable!() };
    Plan::new(plan).write(&run).unwrap();
    run.make_shared().unwrap();
    (run, script)
}

/// Writes the state of a fold.
pub fn stands(run: &Folder, fold: usize, state: FoldState, run_state: RunState) {
    let epoch = if state == FoldState::Done { 3 } else { 1 };
    let entry = FoldStatus { fold, state, seed: 42, epoch, step: 0, steps: 40, best: None };
    let status = Status {
        format: status::FORMAT.into(),
        state: run_state,
        reason: None,
        pid: 1,
        seconds: 9.0,
        updated: status::now(),
        epochs: 3,
        folds: vec![entry],
    };
    status.write(&run.make_fold(fold).unwrap().state()).unwrap();
}

/// A process that trains a fold.
pub struct Worker {
    pub folder: Folder,
    pub events: EventSender,
    pub requests: Receiver<Request>,
    _listener: Listener,
    _handle: RunHandle,
}

impl Worker {
    /// Claims the fold for a process on `host`.
    pub fn start(run: &Folder, fold: usize, host: &str) -> Self {
        let folder = run.make_fold(fold).unwrap();
        let holder = Holder { host: host.into(), ..Holder::here("cpu") };
        let mut claimer = Claimer::new(holder, Timing::default(), |_| {});
        let Attempt::Claimed(claim) = claimer.claim(folder.path()).unwrap() else {
            panic!("somebody else holds fold {fold}")
        };
        let folder = folder.claimed(claim).unwrap();
        stands(run, fold, FoldState::Training, RunState::Running);
        let journal = Journal::open(&folder.journal()).unwrap().guarded(folder.guard());
        let (events, requests, handle) = channel(Some(journal), 0.0);
        let listener = requests::listen(&folder, &events, &handle.commands).unwrap();
        Self { folder, events, requests, _listener: listener, _handle: handle }
    }

    /// Waits for a request, and answers it.
    pub fn answer(&self, refused: Option<&str>) -> Request {
        let request = self.requests.recv_timeout(PATIENCE).expect("a request");
        self.events.send(Event::Ack(Ack::of(request, refused.map(String::from))));
        request
    }

    /// Ends the fold's training.
    pub fn end(self, run: &Folder, fold: usize, state: FoldState, run_state: RunState) {
        stands(run, fold, state, run_state);
        let finished =
            RunFinished { outcome: Outcome::Completed, best: Vec::new(), skipped: Vec::new() };
        self.events.send(Event::RunFinished(finished));
    }
}

/// Waits for an event.
pub fn until<T>(handle: &RunHandle, mut wanted: impl FnMut(&Stamped) -> Option<T>) -> T {
    loop {
        let stamped = handle.events.recv_timeout(PATIENCE).expect("an event");
        if let Some(found) = wanted(&stamped) {
            return found;
        }
    }
}

/// Waits for the answer to a request.
pub fn answer(handle: &RunHandle, id: u64) -> Result<(), String> {
    until(handle, |stamped| match &stamped.event {
        Event::Ack(ack) if ack.id == Some(id) => {
            assert_eq!(stamped.fold, None, "it is for the whole run");
            Some(ack.refused.clone().map_or(Ok(()), Err))
        }
        _ => None,
    })
}

/// The epochs among events, as fold and number.
pub fn epochs<'a>(events: impl IntoIterator<Item = &'a Stamped>) -> Vec<(usize, usize)> {
    let epoch = |stamped: &Stamped| match &stamped.event {
        Event::Epoch(Epoch { at, .. }) => {
            assert_eq!(stamped.fold, Some(at.fold));
            Some((at.fold, at.epoch))
        }
        _ => None,
    };
    events.into_iter().filter_map(epoch).collect()
}
