//! The operations that a device implements for the network's forward and backward pass; the pass itself
//! is written once over them ([`super::encoder`]).
//!
//! If a device's compute type is narrower than f32, it keeps each map of the network, and each map's
//! gradient, twice: in f32, which layers add to, and rounded to the compute type, which products and
//! convolutions read ([`Ops::take_map`]). Everything inside a layer has the compute type. On the CPU
//! both are one f32 buffer (f64 in tests).
//!
//! Buffers may be longer than asked for; an [`In`] or [`Out`] gives the range of values to use, in
//! contiguous rows. Sizes count values.

pub(crate) mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod loops;

use super::description::Affine;
use std::ops::Range;

/// Hidden values, 4C per row, that a block works on at once on a GPU. Three buffers of them take the
/// most memory after the maps.
pub(crate) const HIDDEN: usize = 1 << 28;

/// A range of a buffer, to read.
pub(crate) type In<'a, B> = (&'a B, Range<usize>);
/// A range of a buffer, to write.
pub(crate) type Out<'a, B> = (&'a mut B, Range<usize>);

/// Windows of a 3×3 convolution of stride 2 over maps [images, h, w, c] with a border of zeros. `rows`
/// is a range of the rows of windows, counted over all maps; each map has h/2 rows of w/2 windows.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub rows: Range<usize>,
}

impl Windows {
    /// Number of windows.
    pub fn count(&self) -> usize {
        self.rows.len() * (self.w / 2)
    }

    /// Index of the first window, counted over all maps.
    #[cfg(feature = "cuda")]
    pub fn first(&self) -> usize {
        self.rows.start * (self.w / 2)
    }

    /// Number of values, for [windows, 9·C].
    pub fn values(&self) -> usize {
        self.count() * 9 * self.c
    }
}

/// A device that works on a group of images.
pub(crate) trait Ops {
    /// A weight.
    type Weight: Copy;
    /// Sum of a weight's gradients; each operation adds to it.
    type Sum;
    /// Values in the compute type.
    type Inner: Default;
    /// Values in f32.
    type Wide: Default;

    /// Takes a buffer of `n` arbitrary values.
    fn take(&mut self, n: usize) -> Self::Inner;
    fn give(&mut self, _: Self::Inner) {}
    fn give_wide(&mut self, _: Self::Wide) {}
    /// Takes a buffer for a map that layers add to, or for its gradient.
    fn take_map(&mut self, n: usize) -> Self::Inner {
        self.take(n)
    }
    /// Makes a buffer at least `n` values long; the values become arbitrary.
    fn fit(&mut self, buffer: &mut Self::Inner, n: usize);
    /// Marks the buffer as unused until the next [`Self::fit`]: a device may free it.
    fn spare(&mut self, _: &mut Self::Inner) {}
    /// Keeps the part of a map that the backward pass reads, and frees its f32 values.
    fn keep(&mut self, map: Self::Inner) -> Self::Inner {
        map
    }

    /// Number of pieces in which a block works on `rows` rows of 4·`c` hidden values, so that they fit
    /// into the device's caches or memory.
    fn pieces(&self, rows: usize, c: usize) -> usize;
    /// How many of `images` an overlapping stem takes at once, and how many of a map's `rows` rows of
    /// `w` windows.
    fn windows_at_once(&self, images: usize, rows: usize, w: usize) -> (usize, usize);

    /// Writes images `range` as [n, S, S, in] in 0..=1.
    fn images(&mut self, range: Range<usize>, out: Out<Self::Inner>);
    /// Writes them as patches of s×s pixels, one per row, [n·S/s·S/s, s·s·in]; may use `images` as
    /// scratch space.
    fn image_patches(
        &mut self,
        range: Range<usize>,
        shape: [usize; 4],
        s: usize,
        images: &mut Self::Inner,
        out: &mut Self::Inner,
    );
    /// Copies the windows of `map` to rows.
    fn windows(&mut self, map: In<Self::Inner>, windows: &Windows, out: &mut Self::Inner);
    /// Adds the windows' rows to the map.
    fn add_windows(&mut self, rows: &Self::Inner, windows: &Windows, map: Out<Self::Inner>);
    fn zero(&mut self, values: Out<Self::Inner>);

