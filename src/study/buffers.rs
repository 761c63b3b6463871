//! Buffers that go round: a worker fills one, the trainer reads it, and it is filled again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// The images of one study, uint8 `[T, size, size, 6]`. One of a [`BufferPool`] goes back there
/// when it is dropped.
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

/// Buffers of one length that nobody uses. It makes one only where none is free, so it never holds
/// more than were in use at one time.
pub(super) struct BufferPool {
    bytes: usize,
    free: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// `bytes`: length of each buffer.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes, free: Mutex::default() })
    }

    /// A buffer as its last user left it: whoever takes it overwrites it.
    pub fn take(self: &Arc<Self>) -> Images {
        let free = self.lock().pop();
        let bytes = free.unwrap_or_else(|| vec![0; self.bytes]);
        Images { bytes, pool: Some(self.clone()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Buffers that nobody uses.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.lock().len()
    }
}
