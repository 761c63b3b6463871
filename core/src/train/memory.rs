//! Memory plan of a step: which activations it keeps, how many images it processes at once, and the
//! bytes that takes.

use super::cgroup;
use crate::{
    config::{Config, Precision},
    device,
    net::{
        Spec,
        encoder::{self, OnCard, Retention, kept_bytes},
        recurrent,
    },
};
use candle_core::Device;

/// Share of the free memory that the encoder's activations may fill.
const SHARE: f64 = 0.5;
/// Bytes for the blocks' inner values, unless the config sets the memory. Keeping them saves only a
/// ninth of a step's time, which is not worth a gigabyte by default.
const INNER: usize = 128 << 20;
/// Share of a GPU's free memory that a step may fill.
const CARD_SHARE: f64 = 0.95;
/// Bytes on a GPU for the blocks' inner values, unless the config sets the memory.
const INNER_ON_CARD: usize = 5 << 29;
/// Bytes on a GPU for cuBLAS workspaces and small buffers.
const WORKSPACES: usize = 256 << 20;
/// Maximum chunk on a GPU when not all images fit: larger ones do not increase its utilisation.
const LONGEST_ON_CARD: usize = 256;
/// Maximum chunk on the CPU when not all images fit: larger ones gain nothing.
const LONGEST: usize = 64;

/// Activations that a step keeps from the encoder's forward pass to its backward pass.
///
/// Measured (nano, 224×224, 2 cores), per image: with everything kept, both passes take 71 ms and
/// 35 MiB; without the blocks' inner values 80 ms and 8 MiB; with nothing kept, a second forward pass
/// of 22 ms is added. A MiB of layers' inputs saves 3 ms, a MiB of inner values 0.3 ms. So inputs are
/// kept first, of as many images as fit, and inner values in the remaining memory. The plan changes
/// gradients only by the order of their sums (relative difference at most 1e-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Activations kept by the first forward pass.
    pub retention: Retention,
    /// Images at once when the images that are not kept are encoded again for their gradients.
    pub chunk: usize,
}

impl Plan {
    /// A plan for `total` images that processes `chunk` at once and keeps their inputs.
    pub fn of_chunk(chunk: usize, total: usize) -> Self {
        let chunk = chunk.clamp(1, total.max(1));
        Self { retention: Retention { inputs: chunk, inner: 0 }, chunk }
    }

    /// A plan for `total` images of `size`² with activations of at most `budget` bytes, of which inner
    /// values at most `inner`.
    fn fitting(spec: &Spec, size: usize, total: usize, budget: u64, inner: u64) -> Self {
        let (inputs, inside) = kept_bytes(spec, size);
        let fit = (budget / inputs as u64) as usize;
        if fit < total {
            let chunk = 1 << fit.clamp(1, LONGEST).ilog2();
            return Self { retention: Retention { inputs: fit.max(1), inner: 0 }, chunk };
        }
        let left = (budget - (total * inputs) as u64).min(inner);
        let inner = ((left / inside as u64) as usize).min(total);
        Self { retention: Retention { inputs: total, inner }, chunk: total }
    }

    /// The plan for the config on the CPU, with `free` bytes of memory beside the batches.
    pub fn new(config: &Config, free: u64) -> Self {
        let spec = Spec::new(config);
        let total = config.train.batch_size * spec.images;
        let size = config.data.image_size;
        let (budget, inner) = match config.train.memory {
            0 => ((free as f64 * SHARE) as u64, INNER as u64),
            mib => ((mib as u64) << 20, u64::MAX),
        };
        if config.train.chunk_size == 0 {
            return Self::fitting(&spec, size, total, budget, inner);
        }
        // A chunk of this size, whatever it takes.
        let chunk = config.train.chunk_size.clamp(1, total);
        let inputs = (chunk * kept_bytes(&spec, size).0) as u64;
        Self::fitting(&spec, size, chunk, budget.max(inputs), inner)
    }

