//! Named parameters and buffers, and their initialisation.

use super::description::{Init, Layout, Weight};
use crate::rng::{Key, Purpose, hash};
use candle_core::{DType, Device, Result, Tensor, Var};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A weight, or a value that is saved but not trained: BatchNorm's running statistics.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// PyTorch's name in the state dict.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// Layout of `var`, compared with PyTorch's.
    pub layout: Layout,
    /// Value of the weight.
    pub var: Var,
}

/// All weights of a network, in the state dict's order.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    /// Trained weights.
    pub trainable: Vec<Parameter>,
    /// Buffers, which are not trained.
    pub buffers: Vec<Parameter>,
}

impl Parameters {
    /// Returns the number of trainable values.
    pub fn count(&self) -> usize {
        self.trainable.iter().map(|p| p.var.elem_count()).sum()
    }

    /// Returns the weights, then the buffers.
    pub fn all(&self) -> impl Iterator<Item = &Parameter> {
        self.trainable.iter().chain(&self.buffers)
    }

    /// Indices in [`Self::trainable`] of the weights whose names start with one of `prefixes`, in the
    /// order of the prefixes.
    pub(crate) fn under(&self, prefixes: [&'static str; 2]) -> impl Iterator<Item = usize> {
        let of = |prefix: &'static str| {
            let all = self.trainable.iter().enumerate();
            all.filter(move |(_, p)| p.name.starts_with(prefix)).map(|(i, _)| i)
        };
        prefixes.into_iter().flat_map(of)
    }
}

/// Draws weights and collects them. Each weight's draws are keyed by its name.
pub struct Builder {
    key: Key,
    device: Device,
    dtype: DType,
    /// Weights made so far.
    pub parameters: Parameters,
}

impl Builder {
    /// Starts the network of one fold.
    pub fn new(seed: u64, fold: usize, dtype: DType, device: &Device) -> Self {
        Self {
            key: Key::new(seed, Purpose::Init).at(fold, 0),
            device: device.clone(),
            dtype,
            parameters: Parameters::default(),
        }
    }

    /// Draws a fresh trainable weight, in our layout.
    pub fn weight(&mut self, weight: &Weight) -> Result<Var> {
        let Weight { name, shape, layout, init } = weight;
        let count = weight.count();
        let mut rng = self.key.study(hash(name)).rng();
        let values: Vec<f32> = match *init {
            Init::Constant(c) => vec![c as f32; count],
            Init::Normal(std) => (0..count).map(|_| truncated_normal(&mut rng, std)).collect(),
            Init::Uniform(b) => (0..count).map(|_| rng.random_range(-b..b) as f32).collect(),
        };
        let torch = Tensor::from_vec(values, &shape[..], &self.device)?.to_dtype(self.dtype)?;
        let var = Var::from_tensor(&super::layout::from_torch(&torch, *layout)?)?;
        self.parameters.trainable.push(Parameter {
            name: name.clone(),
            shape: shape.clone(),
            layout: *layout,
            var: var.clone(),
        });
        Ok(var)
    }

    /// Creates a buffer of one constant.
    pub fn buffer(&mut self, name: &str, length: usize, value: f64) -> Result<Var> {
        let tensor = Tensor::full(value as f32, length, &self.device)?.to_dtype(self.dtype)?;
        self.add_buffer(name, &tensor)
    }

    /// Creates the i64 batch counter of PyTorch's BatchNorm.
    pub fn counter(&mut self, name: &str) -> Result<Var> {
        self.add_buffer(name, &Tensor::new(0i64, &Device::Cpu)?)
    }

    fn add_buffer(&mut self, name: &str, value: &Tensor) -> Result<Var> {
        let var = Var::from_tensor(value)?;
        let (name, shape, layout) = (name.into(), value.dims().to_vec(), Layout::Plain);
        self.parameters.buffers.push(Parameter { name, shape, layout, var: var.clone() });
        Ok(var)
    }
}

/// Draws by Box–Muller (Box & Muller 1958), repeated until within ±2.
fn truncated_normal(rng: &mut ChaCha8Rng, std: f64) -> f32 {
    loop {
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        let x = std * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        if x.abs() <= 2.0 {
            return x as f32;
        }
    }
}

/// Returns the weight as a tensor, in the graph or detached from it.
pub(crate) fn tensor(var: &Var, track: bool) -> Tensor {
    if track { var.as_tensor().clone() } else { var.as_detached_tensor() }
}
