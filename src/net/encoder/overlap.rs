//! The stem of two 3×3 convolutions of stride 2, image by image: each as a product over windows, of
//! some rows of the map at a time, which stay in a thread's caches.

use super::patch::{self, multiply, multiply_backward, norm_backward, norm_forward};
use super::space;
use super::weights::{Affine, Sum};
use crate::net::ops::{Real, lanes::Lanes, product::shared_product};
use std::ops::Range;

/// Windows whose products are made at once, about.
const WINDOWS: usize = 1024;

/// What an image is worked on in, beside the windows.
#[derive(Default)]
pub(super) struct Work<R> {
    /// After the first convolution, [S/2, S/2, M], and its gradient.
    middle: Vec<R>,
    d_middle: Vec<R>,
}

/// Values of [`Work`], and of the windows, for an image of `size`².
pub(super) fn work_values(size: usize, middle: usize) -> usize {
    2 * (size / 2) * (size / 2) * middle + 2 * (WINDOWS + size / 4) * 9 * middle
}

/// The rows of a map of windows, [h, w], some at a time.
fn pieces(h: usize, w: usize) -> impl Iterator<Item = Range<usize>> {
    let rows = WINDOWS.div_ceil(w);
    (0..h).step_by(rows).map(move |y| y..(y + rows).min(h))
}

/// Calls `row` for the three rows of each window of a map [h, w, C], `of` the map's rows of windows,
/// with its start among the windows, its start in the map, and its length. What lies outside of the
/// map, above it or to its left, is left out.
fn each_row([w, c]: [usize; 2], of: Range<usize>, mut row: impl FnMut(usize, usize, usize)) {
    for (i, y) in of.enumerate() {
        for x in 0..w / 2 {
            let outside = if x == 0 { c } else { 0 };
            for k in 0..3 {
                let Some(from) = (2 * y + k).checked_sub(1) else { continue };
                let to = ((i * (w / 2) + x) * 3 + k) * 3 * c + outside;
                row(to, (from * w + 2 * x) * c + outside - c, 3 * c - outside);
            }
        }
    }
}

/// The windows of `map` [h, w, C] in rows `of` windows: [rows·w/2, 9·C].
fn gather<'a, R: Real>(
    map: &[R],
    [w, c]: [usize; 2],
    of: Range<usize>,
    windows: &'a mut Vec<R>,
) -> &'a [R] {
    let windows = space(windows, of.len() * (w / 2) * 9 * c);
    windows.fill(R::zero());
    each_row([w, c], of, |to, from, n| windows[to..to + n].copy_from_slice(&map[from..from + n]));
    windows
}

/// `map` [h, w, C] → `out` [h/2, w/2, C'].
fn convolve<R: Real>(
    lanes: Lanes,
    weights: &Affine<&[R]>,
    map: &[R],
    [h, w, c]: [usize; 3],
    out: &mut [R],
    windows: &mut Vec<R>,
) {
    let width = (w / 2) * weights.bias.len();
    for rows in pieces(h / 2, w / 2) {
        let windows = gather(map, [w, c], rows.clone(), windows);
        multiply(lanes, weights, windows, &mut out[rows.start * width..rows.end * width]);
    }
}

/// Images [n, S, S, in] → before the norm `pre`, after it `out`: [n, S/4, S/4, C].
pub(super) fn stem<R: Real>(
    (first, second): (&Affine<&[R]>, &Affine<&[R]>),
    norm: &Affine<&[R]>,
    [n, h, w, c]: [usize; 4],
    images: &[R],
    (pre, out): (&mut [R], &mut [R]),
    (own, work): (&mut Work<R>, &mut patch::Work<R>),
) {
    let m = first.bias.len();
    let middle = space(&mut own.middle, h / 2 * (w / 2) * m);
    let length = pre.len() / n;
    for (image, pre) in images.chunks_exact(h * w * c).zip(pre.chunks_exact_mut(length)) {
        convolve(work.lanes, first, image, [h, w, c], middle, &mut work.patches);
        convolve(work.lanes, second, middle, [h / 2, w / 2, m], pre, &mut work.patches);
    }
    norm_forward(work.lanes, norm, pre, out);
}

/// Adds the gradients of the stem's weights for the gradient `g` of its result. The images need
/// none. The first convolution is computed again: a fiftieth of the encoder's products, against the
/// largest of its maps.
pub(super) fn stem_backward<R: Real>(
    (first, second): (&Affine<&[R]>, &Affine<&[R]>),
    (first_grads, second_grads): (&mut Affine<Sum<R>>, &mut Affine<Sum<R>>),
    (norm, norm_grads): (&Affine<&[R]>, &mut Affine<Sum<R>>),
    [n, h, w, c]: [usize; 4],
    (images, pre): (&[R], &[R]),
    g: &[R],
    (own, work): (&mut Work<R>, &mut patch::Work<R>),
) {
    let lanes = work.lanes;
    let dz = space(&mut work.dz, g.len());
    norm_backward(lanes, norm, norm_grads, pre, g, dz, &mut work.norm);
    let (m, width) = (first.bias.len(), second.bias.len());
    let (h2, w2) = (h / 2, w / 2);
    let middle = space(&mut own.middle, h2 * w2 * m);
    let d_middle = space(&mut own.d_middle, h2 * w2 * m);
    for (image, dz) in images.chunks_exact(h * w * c).zip(dz.chunks_exact(g.len() / n)) {
        convolve(lanes, first, image, [h, w, c], middle, &mut work.patches);
        d_middle.fill(R::zero());
        for rows in pieces(h2 / 2, w2 / 2) {
            let dz = &dz[rows.start * (w2 / 2) * width..rows.end * (w2 / 2) * width];
            let windows = gather(middle, [w2, m], rows.clone(), &mut work.patches);
            multiply_backward(lanes, second_grads, windows, dz);
            let d_windows = space(&mut work.d_patches, windows.len());
            let (size, weight) = ((dz.len() / width, 9 * m, width), second.weight);
            let strides = (9 * m, 1);
            shared_product(lanes, size, d_windows, 9 * m, dz, (width, 1), weight, strides, false);
            each_row([w2, m], rows, |from, to, n| {
                super::block::add(&mut d_middle[to..to + n], &d_windows[from..from + n]);
            });
        }
        for rows in pieces(h2, w2) {
            let g = &d_middle[rows.start * w2 * m..rows.end * w2 * m];
            let windows = gather(image, [w, c], rows, &mut work.patches);
            multiply_backward(lanes, first_grads, windows, g);
        }
    }
}
