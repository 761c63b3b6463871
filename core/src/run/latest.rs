//! A slot for the newest request.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// A slot for one value between two threads. A newer value replaces an older one, so that the requests
/// of a key held down never queue up.
#[derive(Debug)]
pub struct Latest<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
}

impl<T> Latest<T> {
    /// Puts `new` in place of a value that nobody has taken yet. Never waits.
    pub fn put(&self, mut new: T) {
        while let Err(TrySendError::Full(back)) = self.sender.try_send(new) {
            let _ = self.receiver.try_recv();
            new = back;
        }
    }

    /// Returns the receiving end; disconnected once every clone of `self` is gone.
    pub fn taker(&self) -> Receiver<T> {
        self.receiver.clone()
    }
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        let (sender, receiver) = bounded(1);
        Self { sender, receiver }
    }
}

impl<T> Clone for Latest<T> {
    /// Returns another handle to the same slot.
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), receiver: self.receiver.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_taken_and_the_end_is_seen() {
        let latest = Latest::default();
        let taker = latest.taker();
        (0..1000).for_each(|i| latest.clone().put(i));
        assert_eq!(taker.recv(), Ok(999));
        assert!(taker.try_recv().is_err());
        latest.put(7);
        drop(latest);
        assert_eq!(taker.recv(), Ok(7));
        assert!(taker.recv().is_err());
    }
}
