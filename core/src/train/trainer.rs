//! The trainer thread: trains one fold after the other.

pub use super::fold_inputs::{Job, Left};

use super::{
    Error, Result,
    control::{Control, Flow},
    faults::Faults,
    fold::Found,
    fold_inputs::Fold,
    loss::constant_guess,
    memory,
    queue::Queue,
    schedule,
    slice_reader::SliceReader,
};
use crate::{
    config::Config,
    device::Monitor,
    net::{Classifier, Spec, encoder::Arena, weights},
    panics,
    run::{
        Event, Latest, Request,
        channel::{EventSender, RunHandle, channel},
        event::{
            ErrorEvent, FoldEvent, FoldPlan, FoldState, Level, Outcome, Position, Preview,
            RunFinished, RunStarted,
        },
        folder::write_atomically,
        journal::Journal,
        status::RunState,
    },
    study::prevalence,
};
use candle_core::DType;
use crossbeam_channel::Receiver;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    thread::JoinHandle,
};

/// Starts the trainer thread, which ends by itself; its last event is `RunFinished`. Others can
/// subscribe to the run with the returned sender. `begin` is called before the thread starts, so
/// subscribers that it adds receive every event.
///
/// Errors: when no thread can be started, or the journal cannot be opened.
pub fn spawn(
    job: Job,
    begin: impl FnOnce(&EventSender),
) -> std::io::Result<(EventSender, RunHandle, JoinHandle<Outcome>)> {
    spawn_with(job, Faults::default(), begin)
}

/// Like [`spawn`], with faults for the tests.
#[doc(hidden)]
pub fn spawn_with(
    job: Job,
    faults: Faults,
    begin: impl FnOnce(&EventSender),
) -> std::io::Result<(EventSender, RunHandle, JoinHandle<Outcome>)> {
    let journal = Journal::open(&job.folder.journal()).map_err(std::io::Error::other)?;
    let journal = journal.guarded(job.folder.guard());
    let before = job.resume.as_ref().map_or(0.0, |left| left.seconds);
    let (events, commands, handle) = channel(Some(journal), before);
    begin(&events);
    let previews = Latest::default();
    let reader = SliceReader::new(job.config.clone(), job.table.clone(), job.source.clone());
    reader.open(handle.slice_requests.taker(), previews.taker(), &events);
    let sender = events.clone();
    let thread = std::thread::Builder::new().name("trainer".into()).spawn(move || {
        // Tell subscribers about the end, even after a panic.
        let _closing = Closing(sender.clone());
        run(&job, faults, &sender, &previews, commands)
    })?;
    Ok((events, handle, thread))
}

/// Ends the event channel when dropped.
struct Closing(EventSender);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn run(
    job: &Job,
    faults: Faults,
    events: &EventSender,
    previews: &Latest<Preview>,
    requests: Receiver<Request>,
) -> Outcome {
    let config = &job.config;
    let place = Cell::new(Position::default());
    let plans = plans(job);
    let known = job.resume.as_ref().map_or(&[][..], |left| &left.folds);
    let mut queue = Queue::new(&plans, config.seed, config.train.epochs, known);
    for entry in &mut queue.entries {
        // The folder may have been moved.
        let retrain_seed = (entry.seed != config.seed).then_some(entry.seed);
        if let Some(best) = &mut entry.best {
            best.path = job.folder.best(entry.fold, retrain_seed).display().to_string();
        }
    }
    let mut found = BTreeMap::new();
    let control = Control::new(requests, events.clone(), &job.folder, queue, config.clone());
    let fail = |error: Error| {
        let (at, message) = (place.get(), error.to_string());
        events.send(Event::Error(ErrorEvent { at, message, fatal: true }));
        Outcome::Failed
    };
    let mut control = match control {
        Ok(control) => control,
        Err(error) => return fail(Error::Thread(error)),
    };
    let folds =
        AssertUnwindSafe(|| folds(job, faults, &plans, &mut control, &mut found, previews, &place));
    let mut outcome = match catch_unwind(folds) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => fail(error),
        Err(panic) => {
            let at = place.get();
            let what = panics::message(panic.as_ref());
            let message = format!(
                "the trainer panicked: {what}; this is a bug in rsna-tui: please report it with \
                 the log in {}",
                job.folder.path().display()
            );
            control.queue.left(FoldState::Failed);
            events.send(Event::Fold(FoldEvent { at, state: FoldState::Failed }));
            events.send(Event::Error(ErrorEvent { at, message, fatal: true }));
            Outcome::Failed
        }
    };
    let at = place.get();
    if let Err(error) = control.saved_all(at) {
        outcome = fail(error);
    }
    if events.dropped() > 0 {
        let n = events.dropped();
        events.log(Level::Info, format!("{n} step events were not drawn: the view was slow"));
    }
    let finished = RunFinished {
        outcome,
        best: control.queue.entries.iter().filter_map(|entry| entry.best.clone()).collect(),
        skipped: found.into_values().flat_map(|f| f.skips.studies).collect(),
    };
    let path = job.folder.report();
    let text = (job.report)(&finished);
    let written = control.persist(at, &path, |_| write_atomically(&path, text.as_bytes()));
    if let Err(error) = written {
        // The run itself does not fail because of its report.
        events.log(Level::Error, error.to_string());
    }
    let state = match outcome {
        Outcome::Completed => RunState::Completed,
        Outcome::Stopped => RunState::Stopped,
        Outcome::Requeued => RunState::Requeued,
        Outcome::Failed => RunState::Failed,
    };
    if let Err(error) = control.ended(at, state) {
        events.log(Level::Error, error.to_string());
    }
    events.send(Event::RunFinished(finished));
    let _ = events.sync();
    outcome
}

