//! Work shared by several threads.

use super::Float;
use rayon::prelude::*;

/// Number of threads that share the rows of each kernel and the tiles of each product. With one, the
/// work stays on the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lanes(pub(crate) usize);

impl Default for Lanes {
    fn default() -> Self {
        Self(1)
    }
}

impl Lanes {
    /// Returns how many of `values` a lane gets, in whole rows of `c`.
    pub(crate) fn values(self, values: usize, c: usize) -> usize {
        (values / c).div_ceil(self.0).max(1) * c
    }

    /// Returns the `i`-th lane's range of `n` items.
    pub(crate) fn range(self, i: usize, n: usize) -> std::ops::Range<usize> {
        n * i / self.0..n * (i + 1) / self.0
    }

    /// Runs `f` on each item, which adds to `sum`: the first adds to it directly, the others to zeros
    /// that are then added to it in order.
    pub(crate) fn summed<R: Float, I: Send>(
        self,
        sum: &mut [R],
        items: impl IndexedParallelIterator<Item = I>,
        f: impl Fn(I, &mut [R]) + Sync,
    ) {
        let n = sum.len();
        let mut items: Vec<I> = items.collect();
        if items.len() == 1 {
            return items.into_iter().for_each(|item| f(item, sum));
        }
        let others = items.split_off(1.min(items.len()));
        let ((), parts) = rayon::join(
            || items.into_iter().for_each(|item| f(item, sum)),
            || -> Vec<Vec<R>> {
                let part = |item| {
                    let mut part = vec![R::zero(); n];
                    f(item, &mut part);
                    part
                };
                others.into_par_iter().map(part).collect()
            },
        );
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(sum, v)| *sum += v);
        }
    }
}
