//! What a step keeps in memory, how many images it takes at once, and what that comes to.

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

/// Share of the free memory that a step may fill with the encoder's activations.
const SHARE: f64 = 0.5;
/// Bytes for blocks' inner values, unless the config gives the memory: what they spare, a ninth of
/// a step, is not worth a gigabyte that nobody was asked for.
const INNER: usize = 128 << 20;
/// Share of a GPU's free memory that a step may fill.
const CARD_SHARE: f64 = 0.95;
/// Bytes on a GPU for blocks' inner values, unless the config gives the memory.
const INNER_ON_CARD: usize = 5 << 29;
/// Bytes on a GPU for the workspaces of cuBLAS, and for what is small.
const WORKSPACES: usize = 256 << 20;
/// More images at once on a GPU fill it no better.
const LONGEST_ON_CARD: usize = 256;
/// More images at once than this gain nothing.
const LONGEST: usize = 64;

/// What a step keeps of its images from the encoder's forward pass to its backward pass.
///
/// Measured (nano, 224×224, 2 cores, ms an image, MiB an image): the passes with everything kept
/// take 71 and 35 MiB; without the blocks' inner values 80 and 8 MiB; with nothing kept a second
/// forward pass of 22 comes on top. A MiB of layers' inputs spares 3 ms, one of inner values 0.3:
/// so inputs are kept first, of as many images as fit, and inner values in what is left. None of
/// it changes a gradient by more than the order of its sums does (1e-5 relative at most).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What the first forward pass keeps.
    pub retention: Retention,
    /// Images at once of the others, which are encoded again for their gradients.
    pub chunk: usize,
}

impl Plan {
    /// For `total` images: all inputs kept, or of `chunk` images at once where those are fewer.
    pub fn of_chunk(chunk: usize, total: usize) -> Self {
        let chunk = chunk.clamp(1, total.max(1));
        Self { retention: Retention { inputs: chunk, inner: 0 }, chunk }
    }

    /// For `total` images of `size`² where the activations may take `budget` bytes, of which
    /// inner values `inner`.
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

    /// The one that the config asks for, with `free` bytes of memory free beside the batches.
    pub fn new(config: &Config, free: u64) -> Self {
        let spec = Spec::new(config);
        let total = config.train.batch_size * spec.images;
        let size = config.data.image_size;
        match (config.train.chunk_size, config.train.memory) {
            (0, 0) => {
                let budget = (free as f64 * SHARE) as u64;
                Self::fitting(&spec, size, total, budget, INNER as u64)
            }
            (0, mib) => Self::fitting(&spec, size, total, (mib as u64) << 20, u64::MAX),
            (chunk, mib) => {
                let plan = Self::of_chunk(chunk, total);
                let (inputs, inside) = kept_bytes(&spec, size);
                let budget = match mib {
                    0 => ((free as f64 * SHARE) as u64).min((plan.chunk * inputs + INNER) as u64),
                    mib => (mib as u64) << 20,
                };
                let inner = budget.saturating_sub((plan.chunk * inputs) as u64) / inside as u64;
                let inner = (inner as usize).min(plan.chunk);
                Self { retention: Retention { inner, ..plan.retention }, ..plan }
            }
        }
    }

    /// The one that the config asks for on a device as it is now, and the bytes that are free there;
    /// on the CPU beside the batches.
    pub fn for_device(config: &Config, device: &Device) -> (Self, u64) {
        match device::free_memory(device) {
            Some(free) => (Self::on_card(config, free), free),
            None => {
                let free = free_memory().saturating_sub(batches(config) as u64);
                (Self::new(config, free), free)
            }
        }
    }

    /// The one that the config asks for on a GPU with `free` bytes free, the network not yet there: all
    /// images in one pass where they fit, or else groups of them, the inputs kept of as many as fit.
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
        // Weights, gradients and moments, the weights in the compute type; the batch, twice where it is
        // mixed; LSTMs and heads.
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

    /// With half as many images, where that is possible.
    pub fn smaller(&self) -> Option<Self> {
        let chunk = self.chunk.min(self.retention.inputs.max(1)) / 2;
        (chunk > 0).then_some(Self { retention: Retention { inputs: chunk, inner: 0 }, chunk })
    }

    /// In words, for a step of `total` images.
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

    /// Bytes of activations at their most.
    pub fn bytes(&self, spec: &Spec, size: usize) -> usize {
        let (inputs, inner) = kept_bytes(spec, size);
        self.retention.inputs * inputs + self.retention.inner * inner
    }
}

/// Bytes that a training step takes, by what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// The weights and AdamW's two moments of each.
    pub weights: usize,
    /// Gradients: the sum of each, and each further thread's of the encoder.
    pub gradients: usize,
    /// The encoder's activations.
    pub activations: usize,
    /// The features and their gradients, the LSTMs' states and the heads'.
    pub recurrent: usize,
    /// What the threads work in.
    pub scratch: usize,
    /// The batch at hand and those that the loader has ready.
    pub batches: usize,
}

impl Peak {
    /// Of a run with this plan on `threads` threads.
    pub fn new(config: &Config, plan: &Plan, threads: usize) -> Self {
        let spec = Spec::new(config);
        let (size, studies) = (config.data.image_size, config.train.batch_size);
        let (encoder, others) = spec.parameters();
        let threads = threads.clamp(1, encoder::THREADS);
        Self {
            weights: 4 * 3 * (encoder + others),
            gradients: 4 * (encoder * threads + others),
            activations: plan.bytes(&spec, size),
            recurrent: recurrent::bytes(&spec, studies),
            scratch: threads * encoder::scratch_bytes(&spec, size),
            batches: batches(config),
        }
    }

    /// All of it.
    pub fn total(&self) -> usize {
        let Self { weights, gradients, activations, recurrent, scratch, batches } = self;
        weights + gradients + activations + recurrent + scratch + batches
    }
}

/// Bytes of the batches that are in memory at once.
fn batches(config: &Config) -> usize {
    let spec = Spec::new(config);
    let size = config.data.image_size;
    let study = spec.images * size * size * spec.in_channels;
    (config.data.prefetch + 2) * config.train.batch_size * study
}

/// Keeps the kernel from backing buffers with pages of 2 MiB: hundreds of buffers, each rounded up to
/// whole pages, made a step of 2 × 105 images at 64×64 take 900 MiB in place of 780, no faster.
/// Where there is no such thing it does nothing.
pub fn small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Free memory in bytes, a container's limit respected.
pub fn free_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let free = system.available_memory();
    match system.cgroup_limits() {
        // Not its `free_memory`: that counts the page cache as taken.
        Some(limits) => free.min(limits.total_memory.saturating_sub(limits.rss)),
        None => free,
    }
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

    /// The notebook's step takes one pass on a card of 8 GB, of which some is taken already.
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
