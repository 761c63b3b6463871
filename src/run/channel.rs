//! From the trainer to the journal and to whoever watches, and back.
//!
//! Every event but one of pictures is in the journal before anyone hears of it. A watcher that is slow
//! or gone never slows training: once [`BACKLOG`] events wait for it, those that it can live
//! without are dropped; those that it cannot (epochs, folds, checkpoints, errors) are few and
//! always queued.

use super::{
    command::Command,
    event::{Event, Level, Log, Stamped},
    journal::Journal,
    latest::Latest,
    studies::SliceRequest,
};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Events that may wait for a watcher before steps and previews are dropped.
pub const BACKLOG: usize = 256;
/// A watcher for whom so many wait has gone.
const GONE: usize = 1 << 16;

/// The trainer's end of the event channel. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventSender {
    hub: Arc<Mutex<Hub>>,
    start: Instant,
    /// The run's seconds before this process.
    before: f64,
}

#[derive(Debug)]
struct Hub {
    journal: Option<Journal>,
    /// Why the journal's newest lines are not written.
    trouble: Option<io::Error>,
    watchers: Vec<Watcher>,
    /// Events that the first watcher, the run's own view, did not get.
    dropped: u64,
    /// The run has finished: nothing comes after that which can be left out.
    over: bool,
}

#[derive(Debug)]
struct Watcher {
    sender: Sender<Stamped>,
    /// The run's own view.
    own: bool,
}

impl EventSender {
    /// Queues `event`, stamped with the run's seconds, and writes it to the journal. Never waits
    /// for a watcher; an event for one that is gone, or a droppable one for one that lags, is lost
    /// to it.
    pub fn send(&self, event: Event) {
        let mut hub = self.hub();
        let stamped = Stamped { at: self.before + self.start.elapsed().as_secs_f64(), event };
        let Hub { journal, trouble, watchers, dropped, over } = &mut *hub;
        if *over && stamped.event.may_be_dropped() {
            return;
        }
        *over |= matches!(stamped.event, Event::RunFinished(_));
        if let (Some(journal), false) = (journal, stamped.event.is_picture()) {
            *trouble = journal.append(&stamped).err();
        }
        watchers.retain(|watcher| {
            let waiting = watcher.sender.len();
            if stamped.event.may_be_dropped() && waiting >= BACKLOG {
                *dropped += u64::from(watcher.own);
                return true;
            }
            // A watcher that has gone is no reason to stop training.
            watcher.sender.send(stamped.clone()).is_ok() && (watcher.own || waiting < GONE)
        });
    }

    /// Queues a log line.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        self.send(Event::Log(Log { level, message: message.into() }));
    }

    /// Events that the run's own view did not get because it lagged.
    pub fn dropped(&self) -> u64 {
        self.hub().dropped
    }

    /// The run's seconds so far.
    pub fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    /// One more watcher: how much of the journal happened before, and all that comes after.
    pub fn watch(&self) -> (u64, Receiver<Stamped>) {
        let (sender, receiver) = unbounded();
        let mut hub = self.hub();
        hub.watchers.push(Watcher { sender, own: false });
        (hub.journal.as_ref().map_or(0, Journal::written), receiver)
    }

    /// Writes what of the journal could not be written; `Err` where it still cannot.
    pub fn flush(&self) -> io::Result<()> {
        let mut hub = self.hub();
        let Hub { journal, trouble, .. } = &mut *hub;
        if trouble.is_none() {
            return Ok(());
        }
        journal.as_mut().map_or(Ok(()), Journal::flush)?;
        *trouble = None;
        Ok(())
    }

    /// Waits until all of the journal is on the disk itself.
    pub fn sync(&self) -> io::Result<()> {
        self.hub().journal.as_mut().map_or(Ok(()), Journal::sync)
    }

    /// Nothing more comes: watchers hear what is queued for them, and then the end.
    pub fn close(&self) {
        self.hub().watchers.clear();
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A view's end of both channels.
#[derive(Debug, Clone)]
pub struct RunHandle {
    /// What the trainer says; disconnected when the trainer thread has ended.
    pub events: Receiver<Stamped>,
    /// What the trainer is asked.
    pub commands: Sender<Command>,
    /// The slice to be shown; not the trainer's to read, and answered while it works or holds.
    pub slice_requests: Latest<SliceRequest>,
}

/// Makes the trainer's ends, and those of the run's own view. `before`: the run's seconds before
/// this process.
pub fn channel(
    journal: Option<Journal>,
    before: f64,
) -> (EventSender, Receiver<Command>, RunHandle) {
    let (sender, receiver) = unbounded();
    let (command_sender, command_receiver) = unbounded();
    let watchers = vec![Watcher { sender, own: true }];
    let hub = Hub { journal, trouble: None, watchers, dropped: 0, over: false };
    let sender = EventSender { hub: Arc::new(Mutex::new(hub)), start: Instant::now(), before };
    let handle =
        RunHandle { events: receiver, commands: command_sender, slice_requests: Latest::default() };
    (sender, command_receiver, handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{Position, ValidStep};

    fn droppable() -> Event {
        Event::ValidStep(ValidStep {
            at: Position::default(),
            batches: 1,
            loss: 0.0,
            images: 1,
            seconds: 0.0,
            data_seconds: 0.0,
        })
    }

    #[test]
    fn a_slow_view_loses_steps_but_no_log_line() {
        let (tx, _commands, handle) = channel(None, 0.0);
        for _ in 0..2 * BACKLOG {
            tx.send(droppable());
        }
        tx.log(Level::Info, "kept");
        assert_eq!(tx.dropped(), BACKLOG as u64);
        assert_eq!(handle.events.len(), BACKLOG + 1);
        drop(handle);
        tx.log(Level::Info, "a view that is gone does not stop the trainer");
    }

    #[test]
    fn who_comes_later_hears_what_the_journal_did_not_hold_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let (tx, _commands, _line) = channel(Some(Journal::open(&path).unwrap()), 10.0);
        tx.log(Level::Info, "before");
        let (written, events) = tx.watch();
        assert_eq!(written, std::fs::metadata(&path).unwrap().len());
        tx.log(Level::Info, "after");
        let heard = events.recv().unwrap();
        assert_eq!(heard.event, Event::Log(Log { level: Level::Info, message: "after".into() }));
        assert!(heard.at >= 10.0);
    }
}