fn folds(
    job: &Job,
    faults: Faults,
    plans: &[FoldPlan],
    control: &mut Control,
    found: &mut BTreeMap<usize, Found>,
    previews: &Latest<Preview>,
    place: &Cell<Position>,
) -> Result<Outcome> {
    let config = &job.config;
    let spec = Spec::new(config);
    let events = control.events.clone();
    let first = control.queue.take_next();
    let shown = first.unwrap_or(control.queue.entries[0].fold);
    let at = |fold| Position { fold, epoch: 0, step: 0 };
    place.set(at(shown));
    let network = |control: &Control, fold| {
        Classifier::new(&spec, seed(job, control, fold), fold, DType::F32, &job.device)
    };
    let model = network(control, shown)?;
    events.send(Event::RunStarted(started(job, &spec, &model, plans.to_vec())));
    if let Some(worker) = &job.worker {
        events.send(Event::Worker(worker.clone()));
    }
    let mut ready = Some((shown, model));
    control.tell_queue()?;
    for changed in job.resume.iter().flat_map(|left| &left.changed) {
        events.log(Level::Info, format!("changed since: {changed}"));
    }
    if let Some(why) = &job.no_gpu {
        events.log(Level::Info, format!("training on the CPU: {why}"));
    }
    for entry in control.queue.entries.iter().filter(|entry| entry.state == FoldState::Done) {
        let (fold, epochs) = (entry.fold, entry.epoch);
        events.log(Level::Info, format!("fold {fold}: its {epochs} epochs are done"));
    }
    let (mut failed, mut stopped) = (false, false);
    let mut memory = None;
    let arena = Arena::default();
    let constant = RefCell::default();
    let monitor = Monitor::open(&job.device);
    let mut next = first;
    loop {
        let Some(number) = next else {
            // A worker takes another fold instead of waiting for this one.
            if !control.queue.has_paused() || job.worker.is_some() {
                break;
            }
            if !control.wait_for_fold(place.get())? {
                stopped = true;
                break;
            }
            next = control.queue.take_next();
            continue;
        };
        place.set(at(number));
        let seed = seed(job, control, number);
        let model = match ready.take() {
            Some((fold, model)) if fold == number => model,
            _ => network(control, number)?,
        };
        if !config.model.pretrained.as_os_str().is_empty() {
            weights::fill(&model, &config.model.pretrained, None)?;
        }
        let memory = &*memory.get_or_insert_with(|| Cell::new(memory_plan(job, &spec, &events)));
        let (train, valid) = job.table.split(number);
        let config = Config { seed, ..control.config.clone() };
        let plan =
            plans.iter().find(|plan| plan.fold == number).expect("the queue holds the plans");
        let fold = Fold {
            job,
            config: &config,
            plan,
            train: train.into(),
            valid: valid.into(),
            events: &events,
            previews,
            memory,
            arena: &arena,
            constant: &constant,
            monitor: monitor.as_ref(),
            retrain_seed: (seed != job.config.seed).then_some(seed),
            faults,
        };
        let here = found.entry(number).or_default();
        let left = fold.run(&model, control, place, here);
        if let (Some(entry), Some(best)) = (control.queue.get_mut(number), here.best) {
            entry.best = Some(fold.best(best));
        }
        match left {
            Ok(state) => {
                control.queue.left(state);
                match state {
                    FoldState::Stopped => stopped = true,
                    FoldState::Done => {
                        // Commands that arrived while the last checkpoints were written were meant for
                        // this fold: skipping it makes no sense any more, but its last epoch may be the
                        // one to stop after.
                        let flow = control.check(place.get())?;
                        control.save_with_epoch(place.get())?;
                        let stops = flow == Flow::Leave(FoldState::Stopped);
                        stopped =
                            control.queue.has_waiting() && (stops || control.stop_after_epoch);
                    }
                    // A stop after this fold's epoch does not apply to the next fold.
                    _ => control.stop_after_epoch = false,
                }
            }
            Err(error) => {
                let at = place.get();
                control.queue.left(FoldState::Failed);
                events.send(Event::Fold(FoldEvent { at, state: FoldState::Failed }));
                let (Error::NonFinite { .. } | Error::Diverged(_) | Error::Study(_)) = error else {
                    return Err(error);
                };
                // Only this fold fails; train the others.
                failed = true;
                stopped = control.stop_after_epoch;
                let message = format!("fold {number} failed: {error}");
                events.send(Event::Error(ErrorEvent { at, message, fatal: false }));
            }
        }
        if stopped {
            break;
        }
        next = control.queue.take_next();
        control.tell_queue()?;
    }
    Ok(match (failed, stopped) {
        (true, _) => Outcome::Failed,
        (false, true) if control.requeue => Outcome::Requeued,
        (false, true) => Outcome::Stopped,
        (false, false) => Outcome::Completed,
    })
}

