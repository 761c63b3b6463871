//! Buffers reused from step to step.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

/// A pool of buffers by length, shared by all threads. Each step reuses the buffers that the last one
/// returned, so after the first step nothing is allocated and no page is cleared again.
#[derive(Debug, Default)]
pub struct BufferPool<R>(Mutex<Shelves<R>>);

#[derive(Debug, Default)]
struct Shelves<R> {
    /// Free buffers by length, each with the round in which it was returned.
    free: HashMap<usize, Vec<(Vec<R>, u64)>>,
    round: u64,
}

impl<R: Copy + Default> BufferPool<R> {
    fn shelves(&self) -> MutexGuard<'_, Shelves<R>> {
        // No panic under this lock can leave the map half updated.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes a buffer of `n` arbitrary values.
    pub fn take(&self, n: usize) -> Vec<R> {
        let free = self.shelves().free.get_mut(&n).and_then(Vec::pop);
        free.map_or_else(|| vec![R::default(); n], |(buffer, _)| buffer)
    }

    /// Takes a buffer of `n` zeros.
    pub fn zeros(&self, n: usize) -> Vec<R> {
        let mut buffer = self.take(n);
        buffer.fill(R::default());
        buffer
    }

    /// Returns a buffer to the pool.
    pub fn give(&self, buffer: Vec<R>) {
        let mut shelves = self.shelves();
        let round = shelves.round;
        shelves.free.entry(buffer.len()).or_default().push((buffer, round));
    }

    /// Ends a step: frees the buffers that were not used since the last call.
    pub fn end_round(&self) {
        let mut shelves = self.shelves();
        let round = shelves.round;
        shelves.round += 1;
        for buffers in shelves.free.values_mut() {
            buffers.retain(|(_, used)| *used == round);
        }
        shelves.free.retain(|_, buffers| !buffers.is_empty());
    }

    /// Number of values in the free buffers.
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
        // The buffer of 5 was not taken in this round, and those of 3 were never returned.
        pool.end_round();
        assert_eq!(pool.values(), 0);
    }
}
