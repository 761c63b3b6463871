//! Buffers that go from step to step.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

/// Buffers by length, taken and given back by any thread. What a step gives back the next one
/// takes again, so that after the first nothing is allocated, and no page is cleared anew.
#[derive(Debug, Default)]
pub struct BufferPool<R>(Mutex<Shelves<R>>);

#[derive(Debug, Default)]
struct Shelves<R> {
    /// By length: the buffers, and the round in which each was given back.
    free: HashMap<usize, Vec<(Vec<R>, u64)>>,
    round: u64,
}

impl<R: Copy + Default> BufferPool<R> {
    fn shelves(&self) -> MutexGuard<'_, Shelves<R>> {
        // Nothing under this lock can be left half done.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A buffer of `n` values: any values at all.
    pub fn take(&self, n: usize) -> Vec<R> {
        let free = self.shelves().free.get_mut(&n).and_then(Vec::pop);
        free.map_or_else(|| vec![R::default(); n], |(buffer, _)| buffer)
    }

    /// One of zeros.
    pub fn zeros(&self, n: usize) -> Vec<R> {
        let mut buffer = self.take(n);
        buffer.fill(R::default());
        buffer
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: Vec<R>) {
        let mut shelves = self.shelves();
        let round = shelves.round;
        shelves.free.entry(buffer.len()).or_default().push((buffer, round));
    }

    /// Ends a step: what lay unused since the last call is freed.
    pub fn end_round(&self) {
        let mut shelves = self.shelves();
        let round = shelves.round;
        shelves.round += 1;
        for buffers in shelves.free.values_mut() {
            buffers.retain(|(_, used)| *used == round);
        }
        shelves.free.retain(|_, buffers| !buffers.is_empty());
    }

    /// Values that lie here.
    #[cfg(test)]
    pub(crate) fn values(&self) -> usize {
        self.shelves().free.iter().map(|(n, buffers)| n * buffers.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_until_a_round_without_them() {
        let pool = BufferPool::<f32>::default();
        let (a, b) = (pool.take(3), pool.take(5));
        let at = a.as_ptr();
        pool.give(a);
        pool.give(b);
        pool.end_round();
        assert_eq!(pool.values(), 8);
        let mut a = pool.take(3);
        assert_eq!(a.as_ptr(), at);
        a[1] = 2.0;
        pool.give(a);
        assert_eq!(pool.zeros(3), [0.0; 3]);
        // The one of 5 was not asked for, that of 3 never given back.
        pool.end_round();
        assert_eq!(pool.values(), 0);
    }
}
