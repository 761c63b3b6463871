//! The encoder's weights, or anything else that there is one of for each of them.

use crate::net::{Spec, Stem, ops::Real, parameters::Parameter, views::Views};
use candle_core::Result;

/// Weight and bias of a norm or a product.
pub(super) struct Affine<T> {
    pub(super) weight: T,
    pub(super) bias: T,
}

/// A ConvNeXt block's.
pub(super) struct Block<T> {
    pub(super) gamma: T,
    pub(super) depthwise: Affine<T>,
    pub(super) norm: Affine<T>,
    pub(super) fc1: Affine<T>,
    pub(super) fc2: Affine<T>,
}

/// A stage's; the first has no downsampling (norm and 2×2 product).
pub(super) struct Stage<T> {
    pub(super) downsample: Option<(Affine<T>, Affine<T>)>,
    pub(super) blocks: Vec<Block<T>>,
}

/// The whole encoder's, each as `T`: a slice of values, of gradients.
pub(super) struct Net<T> {
    pub(super) stem: Affine<T>,
    /// The second convolution of an overlapping stem.
    pub(super) second: Option<Affine<T>>,
    pub(super) stem_norm: Affine<T>,
    pub(super) stages: Vec<Stage<T>>,
    pub(super) head_norm: Affine<T>,
}

impl<T> Net<T> {
    /// In the order in which `ConvNeXt::new` makes them, one of `next` for each.
    pub fn in_order(spec: &Spec, next: &mut dyn FnMut() -> T) -> Self {
        let stem = affine(next);
        let second = matches!(spec.stem, Stem::Overlap { .. }).then(|| affine(next));
        let stem_norm = affine(next);
        let stages = spec.depths.iter().enumerate().map(|(s, &depth)| {
            let downsample = (s > 0).then(|| (affine(next), affine(next)));
            let blocks = (0..depth).map(|_| Block {
                gamma: next(),
                depthwise: affine(next),
                norm: affine(next),
                fc1: affine(next),
                fc2: affine(next),
            });
            let blocks = blocks.collect();
            Stage { downsample, blocks }
        });
        let stages = stages.collect();
        Self { stem, second, stem_norm, stages, head_norm: affine(next) }
    }
}

fn affine<T>(next: &mut dyn FnMut() -> T) -> Affine<T> {
    let weight = next();
    Affine { weight, bias: next() }
}

/// Number of the encoder's weight tensors: they come first among a network's parameters.
pub(super) fn count(spec: &Spec) -> usize {
    let mut n = 0;
    Net::in_order(spec, &mut || n += 1);
    n
}

/// The encoder's weights among a network's.
pub(super) fn views<'a>(parameters: &'a [Parameter], spec: &Spec) -> Views<'a> {
    Views::new(&parameters[..count(spec)])
}

/// The encoder's weights as slices. Errors: they are not on the CPU, or not of type `R`.
pub(super) fn net<'v, R: Real>(views: &'v Views, spec: &Spec) -> Result<Net<&'v [R]>> {
    let mut slices = views.slices()?.into_iter();
    Ok(Net::in_order(spec, &mut || slices.next().expect("as many as counted")))
}

/// A weight's gradient, summed up.
pub(super) struct Sum<'a, R> {
    values: &'a mut [R],
    /// Nothing is added yet, and the values are any at all.
    empty: bool,
}

impl<R: Real> Sum<'_, R> {
    /// The values, to add to.
    pub fn values(&mut self) -> &mut [R] {
        if std::mem::replace(&mut self.empty, false) {
            self.values.fill(R::zero());
        }
        self.values
    }

    /// The values, and whether to add to them or else write over them.
    pub fn add_or_begin(&mut self) -> (&mut [R], bool) {
        let empty = std::mem::replace(&mut self.empty, false);
        (self.values, !empty)
    }
}

/// The encoder's sums, `values` one for each weight in order, all of them empty or none.
pub(super) fn sums<'a, R>(values: &'a mut [Vec<R>], spec: &Spec, empty: bool) -> Net<Sum<'a, R>> {
    let mut values = values.iter_mut();
    Net::in_order(spec, &mut || {
        let values = &mut values.next().expect("as many as counted")[..];
        Sum { values, empty }
    })
}
