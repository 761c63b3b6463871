//! Makes up the events of a run, the same at every call.

use rsna_tui::{
    run::event::*,
    score::{Figure, Scores, TargetScores},
};
use std::sync::Arc;

pub mod studies;

/// Parameters of a made-up run.
pub struct Script {
    pub folds: Vec<usize>,
    pub epochs: usize,
    pub steps: usize,
    pub valid_batches: usize,
    pub step_seconds: f64,
}

impl Default for Script {
    fn default() -> Self {
        Self { folds: vec![0, 1], epochs: 8, steps: 40, valid_batches: 10, step_seconds: 1.5 }
    }
}

/// Returns noise from −1 to 1 by hashing, without a random generator.
pub fn noise(key: u64) -> f64 {
    let mut x = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    x ^= x >> 31;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 29;
    (x % 20_001) as f64 / 10_000.0 - 1.0
}

impl Script {
    pub fn started(&self) -> Event {
        Event::RunStarted(RunStarted {
            name: "cosine-nano".into(),
            folder: "runs/cosine-nano".into(),
            device: "CUDA 0: NVIDIA H100".into(),
            model: "convnext_nano".into(),
            parameters: 15_628_968,
            image_size: 224,
            images_per_study: 105,
            batch_size: 8,
            epochs: self.epochs,
            learning_rates: (1..=self.epochs).map(|e| self.rate(e)).collect(),
            folds: self.folds.iter().map(|&fold| self.plan(fold)).collect(),
            seed: 42,
            select: Default::default(),
            resumed: false,
        })
    }

    fn rate(&self, epoch: usize) -> f64 {
        let t = (epoch - 1) as f64 / self.epochs as f64;
        23e-6 + (23e-5 - 23e-6) * (1.0 + (std::f64::consts::PI * t).cos()) / 2.0
    }

    fn plan(&self, fold: usize) -> FoldPlan {
        FoldPlan {
            fold,
            train_studies: 8 * self.steps,
            valid_studies: 8 * self.valid_batches - 3,
            steps: self.steps,
            valid_batches: self.valid_batches,
            baseline: 0.6123 + 0.01 * fold as f64,
        }
    }

    fn train_loss(&self, at: Position) -> f64 {
        let t = (at.epoch - 1) as f64 + at.step as f64 / self.steps as f64;
        let key = (at.fold * 1_000_000 + at.epoch * 1000 + at.step) as u64;
        let spike = if (at.epoch, at.step) == (2, 11) { 2.5 } else { 0.0 };
        0.32 + 0.5 * (-t / 1.6).exp() + 0.09 * noise(key) + spike
    }

    fn valid_loss(&self, fold: usize, epoch: usize) -> f64 {
        let t = epoch as f64;
        0.36 + 0.012 * fold as f64
            + 0.42 * (-t / 1.4).exp()
            + 0.025 * noise((fold * 100 + epoch) as u64)
            + 0.004 * t
    }

    pub fn step(&self, at: Position) -> Event {
        let loss = self.train_loss(at);
        Event::Step(Step {
            at,
            steps: self.steps,
            loss,
            slice_loss: 0.9 * loss,
            study_loss: 1.1 * loss,
            vertebra_loss: std::array::from_fn(|i| {
                loss * (0.6 + 0.1 * i as f64 + 0.05 * noise((at.step * 7 + i) as u64))
            }),
            grad_norm: 1.0 + 0.3 * noise(at.step as u64),
            learning_rate: self.rate(at.epoch),
            mixup: at.step.is_multiple_of(2).then_some(0.4),
            images: 840,
            data_seconds: 0.1 * self.step_seconds,
            compute_seconds: 0.9 * self.step_seconds,
            ..Step::default()
        })
    }

    pub fn valid_step(&self, at: Position) -> Event {
        Event::ValidStep(ValidStep {
            at,
            batches: self.valid_batches,
            loss: self.valid_loss(at.fold, at.epoch) + 0.1 * noise(at.step as u64) / at.step as f64,
            images: 840,
            seconds: 0.4 * self.step_seconds,
            data_seconds: 0.02 * self.step_seconds,
        })
    }

