//! The single description of the network: its layers in the order of the state dict, and each weight's
//! PyTorch name, PyTorch shape, layout here and initialisation.
//!
//! Each type is generic over a value per weight: its description, its value or its gradient. All code
//! that builds, counts, runs, saves or exports the network maps this description.

use super::spec::{Spec, Stem};
use std::convert::Infallible;

/// timm's LayerNorm epsilon.
pub(crate) const EPS: f64 = 1e-6;
/// timm's initial layer scale.
const GAMMA: f64 = 1e-6;
/// Layers of an LSTM, as in the notebook.
pub(crate) const LSTM_LAYERS: usize = 2;

/// How a weight's layout here differs from PyTorch's on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Same layout.
    Plain,
    /// [C, 1, 7, 7] on disk, [49, C] here.
    Depthwise,
    /// [out, in, k, k] on disk, [out, k·k·in] here: a patch's pixels row by row, channels last.
    Patch,
    /// [out, in, 1, 1] on disk, [out, in] here.
    Pointwise,
}

/// Distribution of a fresh weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// A constant.
    Constant(f64),
    /// Normal with this standard deviation, truncated at ±2 (timm's `trunc_normal_(std=.02)`).
    Normal(f64),
    /// Uniform within ± this bound (PyTorch's Linear and LSTM: 1/√fan).
    Uniform(f64),
}

/// Description of a weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// PyTorch's name in the state dict.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// Layout here, compared with PyTorch's.
    pub layout: Layout,
    /// Distribution of fresh values.
    pub init: Init,
}

impl Weight {
    fn new(name: String, shape: &[usize], layout: Layout, init: Init) -> Self {
        Self { name, shape: shape.to_vec(), layout, init }
    }

    /// Returns the number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns the name of its module: the weight's name without the last part.
    pub fn module(&self) -> &str {
        self.name.rsplit_once('.').map_or("", |(module, _)| module)
    }
}

/// Weight and bias of a norm or a linear layer.
#[derive(Debug, Clone)]
pub struct Affine<T> {
    pub(crate) weight: T,
    pub(crate) bias: T,
}

/// A ConvNeXt block: depthwise 7×7, norm, MLP, layer scale.
#[derive(Debug, Clone)]
pub struct Block<T> {
    pub(crate) gamma: T,
    pub(crate) depthwise: Affine<T>,
    pub(crate) norm: Affine<T>,
    pub(crate) fc1: Affine<T>,
    pub(crate) fc2: Affine<T>,
}

/// A stage; all but the first start with downsampling (norm and 2×2 product).
#[derive(Debug, Clone)]
pub struct Stage<T> {
    pub(crate) downsample: Option<(Affine<T>, Affine<T>)>,
    pub(crate) blocks: Vec<Block<T>>,
}

/// The encoder.
#[derive(Debug, Clone)]
pub struct Encoder<T> {
    pub(crate) stem: Affine<T>,
    /// The second convolution of an overlapping stem.
    pub(crate) second: Option<Affine<T>>,
    pub(crate) stem_norm: Affine<T>,
    pub(crate) stages: Vec<Stage<T>>,
    pub(crate) head_norm: Affine<T>,
}

/// One direction of one layer of an LSTM: w_ih [4H, in], w_hh [4H, H], b_ih [4H], b_hh [4H].
#[derive(Debug, Clone)]
pub struct Direction<T> {
    pub(crate) w_ih: T,
    pub(crate) w_hh: T,
    pub(crate) b_ih: T,
    pub(crate) b_hh: T,
}

/// A bidirectional LSTM: the forward and the reverse direction of each layer.
#[derive(Debug, Clone)]
pub struct Lstm<T> {
    pub(crate) layers: [[Direction<T>; 2]; LSTM_LAYERS],
}

/// A head: Linear – BatchNorm – Dropout – LeakyReLU – Linear.
#[derive(Debug, Clone)]
pub struct Head<T> {
    pub(crate) hidden: Affine<T>,
    pub(crate) norm: Affine<T>,
    pub(crate) out: Affine<T>,
}

/// The whole network.
#[derive(Debug, Clone)]
pub struct Network<T> {
    pub(crate) encoder: Encoder<T>,
    pub(crate) lstm: Lstm<T>,
    pub(crate) head: Head<T>,
    pub(crate) lstm2: Lstm<T>,
    pub(crate) head2: Head<T>,
}

/// What `try_map` calls with each weight.
type Each<'a, T, U, E> = &'a mut dyn FnMut(&T) -> Result<U, E>;

