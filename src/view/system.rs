//! History of the machine's readings.

use super::series::Series;
use crate::run::catalogue::{Figure, GPU, STEP, SYSTEM, View};
use crate::run::event::{Gpu, Step, System};

/// Maximum number of points per figure.
const POINTS: usize = 2000;

/// Readings by time (x = whole seconds since the run started), each in bounded memory with extremes
/// preserved. The newest reading of a second wins. One series per figure of the catalogue; those
/// that the System view does not show stay empty.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Of [`STEP`].
    pub step: Vec<Series>,
    /// Of [`SYSTEM`].
    pub system: Vec<Series>,
    /// Of [`GPU`].
    pub gpu: Vec<Series>,
}

impl Default for History {
    fn default() -> Self {
        let series = |n| vec![Series::new(POINTS); n];
        Self { step: series(STEP.len()), system: series(SYSTEM.len()), gpu: series(GPU.len()) }
    }
}

impl History {
    /// Adds a step's speed, `at` seconds since the run started.
    pub fn add_step(&mut self, at: f64, step: &Step) {
        add(STEP, &mut self.step, at, step);
    }

    /// Adds readings of the machine.
    pub fn add_system(&mut self, at: f64, system: &System) {
        add(SYSTEM, &mut self.system, at, system);
    }

    /// Adds the available readings of a GPU.
    pub fn add_gpu(&mut self, at: f64, gpu: &Gpu) {
        add(GPU, &mut self.gpu, at, gpu);
    }
}

fn add<E>(figures: &[Figure<E>], series: &mut [Series], at: f64, event: &E) {
    for (figure, series) in figures.iter().zip(series) {
        if figure.chart_in(View::System).is_some()
            && let Some(y) = (figure.read)(event)
        {
            series.add(at, y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Point;

    fn of<'a, E>(figures: &[Figure<E>], series: &'a [Series], id: &str) -> &'a Series {
        &series[figures.iter().position(|figure| figure.id == id).unwrap()]
    }

    fn step(data_seconds: f64, compute_seconds: f64) -> Step {
        Step {
            steps: 10,
            loss: 0.5,
            slice_loss: 0.5,
            study_loss: 0.5,
            vertebra_loss: [0.5; 7],
            grad_norm: 1.0,
            learning_rate: 1e-3,
            images: 90,
            data_seconds,
            compute_seconds,
            ..Step::default()
        }
    }

    #[test]
    fn a_long_run_stays_small_and_keeps_its_extremes() {
        let mut history = History::default();
        let system = System {
            cpu: 50.0,
            process_cpu: 100.0,
            resident: 1 << 30,
            memory_used: 2 << 30,
            memory_total: 4 << 30,
            ..System::default()
        };
        for i in 0..500_000 {
            let cpu = if i == 123_457 { 99.0 } else { 50.0 };
            history.add_system(5.0 * f64::from(i), &System { cpu, ..system.clone() });
        }
        let points = of(SYSTEM, &history.system, "cpu").points();
        assert!(points.len() <= POINTS, "{}", points.len());
        assert!(points.contains(&Point { x: 5 * 123_457, y: 99.0 }));
        assert!(of(SYSTEM, &history.system, "disk_free").is_empty());
    }

    #[test]
    fn what_a_gpu_does_not_tell_leaves_no_point() {
        let mut history = History::default();
        let (memory_used, memory_total) = (1, 2);
        let (utilisation, temperature, watts, throttled) = (None, Some(61), None, None);
        let gpu = Gpu { memory_used, memory_total, utilisation, temperature, watts, throttled };
        history.add_gpu(1.0, &gpu);
        let gpu = |id| of(GPU, &history.gpu, id);
        assert_eq!(gpu("gpu_temperature").points(), [Point { x: 1, y: 61.0 }]);
        assert!(gpu("gpu_watts").is_empty() && gpu("gpu_utilisation").is_empty());
        history.add_step(2.0, &step(0.5, 1.0));
        history.add_step(3.0, &step(0.0, 0.0));
        let step = |id| of(STEP, &history.step, id).points();
        assert_eq!(step("images_per_second"), [Point { x: 2, y: 60.0 }]);
        assert_eq!(step("data_wait"), [Point { x: 2, y: 1.0 / 3.0 }]);
    }
}