    /// Makes scores that fit a validation loss; one vertebra has no fracture.
    fn scores(&self, loss: f64) -> Scores {
        let figure = |value: f64| Figure { value, interval: Some((value - 0.03, value + 0.02)) };
        let target = |t: usize| {
            let both = t != 3;
            let good = 0.95 - 0.3 * loss - 0.01 * t as f64;
            TargetScores {
                positives: if both { 4 + t } else { 0 },
                log_loss: figure(loss * (0.5 + 0.05 * t as f64)),
                auc: both.then(|| figure(good)),
                average_precision: both.then(|| figure(good - 0.2)),
                sensitivity: both.then(|| figure(good - 0.1)),
                ece: figure(0.05 + 0.01 * t as f64),
            }
        };
        let competition = figure(0.9 * loss);
        Scores { studies: 80, competition, targets: std::array::from_fn(target) }
    }

    pub fn epoch(&self, fold: usize, epoch: usize) -> Event {
        let metric = self.valid_loss(fold, epoch);
        let before = (1..epoch).map(|e| self.valid_loss(fold, e)).fold(f64::INFINITY, f64::min);
        let done = Epoch {
            at: Position { fold, epoch, step: self.steps },
            learning_rate: self.rate(epoch),
            train_loss: self.train_loss(Position { fold, epoch, step: self.steps / 2 }),
            train_slice_loss: 0.41,
            train_study_loss: 0.48,
            valid_loss: metric,
            valid_slice_loss: 0.95 * metric,
            valid_study_loss: 1.05 * metric,
            valid_vertebra_loss: std::array::from_fn(|i| {
                (i != 3 || epoch > 1).then_some(metric * (0.7 + 0.09 * i as f64))
            }),
            slice_auc: Some(0.9 - 0.4 * metric),
            study_auc: (epoch > 1).then_some(0.88 - 0.4 * metric),
            metric,
            best_metric: metric.min(before),
            scores: Some(self.scores(metric).into()),
            train_seconds: self.steps as f64 * self.step_seconds,
            valid_seconds: 0.4 * self.valid_batches as f64 * self.step_seconds,
            valid_batches: self.valid_batches,
            ..Epoch::default()
        };
        Event::Epoch(Epoch { is_best: metric < before, ..done })
    }

    /// Returns the events up to `until` (its step done), or all including the end of the run.
    pub fn events(&self, until: Option<Position>) -> Vec<Stamped> {
        let mut out = Recorder { now: 0.0, events: Vec::new() };
        out.tell(0.2, self.started());
        for &fold in &self.folds {
            let start = Position { fold, epoch: 0, step: 0 };
            out.tell(0.1, Event::Fold(FoldEvent { at: start, state: FoldState::Training }));
            for epoch in 1..=self.epochs {
                if self.run_epoch(&mut out, fold, epoch, until) {
                    return out.events;
                }
            }
            let end = Position { fold, epoch: self.epochs, step: self.steps };
            out.tell(0.1, Event::Fold(FoldEvent { at: end, state: FoldState::Done }));
        }
        out.tell(0.1, self.finished(Outcome::Completed));
        out.events
    }