/// Implements `map` and `each` for a type through its `try_map`.
macro_rules! maps {
    ($($of:ident),*) => { $(impl<T> $of<T> {
        /// Applies `f` to each weight, in order.
        pub(crate) fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> $of<U> {
            let Ok(mapped) = self.try_map(&mut |t| Ok::<_, Infallible>(f(t)));
            mapped
        }

        /// Calls `f` with each weight, in order.
        pub(crate) fn each(&self, f: impl FnMut(&T)) {
            self.map(f);
        }
    }

    impl $of<Weight> {
        /// Returns the number of values.
        pub(crate) fn count(&self) -> usize {
            let mut n = 0;
            self.each(|weight| n += weight.count());
            n
        }
    })* };
}
maps!(Affine, Stage, Encoder, Lstm, Head);

impl<T> Affine<T> {
    /// Like [`Self::map`], but stops when `f` fails.
    pub(crate) fn try_map<U, E>(&self, f: Each<T, U, E>) -> Result<Affine<U>, E> {
        Ok(Affine { weight: f(&self.weight)?, bias: f(&self.bias)? })
    }
}

impl<T> Block<T> {
    fn try_map<U, E>(&self, f: Each<T, U, E>) -> Result<Block<U>, E> {
        Ok(Block {
            gamma: f(&self.gamma)?,
            depthwise: self.depthwise.try_map(f)?,
            norm: self.norm.try_map(f)?,
            fc1: self.fc1.try_map(f)?,
            fc2: self.fc2.try_map(f)?,
        })
    }
}

impl<T> Stage<T> {
    fn try_map<U, E>(&self, f: Each<T, U, E>) -> Result<Stage<U>, E> {
        let downsample = match &self.downsample {
            Some((norm, product)) => Some((norm.try_map(f)?, product.try_map(f)?)),
            None => None,
        };
        let blocks = self.blocks.iter().map(|block| block.try_map(f)).collect::<Result<_, E>>()?;
        Ok(Stage { downsample, blocks })
    }
}

impl<T> Encoder<T> {
    /// Like [`Self::map`], but stops when `f` fails.
    pub(crate) fn try_map<U, E>(&self, f: Each<T, U, E>) -> Result<Encoder<U>, E> {
        Ok(Encoder {
            stem: self.stem.try_map(f)?,
            second: self.second.as_ref().map(|second| second.try_map(f)).transpose()?,
            stem_norm: self.stem_norm.try_map(f)?,
            stages: self.stages.iter().map(|stage| stage.try_map(f)).collect::<Result<_, E>>()?,
            head_norm: self.head_norm.try_map(f)?,
        })
    }
}

impl<T> Direction<T> {
    fn try_map<U, E>(&self, f: Each<T, U, E>) -> Result<Direction<U>, E> {
        Ok(Direction {
            w_ih: f(&self.w_ih)?,
            w_hh: f(&self.w_hh)?,
            b_ih: f(&self.b_ih)?,
            b_hh: f(&self.b_hh)?,
        })
    }
}

impl<T> Lstm<T> {
    /// Like [`Self::map`], but stops when `f` fails.
    pub(crate) fn try_map<U, E>(&self, f: Each<T, U, E>) -> Result<Lstm<U>, E> {
        let mut layer = |of: &[Direction<T>; 2]| Ok([of[0].try_map(f)?, of[1].try_map(f)?]);
        Ok(Lstm { layers: [layer(&self.layers[0])?, layer(&self.layers[1])?] })
    }
}

impl<T> Head<T> {
    /// Like [`Self::map`], but stops when `f` fails.
    pub(crate) fn try_map<U, E>(&self, f: Each<T, U, E>) -> Result<Head<U>, E> {
        Ok(Head {
            hidden: self.hidden.try_map(f)?,
            norm: self.norm.try_map(f)?,
            out: self.out.try_map(f)?,
        })
    }
}

/// Describes a norm of `width` values: weight 1, bias 0.
fn norm(name: &str, width: usize) -> Affine<Weight> {
    let part = |part: &str, value: f64| {
        let name = format!("{name}.{part}");
        Weight::new(name, &[width], Layout::Plain, Init::Constant(value))
    };
    Affine { weight: part("weight", 1.0), bias: part("bias", 0.0) }
}

/// Describes a linear layer or convolution with timm's initialisation.
fn product(name: &str, shape: &[usize], layout: Layout) -> Affine<Weight> {
    let bias = format!("{name}.bias");
    Affine {
        weight: Weight::new(format!("{name}.weight"), shape, layout, Init::Normal(0.02)),
        bias: Weight::new(bias, &shape[..1], Layout::Plain, Init::Constant(0.0)),
    }
}

/// Describes a linear layer with PyTorch's initialisation: uniform within ± 1/√in.
fn linear(name: &str, out: usize, input: usize) -> Affine<Weight> {
    let init = Init::Uniform(1.0 / (input as f64).sqrt());
    Affine {
        weight: Weight::new(format!("{name}.weight"), &[out, input], Layout::Plain, init),
        bias: Weight::new(format!("{name}.bias"), &[out], Layout::Plain, init),
    }
}