    /// The plan for the config on `device` in its current state, and the bytes free there (on the CPU: beside
    /// the batches, for each of `sharing` processes).
    pub fn for_device(config: &Config, device: &Device, sharing: usize) -> (Self, u64) {
        match device::free_memory(device) {
            Some(free) => (Self::on_card(config, free), free),
            None => {
                let free = free_memory() / sharing.max(1) as u64;
                let free = free.saturating_sub(batches(config) as u64);
                (Self::new(config, free), free)
            }
        }
    }

    /// The plan for the config on a GPU with `free` bytes free before the network is loaded: all images in
    /// one pass if they fit, otherwise chunks, with the inputs of as many images kept as fit.
    pub fn on_card(config: &Config, free: u64) -> Self {
        let spec = Spec::new(config);
        let (studies, size) = (config.train.batch_size, config.data.image_size);
        let total = studies * spec.images;
        let inner = match config.train.precision {
            Precision::F32 => 4,
            Precision::Bf16 | Precision::F16 => 2,
        };
        let bytes = OnCard::new(&spec, size, inner);
        let (encoder, others) = spec.parameters();
        // Weights, gradients and moments; the weights in the compute type; the batch, twice if it is mixed;
        // LSTMs and heads.
        let beside = 4 * 4 * (encoder + others)
            + inner * encoder
            + 2 * total * size * size * spec.in_channels
            + recurrent::bytes(&spec, studies)
            + WORKSPACES;
        let budget = match config.train.memory {
            0 => ((free as f64 * CARD_SHARE) as usize).saturating_sub(beside),
            mib => mib << 20,
        };
        if config.train.chunk_size > 0 {
            return Self::of_chunk(config.train.chunk_size, total);
        }
        if bytes.at_once(total) <= budget {
            let left = budget - bytes.at_once(total);
            let most = if config.train.memory > 0 { left } else { left.min(INNER_ON_CARD) };
            let inner = (most / bytes.inner).min(total);
            return Self { retention: Retention { inputs: total, inner }, chunk: total };
        }
        let fits = |chunk: &usize| bytes.at_once(*chunk) + chunk * bytes.inputs <= budget;
        let mut powers = (0..=LONGEST_ON_CARD.ilog2()).rev().map(|power| 1 << power);
        let chunk = powers.find(fits).unwrap_or(1);
        let left = budget.saturating_sub(bytes.at_once(chunk)) / bytes.inputs;
        let inputs = (left / chunk * chunk).clamp(chunk, total);
        Self { retention: Retention { inputs, inner: 0 }, chunk }
    }

    /// The plan with half as many images, or `None` if it has one.
    pub fn smaller(&self) -> Option<Self> {
        let chunk = self.chunk.min(self.retention.inputs.max(1)) / 2;
        (chunk > 0).then_some(Self { retention: Retention { inputs: chunk, inner: 0 }, chunk })
    }

    /// Describes the plan in words, for a step of `total` images.
    pub fn describe(&self, total: usize) -> String {
        let Retention { inputs, inner } = self.retention;
        match (inputs >= total, inner) {
            (true, 0) => "all images of a step in one pass".into(),
            (true, _) => {
                let inner = inner.min(total);
                format!("all images of a step in one pass, inner values kept of {inner} of {total}")
            }
            (false, _) => {
                let chunk = self.chunk;
                format!("{inputs} of {total} images kept, the others encoded again {chunk} at once")
            }
        }
    }

    /// Peak of the activations in bytes.
    pub fn bytes(&self, spec: &Spec, size: usize) -> usize {
        let (inputs, inner) = kept_bytes(spec, size);
        self.retention.inputs * inputs + self.retention.inner * inner
    }
}

