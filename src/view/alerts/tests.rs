use super::*;
use crate::run::event::{Event, FoldEvent, FoldPlan, FoldState, LeftOut, Stamped, Step};
use crate::run::journal::Journal;
use crate::view::State;

const STEPS: usize = 100;
const EPOCHS: usize = 60;

/// Hashes `key` to a uniform value from 0 to 1.
fn uniform(key: u64) -> f64 {
    let mut x = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    x ^= x >> 31;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 29;
    (x % 1_000_003) as f64 / 1_000_003.0
}

/// Standard normal value (Box–Muller).
fn normal(key: u64) -> f64 {
    let (u, v) = (uniform(2 * key).max(1e-9), uniform(2 * key + 1));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// A synthetic run.
struct Run {
    state: State,
    /// Steps done in fold 0.
    done: usize,
    events: Vec<Stamped>,
}

impl Run {
    fn new() -> Self {
        let plan = RunStarted {
            name: "r".into(),
            folder: "runs/r".into(),
            device: "CPU".into(),
            model: "m".into(),
            parameters: 15_000_000,
            image_size: 64,
            images_per_study: 105,
            batch_size: 4,
            epochs: EPOCHS,
            learning_rates: vec![1e-3; EPOCHS],
            folds: [0, 1].map(Self::plan).into(),
            seed: 0,
            select: Default::default(),
            resumed: false,
        };
        let mut run = Self { state: State::default(), done: 0, events: Vec::new() };
        run.tell(Event::RunStarted(plan));
        run
    }

    fn plan(fold: usize) -> FoldPlan {
        FoldPlan {
            fold,
            train_studies: 4 * STEPS,
            valid_studies: 40,
            steps: STEPS,
            valid_batches: 10,
            baseline: 0.6,
        }
    }

    fn tell(&mut self, event: Event) {
        let stamped = Stamped::new(self.state.at + 1.0, event);
        self.state.apply(&stamped);
        self.events.push(stamped);
    }

    fn at(&self) -> Position {
        let epoch = self.done.saturating_sub(1) / STEPS + 1;
        Position { fold: 0, epoch, step: self.done - (epoch - 1) * STEPS }
    }

    fn step(&mut self, change: impl Fn(&mut Step)) {
        self.done += 1;
        let mut step = Step {
            at: self.at(),
            steps: STEPS,
            loss: 0.5,
            slice_loss: 0.5,
            study_loss: 0.5,
            vertebra_loss: [0.5; 7],
            grad_norm: 1.0,
            learning_rate: 1e-3,
            images: 420,
            compute_seconds: 1.0,
            ..Step::default()
        };
        change(&mut step);
        self.tell(Event::Step(step));
    }

    fn losses(&mut self, losses: impl IntoIterator<Item = f64>) {
        losses.into_iter().for_each(|loss| self.step(|step| step.loss = loss));
    }

    /// Adds epochs, given the unmixed training loss and the validation loss of each.
    fn epochs(&mut self, losses: impl IntoIterator<Item = (f64, f64)>) {
        let mut best_metric = f64::INFINITY;
        for (i, (train, valid)) in losses.into_iter().enumerate() {
            let is_best = valid < best_metric;
            best_metric = valid.min(best_metric);
            self.tell(Event::Epoch(Epoch {
                at: Position { fold: 0, epoch: i + 1, step: STEPS },
                learning_rate: 1e-3,
                train_loss: 1.3 * train,
                train_slice_loss: 0.9 * train,
                train_study_loss: 1.1 * train,
                valid_loss: valid,
                valid_slice_loss: 0.8 * valid,
                valid_study_loss: 1.2 * valid,
                metric: valid,
                best_metric,
                is_best,
                train_seconds: 1.0,
                valid_seconds: 1.0,
                valid_batches: 10,
                ..Epoch::default()
            }));
        }
    }

    fn system(&mut self, free: u64) {
        self.tell(Event::System(System {
            cpu: 50.0,
            process_cpu: 100.0,
            resident: 1,
            memory_used: 1,
            memory_total: 2,
            disk_free: Some(free),
            disk_total: Some(1 << 40),
            ..System::default()
        }));
    }

    fn gpu(&mut self, degrees: u32, throttled: &str) {
        let throttled = Some(throttled.into()).filter(|t: &String| !t.is_empty());
        let (memory_used, memory_total) = (1, 2);
        let (utilisation, temperature, watts) = (None, Some(degrees), None);
        let gpu = Gpu { memory_used, memory_total, utilisation, temperature, watts, throttled };
        self.tell(Event::Gpu(gpu));
    }

    fn standing(&self) -> Vec<Kind> {
        self.state.alerts.standing().iter().map(|alert| alert.kind).collect()
    }

    /// Kinds whose condition holds, acknowledged or not.
    fn holding(&self) -> Vec<Kind> {
        let list = &self.state.alerts.list;
        list.iter().filter(|alert| alert.until.is_none()).map(|alert| alert.kind).collect()
    }

    fn text(&self, kind: Kind) -> &str {
        let list = &self.state.alerts.list;
        list.iter().find(|alert| alert.kind == kind).map_or("", |alert| &*alert.text)
    }
}

#[test]
fn a_loss_that_is_not_finite_is_an_alert_until_it_was_finite_for_long() {
    let mut run = Run::new();
    run.losses([0.5, f64::NAN, 0.5, f64::INFINITY]);
    assert_eq!(run.standing(), [Kind::NotFinite]);
    assert_eq!(run.state.alerts.raised(), 1);
    let text = "2 losses are not finite, the last at fold 0 epoch 1 step 4";
    assert_eq!(run.text(Kind::NotFinite), text);
    assert_eq!(run.state.log.iter().filter(|line| line.level == Level::Error).count(), 1);
    run.losses([0.5; 49]);
    assert_eq!(run.holding(), [Kind::NotFinite]);
    run.losses([0.5]);
    assert!(run.holding().is_empty());
    assert_eq!(run.standing(), [Kind::NotFinite], "it has ended and was not seen");
    assert!(run.state.alarm().is_some_and(|a| a.text.contains("since 3s until 55s")));
    assert!(run.state.alerts.acknowledge());
    assert!(run.standing().is_empty() && !run.state.alerts.acknowledge());
    run.losses([f64::NAN]);
    assert_eq!((run.standing(), run.state.alerts.raised()), (vec![Kind::NotFinite], 2));
}

#[test]
fn a_batch_that_is_left_out_is_an_alert_and_a_few_skipped_steps_are_none() {
    let mut run = Run::new();
    let (at, what) = (Position { fold: 0, epoch: 1, step: 3 }, "the loss".to_string());
    run.tell(Event::LeftOut(LeftOut { at, what, studies: vec!["1.2".into()] }));
    let text =
        "1 batch left out: a loss or gradient is not finite, the last after fold 0 epoch 1 step 3";
    assert_eq!(run.text(Kind::NotFinite), text);

    let mut run = Run::new();
    for _ in 0..7 {
        run.step(|step| (step.grad_norm, step.skipped) = (f64::INFINITY, true));
    }
    run.step(|_| {});
    assert!(run.standing().is_empty());
    for _ in 0..9 {
        run.step(|step| (step.grad_norm, step.skipped) = (f64::INFINITY, true));
    }
    assert!(run.text(Kind::NotFinite).starts_with("the gradient of 9 steps in a row"));
    assert_eq!(run.state.alerts.raised(), 1);
}

#[test]
fn a_loss_that_grows_diverges_and_comes_back() {
    let mut run = Run::new();
    let learning = |i: usize| 0.3 + 0.4 * (-(i as f64) / 100.0).exp() + 0.05 * normal(i as u64);
    run.losses((0..600).map(learning));
    assert!(run.standing().is_empty());
    run.losses((0..300).map(|i| 0.3 + 0.004 * f64::from(i)));
    assert_eq!(run.standing(), [Kind::Diverging]);
    assert!(run.text(Kind::Diverging).contains("diverges"), "{}", run.text(Kind::Diverging));
    assert!(run.state.alerts.acknowledge());
    run.losses([1.2; 200]);
    assert!(run.standing().is_empty(), "it was seen, and has not ended");
    run.losses([0.3; 400]);
    assert!(run.holding().is_empty());
    run.losses([1.5; 200]);
    assert_eq!((run.standing(), run.state.alerts.raised()), (vec![Kind::Diverging], 2));
}

#[test]
fn a_loss_that_was_bad_from_the_start_diverges() {
    let mut run = Run::new();
    run.losses([5.0; 150]);
    assert_eq!(run.standing(), [Kind::Diverging]);
    assert!(run.text(Kind::Diverging).contains("twice a constant guess's is 1.2000"));
}

/// Flat, slowly falling, near zero with a heavy tail, and with single spikes, over many seeds.
#[test]
fn noise_does_not_diverge() {
    type Curve = fn(u64, u64) -> f64;
    let curves: [(&str, Curve); 5] = [
        ("never learns", |_, key| 0.65 + 0.25 * normal(key)),
        ("learns", |i, key| 0.25 + 0.5 * (-(i as f64) / 800.0).exp() + 0.15 * normal(key)),
        ("heavy tail", |i, key| {
            (0.02 + 0.7 * (-(i as f64) / 500.0).exp()) * (0.9 * normal(key)).exp()
        }),
        ("spikes", |i, key| if i % 97 == 0 { 6.0 } else { 0.4 + 0.1 * normal(key) }),
        ("starts high", |i, key| 0.4 + 8.0 * (-(i as f64) / 30.0).exp() + 0.1 * normal(key)),
    ];
    for (name, curve) in curves {
        for seed in 0..20 {
            let mut run = Run::new();
            run.losses((0..3000).map(|i| curve(i, seed * 1_000_000 + i).abs()));
            assert!(run.state.alerts.raised() == 0, "{name}, seed {seed}: {:?}", run.standing());
        }
    }
}

#[test]
fn no_new_best_for_long_is_a_plateau() {
    let mut run = Run::new();
    // A fifth of 60 epochs is 12.
    run.epochs((0..13).map(|i| (0.5, if i == 1 { 0.4 } else { 0.45 })));
    assert!(run.standing().is_empty());
    let mut run = Run::new();
    run.epochs((0..15).map(|i| (0.5, if i == 1 { 0.4 } else { 0.45 })));
    assert_eq!(run.standing(), [Kind::Plateau]);
    let text = "no new best of fold 0 in 13 epochs: the best is epoch 2, valid loss 0.4000";
    assert_eq!(run.text(Kind::Plateau), text);
    let mut run = Run::new();
    run.epochs((0..15).map(|i| (0.5, if i == 1 { 0.4 } else { 0.45 })).chain([(0.5, 0.39)]));
    assert!(run.holding().is_empty());
    assert_eq!(run.standing(), [Kind::Plateau], "it stands until it is seen");
}

#[test]
fn validation_that_rises_while_training_falls_overfits() {
    let fitting = |e: f64| 0.3 + 0.4 * (-e / 6.0).exp();
    let noise = |e: f64| 0.008 * normal(e as u64 + 77);
    let rising = |e: f64| fitting(e.min(15.0)) + 0.012 * (e - 15.0).max(0.0) + noise(e);
    let falling = |e: f64| 0.35 + 0.3 * (-e / 10.0).exp();
    let epochs = (1..=40).map(f64::from);
    let mut run = Run::new();
    run.epochs(epochs.clone().map(|e| (falling(e), rising(e))));
    assert!(run.holding().contains(&Kind::Overfitting), "{:?}", run.standing());
    let text = run.text(Kind::Overfitting);
    assert!(text.contains("fold 0 overfits: since epoch") && text.contains("unmixed"), "{text}");
    // Both rise, which is not overfitting.
    let mut run = Run::new();
    run.epochs(epochs.map(|e| (0.4 + 0.01 * e, rising(e))));
    assert!(!run.standing().contains(&Kind::Overfitting));
}

#[test]
fn noise_does_not_overfit() {
    let mut raised = 0;
    for seed in 0..200u64 {
        for noise in [0.02, 0.05, 0.15] {
            let mut run = Run::new();
            run.epochs((1..=60).map(|e| {
                let t = f64::from(e);
                let (a, b) = (normal(seed * 1000 + e as u64), normal(seed * 7000 + e as u64));
                let valid = (0.35 + 0.3 * (-t / 8.0).exp()) * (1.0 + noise * a);
                (0.4 + 0.3 * (-t / 15.0).exp() + 0.01 * b, valid)
            }));
            let list = &run.state.alerts.list;
            raised += usize::from(list.iter().any(|alert| alert.kind == Kind::Overfitting));
        }
    }
    println!("{raised} of 600 healthy folds");
    assert!(raised <= 3, "{raised} of 600 healthy folds");
}

#[test]
fn waiting_for_data_is_starving_once_it_lasts() {
    let mut run = Run::new();
    let waits = |seconds: f64| move |step: &mut Step| step.data_seconds = seconds;
    (0..10).for_each(|_| run.step(waits(30.0)));
    (0..60).for_each(|_| run.step(waits(0.05)));
    assert!(run.standing().is_empty(), "a start is slow");
    (0..60).for_each(|_| run.step(waits(0.4)));
    assert_eq!(run.standing(), [Kind::Starving]);
    assert!(run.text(Kind::Starving).starts_with("29% of the last 50 steps'"));
    (0..60).for_each(|_| run.step(waits(0.2)));
    assert_eq!(run.holding(), [Kind::Starving], "17 % is between");
    (0..60).for_each(|_| run.step(waits(0.05)));
    assert!(run.holding().is_empty());
}

#[test]
fn a_disk_that_fills_is_told_before_it_is_full() {
    let gib = 1 << 30;
    let mut run = Run::new();
    run.system(3 * gib);
    assert!(run.standing().is_empty());
    run.system(2 * gib - 1);
    run.system(gib);
    assert_eq!((run.standing(), run.state.alerts.raised()), (vec![Kind::DiskLow], 1));
    assert!(run.text(Kind::DiskLow).starts_with("1.0 GiB free on the disk of runs/r, and 2.0"));
    run.system(9 * gib / 4);
    assert_eq!(run.holding(), [Kind::DiskLow]);
    run.system(3 * gib);
    assert!(run.holding().is_empty());
}

#[test]
fn a_gpu_is_hot_or_slowed_by_heat_and_a_power_cap_is_its_normal_life() {
    let mut run = Run::new();
    [88, 88, 80, 88, 88].into_iter().for_each(|degrees| run.gpu(degrees, "power cap"));
    assert!(run.standing().is_empty());
    run.gpu(89, "");
    assert_eq!(run.standing(), [Kind::GpuHot]);
    assert_eq!(run.text(Kind::GpuHot), "the GPU is at 89°C");
    [85; 9].into_iter().for_each(|degrees| run.gpu(degrees, ""));
    assert_eq!(run.holding(), [Kind::GpuHot]);
    [82; 3].into_iter().for_each(|degrees| run.gpu(degrees, "thermal, power cap"));
    assert_eq!(run.holding(), [Kind::GpuThrottled]);
    assert_eq!(run.standing(), [Kind::GpuThrottled, Kind::GpuHot], "the gravest first");
    let text = run.text(Kind::GpuThrottled);
    assert_eq!(text, "the GPU lowers its clocks: thermal, power cap, at 82°C");
    [60; 15].into_iter().for_each(|degrees| run.gpu(degrees, ""));
    assert!(run.holding().is_empty());
}

#[test]
fn another_fold_ends_what_was_of_the_one_before() {
    let mut run = Run::new();
    run.losses([0.4; 100]);
    run.losses([2.0; 200]);
    assert_eq!(run.holding(), [Kind::Diverging]);
    let at = Position { fold: 1, epoch: 1, step: 0 };
    run.tell(Event::Fold(FoldEvent { at, state: FoldState::Training }));
    run.step(|step| step.at = Position { fold: 1, epoch: 1, step: 1 });
    assert!(run.holding().is_empty());
    run.state.alerts.settle();
    assert!(run.standing().is_empty(), "who comes now need not know");
}

#[test]
fn a_journal_gives_what_was_heard_but_what_is_past() {
    let mut run = Run::new();
    run.losses([0.4; 100]);
    run.losses([f64::NAN]);
    for i in 0..150 {
        run.step(|step| (step.loss, step.data_seconds) = (1.0 + 0.01 * f64::from(i), 0.5));
        run.gpu(90, "");
    }
    run.system(5 << 20);
    assert_eq!(run.standing().len(), 5, "{:?}", run.standing());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let mut journal = Journal::open(&path).unwrap();
    run.events.iter().for_each(|stamped| journal.append(stamped).unwrap());
    let (read, strange) = State::of_journal(&path, None).unwrap();
    assert_eq!((strange, read.at), (0, run.state.at));
    run.state.alerts.settle();
    assert_eq!(read.alerts, run.state.alerts);
    assert_eq!(read.alerts.standing().len(), 4, "the losses are finite again");
    assert_eq!(read.history, run.state.history);
    assert_eq!((read.system, read.gpu), (run.state.system, run.state.gpu));
}