/// Returns the seed of a fold's training.
fn seed(job: &Job, control: &Control, fold: usize) -> u64 {
    control.queue.get(fold).map_or(job.config.seed, |entry| entry.seed)
}

/// The folds that the job trains.
fn plans(job: &Job) -> Vec<FoldPlan> {
    let only = job.worker.as_ref().map(|worker| worker.fold);
    let folds = job.config.train.folds.iter().filter(|&&fold| only.is_none_or(|only| only == fold));
    folds.map(|&fold| plan(job, fold)).collect()
}

/// What a run of `job` announces, before anything is trained.
///
/// Errors: when the network cannot be made.
pub fn announced(job: &Job) -> candle_core::Result<RunStarted> {
    let spec = Spec::new(&job.config);
    let model = Classifier::new(&spec, job.config.seed, 0, DType::F32, &candle_core::Device::Cpu)?;
    Ok(started(job, &spec, &model, plans(job)))
}

fn plan(job: &Job, fold: usize) -> FoldPlan {
    let config = &job.config;
    let (batch, slices) = (config.train.batch_size, config.data.slices_per_vertebra);
    let (train, valid) = job.table.split(fold);
    let targets = valid.chunks(batch).map(|studies| {
        let labels = studies.iter().flat_map(|s| s.labels);
        labels.flat_map(|l| std::iter::repeat_n(f32::from(l), slices)).collect()
    });
    let positive = config.train.positive_weight;
    let images = config.images_per_study();
    FoldPlan {
        fold,
        train_studies: train.len(),
        valid_studies: valid.len(),
        steps: train.len() / batch,
        valid_batches: valid.len().div_ceil(batch),
        baseline: constant_guess(targets, images, prevalence(&train), positive),
    }
}

fn started(job: &Job, spec: &Spec, model: &Classifier, folds: Vec<FoldPlan>) -> RunStarted {
    let config = &job.config;
    RunStarted {
        name: job.folder.name.clone(),
        folder: job.folder.path().display().to_string(),
        device: job.device_name.clone(),
        model: spec.name.into(),
        parameters: model.parameters.count(),
        image_size: config.data.image_size,
        images_per_study: spec.images,
        batch_size: config.train.batch_size,
        epochs: config.train.epochs,
        learning_rates: schedule::learning_rates(&config.train),
        folds,
        seed: config.seed,
        select: config.select.metric,
        resumed: job.resume.is_some(),
    }
}

/// Chooses the memory plan and logs it.
fn memory_plan(job: &Job, spec: &Spec, events: &EventSender) -> memory::Plan {
    let config = &job.config;
    let (plan, free) = memory::Plan::for_device(config, &job.device, job.sharing);
    let (how, free) = (plan.describe(config.train.batch_size * spec.images), free >> 20);
    let memory = match job.device.is_cpu() {
        true => {
            let need = plan.bytes(spec, config.data.image_size) >> 20;
            format!("about {need} MiB of {free} MiB free beside the batches")
        }
        false => format!("{free} MiB of the GPU free"),
    };
    events.log(Level::Info, format!("encoder: {how}, {memory}"));
    plan
}