    /// Computes x · Wᵀ; `size`: rows, width of the result, width of x.
    fn product(
        &mut self,
        size: [usize; 3],
        x: In<Self::Inner>,
        weight: Self::Weight,
        out: Out<Self::Inner>,
    );
    /// Computes the gradient of x, g · W; `size` as in [`Self::product`].
    fn product_by_input(
        &mut self,
        size: [usize; 3],
        g: In<Self::Inner>,
        weight: Self::Weight,
        out: Out<Self::Inner>,
    );
    /// Adds the gradient of W, gᵀ · x; `size` as in [`Self::product`].
    fn product_by_weight(
        &mut self,
        size: [usize; 3],
        g: In<Self::Inner>,
        x: In<Self::Inner>,
        sum: &mut Self::Sum,
    );
    /// Adds the bias to each row.
    fn add_bias(&mut self, bias: Self::Weight, width: usize, rows: Out<Self::Inner>);
    /// Adds the sum of all rows to `sum`.
    fn column_sums(&mut self, rows: In<Self::Inner>, width: usize, sum: &mut Self::Sum);

    /// Depthwise 7×7 convolution of [n, h, w, c].
    fn depthwise(
        &mut self,
        x: &Self::Inner,
        weights: &Affine<Self::Weight>,
        shape: [usize; 4],
        out: &mut Self::Inner,
    );
    /// Its backward pass: adds the gradient of x to `dx`, and the gradients of the weights.
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
    /// Its backward pass: computes the gradient of x, and adds those of weight and bias to `sums`.
    fn norm_backward(
        &mut self,
        weight: Self::Weight,
        c: usize,
        x: In<Self::Inner>,
        g: In<Self::Inner>,
        dx: Out<Self::Inner>,
        sums: &mut Self::Wide,
    );
    /// [`Self::norm`] of a map [n, h, w, c], written as patches of s×s pixels, one per row, [n·h/s·w/s,
    /// s·s·c]; may use `z` as scratch space.
    fn norm_to_patches(
        &mut self,
        norm: &Affine<Self::Weight>,
        shape: [usize; 4],
        s: usize,
        x: &Self::Inner,
        z: &mut Self::Inner,
        out: &mut Self::Inner,
    );
    /// Its backward pass, from the gradient of the patches; may use `dz` as scratch space.
    fn norm_to_patches_backward(
        &mut self,
        weight: Self::Weight,
        map: ([usize; 4], usize),
        xg: [&Self::Inner; 2],
        dz: &mut Self::Inner,
        dx: &mut Self::Inner,
        sums: &mut Self::Wide,
    );
    /// Starts sums of norms' gradients, [2, c].
    fn begin_norm(&mut self, sums: &mut Self::Wide, c: usize);
    /// Adds the sums to the weights' gradients.
    fn end_norm(&mut self, sums: &Self::Wide, grads: &mut Affine<Self::Sum>);

    /// Computes gelu(x + bias) of rows of `c`.
    fn gelu(&mut self, x: In<Self::Inner>, bias: Self::Weight, c: usize, out: Out<Self::Inner>);
    /// [`Self::gelu`] in place.
    fn gelu_in_place(&mut self, x: Out<Self::Inner>, bias: Self::Weight, c: usize);
    /// Its backward pass: turns `g`, the gradient of the result, into that of x and adds its sum over
    /// the rows; also recomputes gelu(x + bias) into `recomputed`. Uses up x.
    fn gelu_backward(
        &mut self,
        x: Out<Self::Inner>,
        bias: Self::Weight,
        c: usize,
        recomputed: Out<Self::Inner>,
        g: Out<Self::Inner>,
        sum: &mut Self::Sum,
    );

    /// Adds (x + bias) · gamma to the residual, for rows of `c`.
    fn scale_residual(
        &mut self,
        x: In<Self::Inner>,
        bias_gamma: [Self::Weight; 2],
        c: usize,
        residual: In<Self::Inner>,
        out: Out<Self::Inner>,
    );
    /// Computes the gradient of x, g · gamma; adds the sum of g over the rows to `sum`.
    fn scale_backward(
        &mut self,
        g: In<Self::Inner>,
        gamma: Self::Weight,
        c: usize,
        out: Out<Self::Inner>,
        sum: &mut Self::Sum,
    );

    /// Means over the pixels of each of n maps, [n, pixels, c] → [n, c].
    fn pool(&mut self, map: &Self::Inner, size: [usize; 3]) -> Self::Wide;
    /// Computes the gradient of the map from that of the means, which may serve as scratch space.
    fn pool_backward(&mut self, g: Self::Wide, size: [usize; 3]) -> Self::Inner;
    /// [`Self::norm`] of `n` rows in f32.
    fn norm_wide(
        &mut self,
        norm: &Affine<Self::Weight>,
        c: usize,
        x: &Self::Wide,
        n: usize,
    ) -> Self::Wide;
    /// [`Self::norm_backward`] of `n` rows in f32; adds the gradients to the weights'.
    fn norm_wide_backward(
        &mut self,
        weight: Self::Weight,
        c: usize,
        x: &Self::Wide,
        g: (Self::Wide, usize),
        grads: &mut Affine<Self::Sum>,
    ) -> Self::Wide;
}