impl Block<Weight> {
    /// Describes a block of `c` channels; `conv_mlp`: see [`Spec::conv_mlp`].
    fn new(name: &str, c: usize, conv_mlp: bool) -> Self {
        let gamma = format!("{name}.gamma");
        let fc = |part: &str, out: usize, input: usize| {
            let name = format!("{name}.mlp.{part}");
            match conv_mlp {
                true => product(&name, &[out, input, 1, 1], Layout::Pointwise),
                false => product(&name, &[out, input], Layout::Plain),
            }
        };
        Self {
            gamma: Weight::new(gamma, &[c], Layout::Plain, Init::Constant(GAMMA)),
            depthwise: product(&format!("{name}.conv_dw"), &[c, 1, 7, 7], Layout::Depthwise),
            norm: norm(&format!("{name}.norm"), c),
            fc1: fc("fc1", 4 * c, c),
            fc2: fc("fc2", c, 4 * c),
        }
    }
}

impl Encoder<Weight> {
    /// Describes the ConvNeXt of `spec`, under `encoder.…`.
    pub(crate) fn new(spec: &Spec) -> Self {
        let d = spec.dims;
        let convolution = |name: &str, out: usize, input: usize, side: usize| {
            product(name, &[out, input, side, side], Layout::Patch)
        };
        let (stem, second) = match spec.stem {
            Stem::Patch => (convolution("encoder.stem.0", d[0], spec.in_channels, 4), None),
            Stem::Overlap { middle } => (
                convolution("encoder.stem.0", middle, spec.in_channels, 3),
                Some(convolution("encoder.stem.1", d[0], middle, 3)),
            ),
        };
        let stem_norm = if second.is_some() { "encoder.stem.2" } else { "encoder.stem.1" };
        let stage = |s: usize| {
            let name = format!("encoder.stages.{s}");
            let downsample = (s > 0).then(|| {
                let before = d[s - 1];
                let product = convolution(&format!("{name}.downsample.1"), d[s], before, 2);
                (norm(&format!("{name}.downsample.0"), before), product)
            });
            let block = |i| Block::new(&format!("{name}.blocks.{i}"), d[s], spec.conv_mlp);
            Stage { downsample, blocks: (0..spec.depths[s]).map(block).collect() }
        };
        Self {
            stem,
            second,
            stem_norm: norm(stem_norm, d[0]),
            stages: (0..4).map(stage).collect(),
            head_norm: norm("encoder.head.norm", d[3]),
        }
    }
}

impl Lstm<Weight> {
    /// Describes `nn.LSTM(input, hidden, num_layers=2, bidirectional=True)`.
    pub(crate) fn new(name: &str, input: usize, hidden: usize) -> Self {
        let init = Init::Uniform(1.0 / (hidden as f64).sqrt());
        let direction = |suffix: &str, input: usize| {
            let weight = |part: &str, shape: &[usize]| {
                Weight::new(format!("{name}.{part}_{suffix}"), shape, Layout::Plain, init)
            };
            Direction {
                w_ih: weight("weight_ih", &[4 * hidden, input]),
                w_hh: weight("weight_hh", &[4 * hidden, hidden]),
                b_ih: weight("bias_ih", &[4 * hidden]),
                b_hh: weight("bias_hh", &[4 * hidden]),
            }
        };
        let layers = std::array::from_fn(|l| {
            let input = if l == 0 { input } else { 2 * hidden };
            [direction(&format!("l{l}"), input), direction(&format!("l{l}_reverse"), input)]
        });
        Self { layers }
    }
}

impl Head<Weight> {
    /// Describes `nn.Sequential(Linear(input, hidden), BatchNorm1d(hidden), Dropout, LeakyReLU(.1),
    /// Linear(hidden, 1))`.
    pub(crate) fn new(name: &str, input: usize, hidden: usize) -> Self {
        Self {
            hidden: linear(&format!("{name}.0"), hidden, input),
            norm: norm(&format!("{name}.1"), hidden),
            out: linear(&format!("{name}.4"), 1, hidden),
        }
    }
}

impl Network<Weight> {
    /// Describes the network of `spec`.
    pub(crate) fn new(spec: &Spec) -> Self {
        let (f, h, m) = (spec.features(), spec.lstm_hidden, spec.head_hidden);
        Self {
            encoder: Encoder::new(spec),
            lstm: Lstm::new("lstm", f, h),
            head: Head::new("head", 2 * h, m),
            lstm2: Lstm::new("lstm2", f, h),
            head2: Head::new("head2", 2 * h, m),
        }
    }
}
