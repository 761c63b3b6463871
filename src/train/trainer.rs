//! The trainer thread: the folds, one after the other.

use super::{
    Error, Result,
    control::{Control, Flow},
    fold::{End, Fold, Found},
    loss::constant_guess,
    memory, schedule,
};
use crate::{
    config::Config,
    device::Monitor,
    net::{Classifier, Spec, encoder::Arena, weights},
    panics,
    run::{
        Command, Event,
        channel::{EventSender, Line, channel},
        event::{
            ErrorEvent, FoldEvent, FoldPlan, FoldState, Level, Outcome, Position, RunFinished,
            RunStarted,
        },
        folder::{Folder, write_atomically},
    },
    study::{Source, Table, prevalence},
};
use candle_core::{DType, Device};
use crossbeam_channel::Receiver;
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

/// All that a run needs.
pub struct Job {
    /// The resolved configuration.
    pub config: Config,
    /// The studies.
    pub table: Table,
    /// Where slices come from.
    pub source: Arc<dyn Source>,
    /// Where files go.
    pub folder: Folder,
    /// Where it computes.
    pub device: Device,
    /// The device in words.
    pub device_name: String,
    /// Why it is the CPU where a GPU was welcome.
    pub no_gpu: Option<String>,
    /// Go on from each fold's `last`, where there is one.
    pub resume: bool,
    /// The notebook's DEBUG.
    pub debug: bool,
    /// The time of the log, as `time.ctime()`.
    pub clock: fn() -> String,
    /// The text of `report.txt`.
    pub report: fn(&RunFinished) -> String,
    /// For the tests: panic at this step of a fold, from 1.
    pub panic_at_step: Option<usize>,
}

/// Local time as C's `ctime`: `Sun Sep 25 13:05:11 2022`.
pub fn ctime() -> String {
    jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// Starts the trainer thread. It ends by itself; its last event is `RunFinished`.
pub fn spawn(job: Job) -> std::io::Result<(Line, JoinHandle<Outcome>)> {
    let (events, commands, line) = channel();
    let thread = std::thread::Builder::new()
        .name("trainer".into())
        .spawn(move || run(&job, &events, commands))?;
    Ok((line, thread))
}

fn run(job: &Job, events: &EventSender, commands: Receiver<Command>) -> Outcome {
    let mut found = Vec::new();
    let place = Cell::new(Position::default());
    let folds = AssertUnwindSafe(|| folds(job, events, commands, &mut found, &place));
    let outcome = match catch_unwind(folds) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => {
            let (at, message) = (place.get(), error.to_string());
            events.send(Event::Error(ErrorEvent { at, message, fatal: true }));
            Outcome::Failed
        }
        Err(panic) => {
            let at = place.get();
            let what = panics::message(panic.as_ref());
            let message = format!(
                "the trainer panicked: {what}; this is a bug in rsna-tui: please report it with \
                 the log in {}",
                job.folder.path().display()
            );
            events.send(Event::Fold(FoldEvent { at, state: FoldState::Failed }));
            events.send(Event::Error(ErrorEvent { at, message, fatal: true }));
            Outcome::Failed
        }
    };
    if events.dropped() > 0 {
        let n = events.dropped();
        events.log(Level::Info, format!("{n} step events were not drawn: the view was slow"));
    }
    let (best, skips): (Vec<_>, Vec<_>) = found.into_iter().map(|f| (f.best, f.skips)).unzip();
    let finished = RunFinished {
        outcome,
        best: best.into_iter().flatten().collect(),
        skipped: skips.into_iter().flat_map(|s| s.studies).collect(),
    };
    let path = job.folder.report();
    if let Err(source) = write_atomically(&path, (job.report)(&finished).as_bytes()) {
        // The run itself is what it is.
        events.log(Level::Error, Error::Write { path, source }.to_string());
    }
    events.send(Event::RunFinished(finished));
    outcome
}

fn folds(
    job: &Job,
    events: &EventSender,
    commands: Receiver<Command>,
    found: &mut Vec<Found>,
    place: &Cell<Position>,
) -> Result<Outcome> {
    let config = &job.config;
    let spec = Spec::new(config);
    let plans: Vec<FoldPlan> = config.train.folds.iter().map(|&f| plan(job, f)).collect();
    let mut control = Control::new(commands, events.clone());
    let (mut failed, mut stopped) = (false, false);
    let mut memory = None;
    let arena = Arena::default();
    let monitor = Monitor::open(&job.device);
    for (i, plan) in plans.iter().enumerate() {
        place.set(Position { fold: plan.fold, epoch: 0, step: 0 });
        let model = Classifier::new(&spec, config.seed, plan.fold, DType::F32, &job.device)?;
        if i == 0 {
            events.send(Event::RunStarted(started(job, &spec, &model, plans.clone())));
            if let Some(why) = &job.no_gpu {
                events.log(Level::Info, format!("training on the CPU: {why}"));
            }
        }
        if !config.model.pretrained.as_os_str().is_empty() {
            weights::load_timm(&model, &config.model.pretrained)?;
        }
        let memory = &*memory.get_or_insert_with(|| Cell::new(memory_plan(job, &spec, events)));
        let (train, valid) = job.table.split(plan.fold);
        let fold = Fold {
            config,
            plan,
            source: job.source.clone(),
            train: train.into(),
            valid: valid.into(),
            folder: &job.folder,
            events,
            device: &job.device,
            memory,
            arena: &arena,
            monitor: monitor.as_ref(),
            resume: job.resume,
            debug: job.debug,
            clock: job.clock,
            panic_at_step: job.panic_at_step,
        };
        found.push(Found::default());
        let here = found.last_mut().expect("just pushed");
        let ended = fold.run(&model, &mut control, place, here);
        let last = i + 1 == plans.len();
        match ended {
            Ok(End::Stopped) => stopped = true,
            Ok(End::Done) => {
                // What was asked while the last checkpoints were written was meant for this fold:
                // to skip it has no sense any more, its last epoch may be the one to stop after.
                let flow = control.check(place.get());
                stopped = !last && (flow == Flow::StopNow || control.stop_after_epoch);
            }
            // Skipping goes on with the next fold, whatever was asked of this one.
            Ok(End::Skipped) => control.stop_after_epoch = false,
            // This fold's trouble; the others may do.
            Err(error @ (Error::NonFinite { .. } | Error::Study(_))) => {
                failed = true;
                stopped = control.stop_after_epoch;
                events.send(Event::Fold(FoldEvent { at: place.get(), state: FoldState::Failed }));
                let message = format!("fold {} failed: {error}", plan.fold);
                events.send(Event::Error(ErrorEvent { at: place.get(), message, fatal: false }));
            }
            Err(error) => {
                events.send(Event::Fold(FoldEvent { at: place.get(), state: FoldState::Failed }));
                return Err(error);
            }
        }
        if stopped {
            break;
        }
    }
    Ok(match (failed, stopped) {
        (true, _) => Outcome::Failed,
        (false, true) => Outcome::Stopped,
        (false, false) => Outcome::Completed,
    })
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
    }
}

/// What a step keeps in memory, said in the log.
fn memory_plan(job: &Job, spec: &Spec, events: &EventSender) -> memory::Plan {
    let config = &job.config;
    let (plan, free) = memory::Plan::for_device(config, &job.device);
    let (how, free) = (plan.told(config.train.batch_size * spec.images), free >> 20);
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
