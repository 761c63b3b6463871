//! The encoder on a GPU: one group of images after another, each group as large as memory allows.

use super::group::{self, Shapes};
use super::weights::{Net, Weight as Description};
use super::{Pass, Retention, WeightGradients};
use crate::net::description::Layout;
use crate::net::device_ops::cpu::{self, Fill};
use crate::net::device_ops::cuda::{self, Buffer, Compute, Cuda, Sum, Weight};
use crate::net::ops::cuda::images as gpu_images;
use crate::net::ops::gpu::{empty, tensor};
use crate::net::{Classifier, parameters::Parameter, views::Views};
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{CudaDevice, Device, Result, Tensor, bail};
use std::{marker::PhantomData, ops::Range};

/// The images of a batch, as the network reads them.
pub(crate) enum ImageSource<'a> {
    /// uint8 [N, S, S, in] on the device. For mixup also the index of each image's partner, uint32 [N]
    /// on the device, and the weights of both.
    Bytes {
        /// All images.
        own: Tensor,
        /// Partners and weights.
        mixed: Option<(Tensor, [f32; 2])>,
    },
    /// From host memory, written on demand.
    Memory(Fill<'a, f32>),
}

impl ImageSource<'_> {
    /// Uploads images to `device` as bytes [N, S, S, in], from slices of whole images of this shape.
    ///
    /// Errors: when `device` is not a GPU or has too little memory.
    pub fn upload(pieces: &[&[u8]], [h, w, c]: [usize; 3], device: &Device) -> Result<Tensor> {
        let Device::Cuda(device) = device else { bail!("images for a GPU are given none") };
        let total = pieces.iter().map(|piece| piece.len()).sum();
        let (mut all, mut at) = (empty::<u8>(device, total)?, 0);
        for &piece in pieces {
            device.memcpy_htod(piece, &mut all.slice_mut(at..at + piece.len()))?;
            at += piece.len();
        }
        Ok(tensor(all, device, (total / (h * w * c), h, w, c)))
    }
}

/// A network's encoder on a GPU, for a batch of images of one size, in the compute type `T`.
pub(crate) struct Card<'a, T> {
    shapes: Shapes,
    weights: Net<Description>,
    device: CudaDevice,
    parameters: &'a [Parameter],
    /// Matrices rounded to the compute type, if it is narrower.
    narrow: Vec<Option<Tensor>>,
    source: ImageSource<'a>,
    /// Images per group.
    group: usize,
    compute: PhantomData<T>,
}

type Tape<T> = group::Tape<Buffer<T>, Buffer<f32>>;

/// State kept by the forward pass for some images.
pub(crate) struct Tapes<T> {
    tapes: Vec<Tape<T>>,
    range: Range<usize>,
}

/// The gradients of all weights, in one buffer.
pub(crate) struct Sums {
    all: CudaSlice<f32>,
    /// Nothing is added yet, and the values are arbitrary.
    empty: bool,
}

