//! History of the machine's readings.

use super::series::Series;
use crate::run::event::{Gpu, System};
use crate::run::journal::Pace;

/// Maximum number of points per figure.
const POINTS: usize = 2000;

/// Readings by time (x = whole seconds since the run started), each in bounded memory with extremes
/// preserved. The newest reading of a second wins.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// CPU utilisation of all cores, percent, 0 to 100.
    pub cpu: Series,
    /// CPU utilisation of the training process, percent of one core.
    pub process_cpu: Series,
    /// Resident memory of the training process, bytes.
    pub resident: Series,
    /// Memory in use by all processes, bytes.
    pub memory_used: Series,
    /// Free space on the disk of the run's folder, bytes.
    pub disk_free: Series,
    /// GPU utilisation, percent, 0 to 100.
    pub gpu_utilisation: Series,
    /// GPU memory in use, bytes.
    pub gpu_memory: Series,
    /// GPU temperature, °C.
    pub gpu_temperature: Series,
    /// GPU power, W.
    pub gpu_watts: Series,
    /// Training images per second, of each step.
    pub images_per_second: Series,
    /// Share of each step spent waiting for data, 0 to 1.
    pub data_share: Series,
}

impl Default for History {
    fn default() -> Self {
        let series = || Series::new(POINTS);
        Self {
            cpu: series(),
            process_cpu: series(),
            resident: series(),
            memory_used: series(),
            disk_free: series(),
            gpu_utilisation: series(),
            gpu_memory: series(),
            gpu_temperature: series(),
            gpu_watts: series(),
            images_per_second: series(),
            data_share: series(),
        }
    }
}

impl History {
    /// Adds readings of the machine, `at` seconds since the run started.
    pub fn add_system(&mut self, at: f64, system: &System) {
        self.cpu.add(at, system.cpu);
        self.process_cpu.add(at, system.process_cpu);
        self.resident.add(at, system.resident as f64);
        self.memory_used.add(at, system.memory_used as f64);
        if let Some(free) = system.disk_free {
            self.disk_free.add(at, free as f64);
        }
    }

    /// Adds the available readings of a GPU.
    pub fn add_gpu(&mut self, at: f64, gpu: &Gpu) {
        self.gpu_memory.add(at, gpu.memory_used as f64);
        let readings = [
            (&mut self.gpu_utilisation, gpu.utilisation.map(f64::from)),
            (&mut self.gpu_temperature, gpu.temperature.map(f64::from)),
            (&mut self.gpu_watts, gpu.watts),
        ];
        for (series, figure) in readings {
            if let Some(figure) = figure {
                series.add(at, figure);
            }
        }
    }

    /// Adds a step's speed.
    pub fn add_pace(&mut self, at: f64, pace: Pace) {
        let seconds = pace.data_seconds + pace.compute_seconds;
        if seconds > 0.0 {
            self.images_per_second.add(at, pace.images as f64 / seconds);
            self.data_share.add(at, pace.data_seconds / seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Point;

    #[test]
    fn a_long_run_stays_small_and_keeps_its_extremes() {
        let mut history = History::default();
        let system = System {
            cpu: 50.0,
            process_cpu: 100.0,
            resident: 1 << 30,
            memory_used: 2 << 30,
            memory_total: 4 << 30,
            disk_free: None,
            disk_total: None,
            load: None,
        };
        for i in 0..500_000 {
            let cpu = if i == 123_457 { 99.0 } else { 50.0 };
            history.add_system(5.0 * f64::from(i), &System { cpu, ..system.clone() });
        }
        let points = history.cpu.points();
        assert!(points.len() <= POINTS, "{}", points.len());
        assert!(points.contains(&Point { x: 5 * 123_457, y: 99.0 }));
        assert!(history.disk_free.is_empty());
    }

    #[test]
    fn what_a_gpu_does_not_tell_leaves_no_point() {
        let mut history = History::default();
        let (memory_used, memory_total) = (1, 2);
        let (utilisation, temperature, watts, throttled) = (None, Some(61), None, None);
        let gpu = Gpu { memory_used, memory_total, utilisation, temperature, watts, throttled };
        history.add_gpu(1.0, &gpu);
        assert_eq!(history.gpu_temperature.points(), [Point { x: 1, y: 61.0 }]);
        assert!(history.gpu_watts.is_empty() && history.gpu_utilisation.is_empty());
        history.add_pace(2.0, Pace { images: 90, data_seconds: 0.5, compute_seconds: 1.0 });
        history.add_pace(3.0, Pace { images: 90, data_seconds: 0.0, compute_seconds: 0.0 });
        assert_eq!(history.images_per_second.points(), [Point { x: 2, y: 60.0 }]);
        assert_eq!(history.data_share.points(), [Point { x: 2, y: 1.0 / 3.0 }]);
    }
}
