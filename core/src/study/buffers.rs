//! Reusable buffers: a worker fills one, the trainer reads it, and a worker fills it again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// The images of one study, uint8 `[T, size, size, 6]`. A buffer from a [`BufferPool`] returns to it
/// when dropped.
pub struct Images {
    bytes: Vec<u8>,
    pool: Option<Arc<BufferPool>>,
}

impl From<Vec<u8>> for Images {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, pool: None }
    }
}

impl Deref for Images {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Images {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl PartialEq for Images {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Images({} bytes)", self.bytes.len())
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.lock().push(std::mem::take(&mut self.bytes));
        }
    }
}

/// Unused buffers of one length. A new one is made only if none is free, so there are never more than
/// were in use at the same time.
pub(super) struct BufferPool {
    bytes: usize,
    free: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// Creates an empty pool. `bytes`: length of each buffer.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes, free: Mutex::default() })
    }

    /// Returns a buffer with undefined contents, to be overwritten.
    pub fn take(self: &Arc<Self>) -> Images {
        let free = self.lock().pop();
        let bytes = free.unwrap_or_else(|| vec![0; self.bytes]);
        Images { bytes, pool: Some(self.clone()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of unused buffers.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.lock().len()
    }
}
