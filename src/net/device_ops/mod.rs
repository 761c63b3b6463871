//! The operations that a device must have for the network's forward and backward pass, which is
//! written once over them ([`super::encoder`]).
//!
//! A device keeps a map of the network, or a gradient by one, twice where its compute type is narrower
//! than f32: in f32, to which layers add, and rounded to the compute type, as products and
//! convolutions read it ([`Ops::take_map`]). Everything inside of a layer is of the compute type. On the CPU
//! both are one buffer of f32 (f64 in tests).
//!
//! Buffers are at least as long as what is asked for; an [`In`] or [`Out`] names the values that are
//! meant, rows one behind the other. Sizes are in values.

pub(crate) mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod loops;

use super::description::{Affine, Block};
use std::ops::Range;

/// Hidden values, of 4C a row, that a block works on at once on a GPU: three buffers of them are what
/// takes the most memory beside the maps.
pub(crate) const HIDDEN: usize = 1 << 28;

/// Values of a buffer to read.
pub(crate) type In<'a, B> = (&'a B, Range<usize>);
/// Values of a buffer to write.
pub(crate) type Out<'a, B> = (&'a mut B, Range<usize>);

/// Windows of a 3×3 convolution of stride 2: of maps [images, h, w, c], with a border of zeros, those
/// in rows `rows` of windows, each map's h/2 rows of w/2 windows behind the other's.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub rows: Range<usize>,
}

impl Windows {
    /// Windows.
    pub fn count(&self) -> usize {
        self.rows.len() * (self.w / 2)
    }

    /// The first of them, counted over all maps.
    #[cfg(feature = "cuda")]
    pub fn first(&self) -> usize {
        self.rows.start * (self.w / 2)
    }

    /// Values of them, [windows, 9·C].
    pub fn values(&self) -> usize {
        self.count() * 9 * self.c
    }
}

/// A device at work on a group of images.
pub(crate) trait Ops {
    /// A weight.
    type Weight: Copy;
    /// A weight's gradient, to which each operation adds.
    type Sum;
    /// Values in the compute type.
    type Inner: Default;
    /// Values in f32.
    type Wide: Default;

    /// A buffer of `n` values, which are any at all.
    fn take(&mut self, n: usize) -> Self::Inner;
    fn give(&mut self, buffer: Self::Inner);
    fn give_wide(&mut self, buffer: Self::Wide);
    /// The same for a map that layers add to, or the gradient by one.
    fn take_map(&mut self, n: usize) -> Self::Inner;
    fn give_map(&mut self, map: Self::Inner);
    /// Makes a buffer at least `n` values long; they are then any at all.
    fn fit(&mut self, buffer: &mut Self::Inner, n: usize);

    /// Says that nothing needs the buffer until the next [`Self::fit`]: a device may free it.
    fn spare(&mut self, buffer: &mut Self::Inner);

    /// What the backward pass reads of a map; the f32 is given back.
    fn keep(&mut self, map: Self::Inner) -> Self::Inner;

    /// In how many pieces a block works on `rows` rows of 4·`c` hidden values, so that they fit into
    /// the device's caches, or its memory.
    fn pieces(&self, rows: usize, c: usize) -> usize;
    /// How many of some images an overlapping stem takes at once, and how many of a map's `rows` rows
    /// of `w` windows.
    fn windows_at_once(&self, images: usize, rows: usize, w: usize) -> (usize, usize);

    /// Images `range` [n, S, S, in] in 0..=1.
    fn images(&mut self, range: Range<usize>, out: Out<Self::Inner>);
    /// The same as patches of s×s pixels, a row each, [n·S/s·S/s, s·s·in]; `images` may be worked in.
    fn image_patches(
        &mut self,
        range: Range<usize>,
        shape: [usize; 4],
        s: usize,
        images: &mut Self::Inner,
        out: &mut Self::Inner,
    );
    /// `map` → its windows as rows.
    fn windows(&mut self, map: In<Self::Inner>, windows: &Windows, out: &mut Self::Inner);
    /// Adds the windows' rows to the map.
    fn add_windows(&mut self, rows: &Self::Inner, windows: &Windows, map: Out<Self::Inner>);
    fn zero(&mut self, values: Out<Self::Inner>);

    /// x · Wᵀ; `size`: rows, width of the result, width of x.
    fn product(
        &mut self,
        size: [usize; 3],
        x: In<Self::Inner>,
        weight: Self::Weight,
        out: Out<Self::Inner>,
    );
    /// The gradient by x, g · W; `size` as in [`Self::product`].
    fn product_by_input(
        &mut self,
        size: [usize; 3],
        g: In<Self::Inner>,
        weight: Self::Weight,
        out: Out<Self::Inner>,
    );
    /// Adds the gradient by W, gᵀ · x; `size` as in [`Self::product`].
    fn product_by_weight(
        &mut self,
        size: [usize; 3],
        g: In<Self::Inner>,
        x: In<Self::Inner>,
        sum: &mut Self::Sum,
    );
    /// Adds the bias to each row.
    fn add_bias(&mut self, bias: Self::Weight, width: usize, rows: Out<Self::Inner>);
    /// Adds the sum of all rows.
    fn column_sums(&mut self, rows: In<Self::Inner>, width: usize, sum: &mut Self::Sum);