    fn run_epoch(
        &self,
        out: &mut Recorder,
        fold: usize,
        epoch: usize,
        until: Option<Position>,
    ) -> bool {
        let at = Position { fold, epoch, step: 0 };
        out.tell(0.1, Event::EpochStarted(EpochStarted { at, learning_rate: self.rate(epoch) }));
        for step in 1..=self.steps {
            let at = Position { step, ..at };
            out.tell(self.step_seconds, self.step(at));
            if step % 10 == 1 {
                out.tell(0.0, preview(at));
            }
            if until == Some(at) {
                return true;
            }
        }
        out.tell(
            0.0,
            Event::Fold(FoldEvent {
                at: Position { step: self.steps, ..at },
                state: FoldState::Validating,
            }),
        );
        for step in 1..=self.valid_batches {
            out.tell(0.4 * self.step_seconds, self.valid_step(Position { step, ..at }));
        }
        let event = self.epoch(fold, epoch);
        let is_best = matches!(&event, Event::Epoch(e) if e.is_best);
        out.tell(0.0, event);
        out.tell(0.0, studies::worst(Position { step: self.steps, ..at }));
        for (kind, name, save) in
            [(CheckpointKind::Best, "best", is_best), (CheckpointKind::Last, "last", true)]
        {
            if save {
                out.tell(
                    0.3,
                    Event::Checkpoint(Checkpoint {
                        at: Position { step: self.steps, ..at },
                        kind,
                        path: format!("runs/cosine-nano/checkpoints/fold{fold}_{name}.safetensors"),
                        seconds: 0.3,
                    }),
                );
            }
        }
        false
    }

    pub fn finished(&self, outcome: Outcome) -> Event {
        let best = |&fold: &usize| {
            let epoch = (1..=self.epochs)
                .min_by(|&a, &b| self.valid_loss(fold, a).total_cmp(&self.valid_loss(fold, b)))
                .unwrap_or(1);
            FoldBest {
                fold,
                metric: self.valid_loss(fold, epoch),
                epoch,
                valid_loss: None,
                slice_auc: Some(0.9 - 0.4 * self.valid_loss(fold, epoch)),
                baseline: self.plan(fold).baseline,
                path: format!("runs/cosine-nano/checkpoints/fold{fold}_best.safetensors"),
            }
        };
        let best = self.folds.iter().map(best).collect();
        Event::RunFinished(RunFinished { outcome, best, skipped: Vec::new() })
    }
}

struct Recorder {
    now: f64,
    events: Vec<Stamped>,
}

impl Recorder {
    fn tell(&mut self, seconds: f64, event: Event) {
        self.now += seconds;
        self.events.push(Stamped::new(self.now, event));
    }
}

/// Makes four crops: a ring of bone with a body and its mask, flipped by augmentation.
pub fn preview(at: Position) -> Event {
    let crop = |i: usize| Crop {
        study: studies::uid(i),
        vertebra: studies::vertebra(i),
        slice: 3 + i as u8,
        label: (i % 2) as f32,
        probability: 0.18 + 0.2 * i as f32,
        height: 96,
        width: 96,
        seen: neck(|x, y| (x, y)),
        raw: Some(neck(|x, y| (x, -y))),
    };
    let predictions = (0..4).map(studies::prediction).collect();
    Event::Preview(Preview { at, crops: (0..4).map(crop).collect(), predictions })
}

/// Draws a ring with a body above it; `turn` maps a pixel to its origin.
pub fn neck(turn: impl Fn(f64, f64) -> (f64, f64)) -> Picture {
    let pixel = |x: f64, y: f64| {
        let body = x * x + (y + 0.35) * (y + 0.35) < 0.16;
        let r = (x * x + (y - 0.25) * (y - 0.25)).sqrt();
        let ring = (0.28..0.45).contains(&r);
        let texture = 20.0 * noise((x * 4000.0) as i64 as u64 ^ (y * 9000.0) as i64 as u64);
        (if body || ring { 210.0 } else { 70.0 }) + texture
    };
    let mask = |x: f64, y: f64| if x * x + y * y < 0.5 { 255.0 } else { 0.0 };
    let turned = |value: &dyn Fn(f64, f64) -> f64| {
        draw(|x, y| {
            let (x, y) = turn(x, y);
            value(x, y)
        })
    };
    Picture { pixels: turned(&pixel), mask: turned(&mask) }
}

fn draw(value: impl Fn(f64, f64) -> f64) -> Arc<[u8]> {
    let unit = |i: usize| i as f64 / 48.0 - 1.0;
    (0..96 * 96).map(|i| value(unit(i % 96), unit(i / 96)).clamp(0.0, 255.0) as u8).collect()
}