impl<'a, T: Compute> Card<'a, T> {
    /// Prepares the encoder of `model` for a batch of images of `size`², `group` at once.
    ///
    /// Errors: when `device` is not a GPU or has too little memory.
    pub fn new(
        model: &'a Classifier,
        (source, size): (ImageSource<'a>, usize),
        (device, group): (&Device, usize),
    ) -> Result<Self> {
        let Device::Cuda(device) = device else { bail!("the encoder for a GPU is given none") };
        let shapes = Shapes { spec: model.spec.clone(), size };
        let weights = Net::new(&model.spec);
        let mut matrices = Vec::new();
        weights.each(|w| matrices.push(w.shape.len() > 1 && w.layout != Layout::Depthwise));
        let parameters = &model.parameters.trainable[..matrices.len()];
        let rounded = |(p, matrix): (&Parameter, bool)| {
            let narrow = || p.var.as_detached_tensor().to_dtype(T::DTYPE);
            (matrix && T::NARROW).then(narrow).transpose()
        };
        let narrow = parameters.iter().zip(matrices).map(rounded).collect::<Result<_>>()?;
        let (device, group) = (device.clone(), group.max(1));
        Ok(Self {
            shapes,
            weights,
            device,
            parameters,
            narrow,
            source,
            group,
            compute: PhantomData,
        })
    }

    /// Writes images `range` as [n, S, S, in] in 0..=1, or if `side` is not 0 as patches of `side`²
    /// pixels, one per row.
    fn fill(&self, range: Range<usize>, side: usize, out: &mut CudaSlice<T>) -> Result<()> {
        let (device, c, s) = (&self.device, self.shapes.spec.in_channels, self.shapes.size);
        let n = range.len() * s * s * c;
        match &self.source {
            ImageSource::Memory(fill) => {
                let mut pixels = vec![0f32; n];
                fill(range, &mut pixels);
                if side > 0 {
                    let images = std::mem::replace(&mut pixels, vec![0f32; n]);
                    cpu::gather(&images, [n / (s * s * c), s, s, c], side, &mut pixels);
                }
                let pixels = Tensor::from_vec(pixels, n, &Device::Cuda(device.clone()))?;
                let pixels = [pixels.to_dtype(T::DTYPE)?];
                let pixels = Views::of(&pixels);
                device.memcpy_dtod(&pixels.on_card::<T>()?[0], &mut out.slice_mut(0..n))
            }
            ImageSource::Bytes { own, mixed } => {
                let mut images = vec![own.narrow(0, range.start, range.len())?];
                let mut shares = [1.0, 0.0];
                if let Some((partners, of)) = mixed {
                    let partners = partners.narrow(0, range.start, range.len())?;
                    images.push(own.index_select(&partners, 0)?);
                    shares = *of;
                }
                let views = Views::of(&images);
                let bytes = views.on_card::<u8>()?;
                gpu_images(device, &bytes, shares, &out.slice(0..n), [s * c, side * c, side])
            }
        }
    }

    /// Returns the first block, counted over all stages, whose inner values are kept for `n` images,
    /// given the memory that those of all blocks take for `inner` images. The last blocks' values are
    /// kept first: the backward pass uses them first, and frees them before the first blocks need the
    /// most memory.
    fn inner_from(&self, n: usize, inner: usize) -> usize {
        let (spec, size) = (&self.shapes.spec, self.shapes.size);
        let blocks = (0..4).flat_map(|s| std::iter::repeat_n(spec.map(size, s), spec.depths[s]));
        let blocks: Vec<usize> = blocks.collect();
        let mut left = inner * blocks.iter().sum::<usize>();
        let fits = |block: &&usize| match left.checked_sub(n * **block) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        };
        blocks.len() - blocks.iter().rev().take_while(fits).count()
    }

    /// Runs `work` with the weights, locked for reading meanwhile.
    fn with_weights<R>(
        &self,
        work: impl for<'w> FnOnce(&Net<&'w Weight<'w, T>>) -> Result<R>,
    ) -> Result<R> {
        let (wide, narrow) = (Views::new(self.parameters), Views::of(self.narrow.iter().flatten()));
        let mut rounded = narrow.on_card::<T>()?.into_iter();
        let both = wide.on_card::<f32>()?.into_iter().zip(&self.narrow);
        let weights: Vec<_> = both
            .map(|(wide, narrow)| Weight {
                wide,
                narrow: narrow.as_ref().and_then(|_| rounded.next()),
            })
            .collect();
        let mut each = weights.iter();
        work(&self.weights.map(|_| each.next().expect("one for each weight")))
    }
}

