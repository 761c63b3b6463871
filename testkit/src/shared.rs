//! Makes up the merged events of a run that several processes train, the same at every call.

use crate::script::Script;
use rsna_tui::run::event::*;
use rsna_tui::run::{holder::Holder, slurm::Task};

/// A process: the host, the device, and the task of job 4711.
pub fn holder(host: &str, device: &str, task: u32) -> Holder {
    Holder {
        host: host.into(),
        boot: "b".into(),
        pids: 1,
        pid: 1000 + task,
        started: 1,
        job: Some(Task { id: 4712 + u64::from(task), array: Some((4711, task)), restarts: 0 }),
        device: device.into(),
    }
}

/// What is known of the process of a fold.
pub fn worker(fold: usize, state: WorkerState, holder: Option<Holder>, reason: &str) -> Event {
    let device = holder.as_ref().map_or(String::new(), |_| "CUDA 0: NVIDIA H100".into());
    let reason = Some(reason.to_string()).filter(|reason| !reason.is_empty());
    Event::Worker(Worker { fold, state, holder, device, reason })
}

/// How far the made-up run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Fold 2's process has died, and nobody trains the fold.
    Died,
    /// A process on another host has taken it over.
    TakenOver,
}

/// Five folds: 0 is done, and its process went on with 1; 2 was trained on a host that went down, and
/// is taken over by a process on another; 3 is a pending job; 4 waits.
pub fn run(stage: Stage) -> Vec<Stamped> {
    use WorkerState::{Died, Ended, Pending, Training};
    let script = Script { folds: (0..5).collect(), ..Script::default() };
    let at = |fold, epoch, step| Position { fold, epoch, step };
    let of_run = |seconds, event| Stamped::new(seconds, event);
    let first = || Some(holder("node01.cluster", "cuda:0", 0));
    let second = || Some(holder("node02.cluster", "cuda:0", 2));
    let third = || Some(holder("node07.cluster", "cuda:1", 2));
    let mut events = vec![
        of_run(0.1, script.started()),
        of_run(0.2, queue(&[(0, FoldState::Waiting)], &script)),
        of_run(1.0, worker(0, Training, first(), "")),
        of_run(2.0, worker(2, Training, second(), "")),
        of_run(2.5, worker(3, Pending, None, "Priority")),
    ];
    events.extend(of_fold(&script, 0, 1.0, None, None));
    let end = events.last().map_or(0.0, |event| event.at);
    events.push(of_run(end + 0.1, worker(0, Ended, first(), "")));
    events.push(of_run(end + 0.5, queue(&[(0, FoldState::Done)], &script)));
    events.push(of_run(end + 1.0, worker(1, Training, first(), "")));
    events.extend(of_fold(&script, 1, end + 1.0, None, Some(at(1, 3, 23))));
    let now = events.last().map_or(0.0, |event| event.at);
    events.extend(of_fold(&script, 2, 2.0, None, Some(at(2, 5, 31))));
    let died = now - 90.0;
    events.push(of_run(died, worker(2, Died, second(), "its job has ended: NODE_FAIL")));
    if stage == Stage::TakenOver {
        events.push(of_run(died + 20.0, worker(2, Training, third(), "")));
        events.extend(of_fold(&script, 2, died + 20.0, Some(5), Some(at(2, 5, 38))));
    }
    events.sort_by(|a, b| a.at.total_cmp(&b.at));
    events
}

/// The states of folds that do not wait.
fn queue(states: &[(usize, FoldState)], script: &Script) -> Event {
    let queued = |&fold: &usize| {
        let state = states.iter().find(|(other, _)| *other == fold);
        Queued { fold, state: state.map_or(FoldState::Waiting, |(_, state)| *state), seed: 42 }
    };
    Event::Queue(Queue { folds: script.folds.iter().map(queued).collect() })
}

/// The events of one fold's process, which starts at `start`; from the beginning of epoch `from` on if it
/// resumes there, and up to `until`.
pub fn of_fold(
    script: &Script,
    fold: usize,
    start: f64,
    from: Option<usize>,
    until: Option<Position>,
) -> Vec<Stamped> {
    let own = Script {
        folds: vec![fold],
        epochs: script.epochs,
        steps: script.steps,
        valid_batches: script.valid_batches,
        // The hosts are not equally fast.
        step_seconds: script.step_seconds * (1.0 + 0.1 * (fold % 10) as f64),
    };
    let mut events = own.events(until);
    events.retain(|event| !matches!(event.event, Event::RunFinished(_)));
    if let Some(from) = from {
        let begins =
            |event: &Stamped| matches!(&event.event, Event::EpochStarted(e) if e.at.epoch == from);
        let place = events.iter().position(begins).unwrap_or(events.len());
        let mut plan = events[0].clone();
        if let Event::RunStarted(plan) = &mut plan.event {
            plan.resumed = true;
        }
        let before = events.get(place).map_or(0.0, |event| event.at);
        events = events.split_off(place);
        events.iter_mut().for_each(|event| event.at -= before);
        plan.at = 0.0;
        events.insert(0, plan);
    }
    for event in &mut events {
        event.at += start;
        event.fold = Some(fold);
    }
    events
}

/// `folds` folds of which 20 at a time are in training, each by a process of its own, in the last epoch of
/// `epochs`.
pub fn many(folds: usize, epochs: usize) -> Vec<Stamped> {
    let script = Script { folds: (0..folds).collect(), epochs, ..Script::default() };
    let mut events = vec![Stamped::new(0.1, script.started())];
    for fold in 0..folds {
        let process = Some(holder(&format!("node{:02}", fold % 20), "cuda:0", fold as u32));
        let trained = fold % 5 == 0;
        let last = Position { fold, epoch: epochs, step: script.steps / 2 };
        events.push(Stamped::new(1.0, worker(fold, WorkerState::Training, process.clone(), "")));
        events.extend(of_fold(&script, fold, 1.0, None, trained.then_some(last)));
        if !trained {
            let end = events.last().map_or(0.0, |event| event.at);
            events.push(Stamped::new(end, worker(fold, WorkerState::Ended, process, "")));
        }
    }
    events.sort_by(|a, b| a.at.total_cmp(&b.at));
    events
}