    /// Depthwise 7×7 convolution of [n, h, w, c].
    fn depthwise(
        &mut self,
        x: &Self::Inner,
        weights: &Affine<Self::Weight>,
        shape: [usize; 4],
        out: &mut Self::Inner,
    );
    /// Its backward pass: adds the gradients by x, which `dx` holds others of, and by the weights.
    fn depthwise_backward(
        &mut self,
        x: &Self::Inner,
        weight: Self::Weight,
        g: &Self::Inner,
        shape: [usize; 4],
        dx: &mut Self::Inner,
        sums: &mut Affine<Self::Sum>,
    );

    /// LayerNorm of rows of `c`.
    fn norm(
        &mut self,
        norm: &Affine<Self::Weight>,
        c: usize,
        x: In<Self::Inner>,
        out: Out<Self::Inner>,
    );
    /// Its backward pass: the gradient by x; those by weight and bias are added to `sums`.
    fn norm_backward(
        &mut self,
        weight: Self::Weight,
        c: usize,
        x: In<Self::Inner>,
        g: In<Self::Inner>,
        dx: Out<Self::Inner>,
        sums: &mut Self::Wide,
    );
    /// [`Self::norm`] of a map [n, h, w, c] as patches of s×s pixels, a row each, [n·h/s·w/s, s·s·c];
    /// `z` may be worked in.
    fn norm_to_patches(
        &mut self,
        norm: &Affine<Self::Weight>,
        shape: [usize; 4],
        s: usize,
        x: &Self::Inner,
        z: &mut Self::Inner,
        out: &mut Self::Inner,
    );
    /// Its backward pass, from the gradient by the patches; `dz` may be worked in.
    fn norm_to_patches_backward(
        &mut self,
        weight: Self::Weight,
        map: ([usize; 4], usize),
        xg: [&Self::Inner; 2],
        dz: &mut Self::Inner,
        dx: &mut Self::Inner,
        sums: &mut Self::Wide,
    );
    /// Begins sums of norms' gradients, [2, c].
    fn begin_norm(&mut self, sums: &mut Self::Wide, c: usize);
    /// Adds them to those of the weights.
    fn end_norm(&mut self, sums: &Self::Wide, grads: &mut Affine<Self::Sum>);

    /// gelu(x + bias), of rows of `c`.
    fn gelu(&mut self, x: In<Self::Inner>, bias: Self::Weight, c: usize, out: Out<Self::Inner>);
    /// The same in place.
    fn gelu_in_place(&mut self, x: Out<Self::Inner>, bias: Self::Weight, c: usize);
    /// Its backward pass: `g`, the gradient by the result, becomes that by x, whose sum over the rows
    /// is added; and once more gelu(x + bias), into `recomputed`. x is used up.
    fn gelu_backward(
        &mut self,
        x: Out<Self::Inner>,
        bias: Self::Weight,
        c: usize,
        recomputed: Out<Self::Inner>,
        g: Out<Self::Inner>,
        sum: &mut Self::Sum,
    );

    /// Residual plus (x + bias) · gamma, of rows of gamma's width: fc2's bias, and the block's gamma.
    fn scale_residual(
        &mut self,
        x: In<Self::Inner>,
        weights: &Block<Self::Weight>,
        c: usize,
        residual: In<Self::Inner>,
        out: Out<Self::Inner>,
    );
    /// The gradient by x, g · gamma; the sum of g over the rows is added to `sum`.
    fn scale_backward(
        &mut self,
        g: In<Self::Inner>,
        gamma: Self::Weight,
        c: usize,
        out: Out<Self::Inner>,
        sum: &mut Self::Sum,
    );

    /// The mean over the pixels of each of n maps, [n, pixels, c] → [n, c].
    fn pool(&mut self, map: &Self::Inner, size: [usize; 3]) -> Self::Wide;
    /// The gradient by the map from that by the mean, which is worked in.
    fn pool_backward(&mut self, g: Self::Wide, size: [usize; 3]) -> Self::Inner;
    /// [`Self::norm`] of `n` rows in f32.
    fn norm_wide(
        &mut self,
        norm: &Affine<Self::Weight>,
        c: usize,
        x: &Self::Wide,
        n: usize,
    ) -> Self::Wide;
    /// [`Self::norm_backward`] of `n` rows in f32; the gradients are added to those of the weights.
    fn norm_wide_backward(
        &mut self,
        weight: Self::Weight,
        c: usize,
        x: &Self::Wide,
        g: (Self::Wide, usize),
        grads: &mut Affine<Self::Sum>,
    ) -> Self::Wide;
}