impl<T: Compute> Pass for Card<'_, T> {
    type Tapes = Tapes<T>;
    type Sums = Sums;

    fn forward(&self, range: Range<usize>, retention: Retention) -> Result<(Tensor, Tapes<T>)> {
        let (start, width) = (range.start, self.shapes.spec.dims[3]);
        let inner_from = self.inner_from(range.len(), retention.inner);
        let (mut features, mut tapes) = (Vec::new(), Vec::new());
        self.with_weights(|net| {
            let fill = |range, side, out: &mut CudaSlice<T>| self.fill(range, side, out);
            for at in range.clone().step_by(self.group) {
                let group = at..(at + self.group).min(range.end);
                let (n, end) = (group.len(), group.end - start);
                let keep = (end <= retention.inputs, inner_from);
                let mut ops = Cuda::new(&self.device, &fill);
                let work = &mut group::Work::default();
                let (out, tape) = self.shapes.forward(&mut ops, net, group, keep, work);
                ops.done()?;
                let Some(out) = out.into_inner() else { bail!("no features and no error") };
                features.push(tensor(out, &self.device, (n, width)));
                tapes.extend(tape);
            }
            Ok(())
        })?;
        let end = tapes.last().map_or(start, |t: &Tape<T>| t.range.end);
        let all = if features.len() > 1 { Tensor::cat(&features, 0)? } else { features.remove(0) };
        Ok((all, Tapes { tapes, range: start..end }))
    }

    fn kept(tapes: &Tapes<T>) -> Range<usize> {
        tapes.range.clone()
    }

    fn sums(&self) -> Result<Sums> {
        Ok(Sums { all: empty(&self.device, self.weights.count())?, empty: true })
    }

    fn backward(&self, tapes: Tapes<T>, grad: &Tensor, sums: &mut Sums) -> Result<()> {
        let (width, start) = (self.shapes.spec.dims[3], tapes.range.start);
        let grad = [grad.contiguous()?];
        let grad = Views::of(&grad);
        let grad = &grad.on_card::<f32>()?[0];
        self.with_weights(|net| {
            let fill = |range, side, out: &mut CudaSlice<T>| self.fill(range, side, out);
            for tape in tapes.tapes {
                let rows = (tape.range.start - start) * width..(tape.range.end - start) * width;
                let mut of_group = empty::<f32>(&self.device, rows.len())?;
                self.device.memcpy_dtod(&grad.slice(rows), &mut of_group)?;
                let empty = std::mem::replace(&mut sums.empty, false);
                let mut grads = places(&self.weights, &sums.all, empty);
                let mut ops = Cuda::new(&self.device, &fill);
                let (of_group, work) = (Buffer::new(of_group), &mut group::Work::default());
                self.shapes.backward(&mut ops, net, tape, of_group, &mut grads, work);
                ops.done()?;
            }
            Ok(())
        })
    }

    fn finish(&self, mut sums: Sums) -> Result<WeightGradients> {
        if sums.empty {
            sums.all = self.device.alloc_zeros(sums.all.len())?;
        }
        self.with_weights(|net| {
            let mut grads = places(&self.weights, &sums.all, false);
            let blocks = net.stages.iter().flat_map(|stage| &stage.blocks);
            let grads = grads.stages.iter_mut().flat_map(|stage| &mut stage.blocks);
            blocks.zip(grads).try_for_each(|(w, g)| cuda::finish(&self.device, w, g))
        })?;
        let n = sums.all.len();
        let all = tensor(sums.all, &self.device, n);
        let mut at = 0;
        let of = |p: &Parameter| {
            let n = p.var.elem_count();
            at += n;
            all.narrow(0, at - n, n)?.reshape(p.var.shape())
        };
        Ok(WeightGradients::Device(self.parameters.iter().map(of).collect::<Result<_>>()?))
    }
}

/// Places each weight's gradient in the sums' buffer.
fn places<'s>(weights: &Net<Description>, all: &'s CudaSlice<f32>, empty: bool) -> Net<Sum<'s>> {
    let mut at = 0;
    weights.map(|weight| {
        let start = at;
        at += weight.count();
        Sum { all, range: start..at, empty }
    })
}
