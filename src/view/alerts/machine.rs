//! Rules about the machine.

use super::gate::{Gate, Reading};
use crate::run::event::{Gpu, RunStarted, Step, System};
use crate::view::{format, recent::Recent};

/// Steps over which the share of data waiting is measured, and the interval in steps between
/// checks.
const WINDOW: usize = 50;
const LOOK_EVERY: u64 = 10;
/// Steps ignored after a start.
const WARM_UP: u64 = 10;
/// Share of step time spent waiting for data: the alert begins above the first and ends below the
/// second.
const STARVES: f64 = 0.2;
const FEEDS: f64 = 0.1;
/// Minimum free disk space, bytes.
const FREE: u64 = 2 << 30;
/// Most that the end of an epoch writes: `best`'s weights, and `last`'s weights and two moments,
/// all f32.
const BYTES_A_PARAMETER: u64 = 16;
/// Multiple of an epoch's writes that must be free.
const WRITES: u64 = 3;
/// Multiple of the limit at which a low disk alert ends.
const ENOUGH: f64 = 1.25;
/// GPU temperature in °C: the alert begins at the first and ends at or below the second.
const HOT: u32 = 87;
const COOL: u32 = 82;
/// Consecutive GPU readings that begin an alert, and readings without throttling that end one.
const READINGS: u32 = 3;
const UNTHROTTLED: u32 = 15;
/// Throttle reasons that raise an alert.
const TROUBLE: [&str; 3] = ["thermal", "power brake", "hardware slowdown"];

/// State of the rules about the machine.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Machine {
    /// The run's folder.
    folder: String,
    /// Minimum free disk space, bytes.
    floor: u64,
    steps: u64,
    data: Recent,
    compute: Recent,
    starving: Gate,
    /// The newest description of that condition, if it holds.
    starves: Option<String>,
    disk: Gate,
    hot: Gate,
    slowed: Gate,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            folder: "the run".into(),
            floor: FREE,
            steps: 0,
            data: Recent::new(WINDOW),
            compute: Recent::new(WINDOW),
            starving: Gate::default(),
            starves: None,
            disk: Gate::default(),
            hot: Gate::default(),
            slowed: Gate::default(),
        }
    }
}

impl Machine {
    /// Resets the rules for a new process.
    pub(super) fn start(&mut self, plan: &RunStarted) {
        let written = BYTES_A_PARAMETER.saturating_mul(plan.parameters as u64);
        let floor = FREE.max(written.saturating_mul(WRITES));
        *self = Self { folder: format::brief(&plan.folder), floor, ..Self::default() };
    }

    /// Takes in a step's timings.
    pub(super) fn pace(&mut self, step: &Step) -> Option<String> {
        self.steps += 1;
        if self.steps > WARM_UP {
            self.data.add(step.data_seconds);
            self.compute.add(step.compute_seconds);
        }
        if self.steps.is_multiple_of(LOOK_EVERY) && self.steps >= WARM_UP + WINDOW as u64 {
            let data = self.data.sum();
            let share = data / (data + self.compute.sum());
            let starving = self.starving.read(Reading::of(share, STARVES, FEEDS), 1, 1);
            self.starves = starving.then(|| {
                format!(
                    "{} of the last {WINDOW} steps' time was spent waiting for data: raise \
                     data.workers, or put data.dir on a faster disk",
                    format::share(share)
                )
            });
        }
        self.starves.clone()
    }

    pub(super) fn disk(&mut self, system: &System) -> Option<String> {
        let free = system.disk_free?;
        let floor = self.floor as f64;
        let reading = match free as f64 {
            free if free < floor => Reading::Bad,
            free if free >= ENOUGH * floor => Reading::Good,
            _ => Reading::Between,
        };
        if !self.disk.read(reading, 1, 1) {
            return None;
        }
        let gib = |bytes: f64| bytes / f64::from(1 << 30);
        Some(format!(
            "{:.1} GiB free on the disk of {}, and {:.1} should be: training holds once it is full",
            gib(free as f64),
            self.folder,
            gib(floor)
        ))
    }

    pub(super) fn temperature(&mut self, gpu: &Gpu) -> Option<String> {
        let degrees = gpu.temperature?;
        let reading = match degrees {
            HOT.. => Reading::Bad,
            ..=COOL => Reading::Good,
            _ => Reading::Between,
        };
        match self.hot.read(reading, READINGS, READINGS) {
            true => Some(format!("the GPU is at {degrees}°C")),
            false => None,
        }
    }

    pub(super) fn throttled(&mut self, gpu: &Gpu) -> Option<String> {
        let reasons = gpu.throttled.as_deref().unwrap_or_default();
        let reading = match TROUBLE.iter().any(|word| reasons.contains(word)) {
            true => Reading::Bad,
            false => Reading::Good,
        };
        if !self.slowed.read(reading, READINGS, UNTHROTTLED) {
            return None;
        }
        let why = if reasons.is_empty() { "" } else { ": " };
        let degrees = gpu.temperature.map_or(String::new(), |t| format!(", at {t}°C"));
        Some(format!("the GPU lowers its clocks{why}{}{degrees}", format::brief(reasons)))
    }
}