/// Estimates the bytes that a training step with this plan uses on `threads` threads, by purpose.
pub fn peak(config: &Config, plan: &Plan, threads: usize) -> [(&'static str, usize); 6] {
    let spec = Spec::new(config);
    let (size, studies) = (config.data.image_size, config.train.batch_size);
    let (encoder, others) = spec.parameters();
    let threads = threads.clamp(1, encoder::THREADS);
    [
        ("weights and AdamW's moments", 4 * 3 * (encoder + others)),
        // Their sums, and the encoder's once more for each further thread.
        ("gradients", 4 * (encoder * threads + others)),
        ("encoder's activations", plan.bytes(&spec, size)),
        ("features, LSTMs and heads", recurrent::bytes(&spec, studies)),
        ("threads' work space", threads * encoder::scratch_bytes(&spec, size)),
        ("batches at hand and ahead", batches(config)),
    ]
}

/// Bytes of all batches in memory at once.
fn batches(config: &Config) -> usize {
    let spec = Spec::new(config);
    let size = config.data.image_size;
    let study = spec.images * size * size * spec.in_channels;
    (config.data.prefetch + 2) * config.train.batch_size * study
}

/// Stops the kernel from backing buffers with pages of 2 MiB. Rounding hundreds of buffers up to whole
/// pages made a step of 2 × 105 images at 64×64 take 900 MiB instead of 780, and no faster. Does
/// nothing on systems other than Linux.
pub fn small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Returns the free memory in bytes, within the limits of a container or a batch job.
pub fn free_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let free = system.available_memory();
    cgroup::tightest().map_or(free, |group| free.min(group.free()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_come_first_then_inner_values() {
        let spec = Spec::new(&Config::load(None, false, &[]).unwrap());
        let fitting = |size, total, budget| Plan::fitting(&spec, size, total, budget, INNER as u64);
        let all = fitting(64, 210, 16 << 30);
        assert_eq!((all.retention.inputs, all.chunk), (210, 210));
        assert!((40..100).contains(&all.retention.inner), "{all:?}");
        assert!(all.bytes(&spec, 64) < 300 << 20);

        let some = fitting(224, 840, 4 << 30);
        assert!((400..600).contains(&some.retention.inputs), "{some:?}");
        assert_eq!((some.retention.inner, some.chunk), (0, 64));
        let none = Plan { retention: Retention { inputs: 1, inner: 0 }, chunk: 1 };
        assert_eq!(fitting(224, 840, 0), none);
    }

    /// The notebook's step takes one pass on a GPU of 8 GB, part of which is in use already.
    #[test]
    fn one_pass_on_a_small_card() {
        let on_card = |free, more: &[&str]| {
            let sets = [&["train.precision=bf16"], more].concat();
            let sets: Vec<_> = sets.iter().map(|&s| crate::config::Set::new(s)).collect();
            Plan::on_card(&Config::load(None, false, &sets).unwrap(), free)
        };
        let small = on_card(7_500 << 20, &[]);
        assert_eq!((small.retention.inputs, small.chunk), (840, 840));
        let large = on_card(80 << 30, &[]);
        assert!(large.retention.inner > 150 && large.retention.inner < 840, "{large:?}");
        assert_eq!(on_card(80 << 30, &["train.memory=60000"]).retention.inner, 840);
        let half = on_card(4 << 30, &[]);
        assert!(half.retention.inputs >= half.chunk && half.retention.inputs < 840, "{half:?}");
        assert!(half.retention.inputs.is_multiple_of(half.chunk) && half.chunk >= 16, "{half:?}");
        assert_eq!(on_card(1 << 20, &[]).chunk, 1);
    }

    #[test]
    fn the_config_may_say_how_much() {
        let of = |sets: &[&str]| {
            let sets: Vec<_> = sets.iter().map(|&s| crate::config::Set::new(s)).collect();
            Plan::new(&Config::load(None, false, &sets).unwrap(), 64 << 30)
        };
        let ten = of(&["train.chunk_size=10"]);
        assert_eq!((ten.retention.inputs, ten.chunk), (10, 10));
        assert!((1..10).contains(&ten.retention.inner), "{ten:?}");
        assert_eq!(of(&["train.chunk_size=1000"]).retention.inputs, 840);
        let inner = of(&["train.memory=20000"]).retention;
        assert_eq!(inner.inputs, 840);
        assert!(inner.inner > 300, "{inner:?}");
    }
}
