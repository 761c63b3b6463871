//! Channels between the trainer, the journal and the views.
//!
//! Every event except pictures is written to the journal before any watcher receives it. A slow or
//! disconnected watcher never slows training: once [`BACKLOG`] events are queued for it, events that
//! it can do without are dropped. The others (epochs, folds, checkpoints, errors) are few and always
//! queued.

use super::{
    command::Request,
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

/// Queue length of a watcher from which steps and previews are dropped.
pub const BACKLOG: usize = 256;
/// Queue length at which a watcher counts as gone and is removed.
const GONE: usize = 1 << 16;

/// The trainer's end of the event channel. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventSender {
    hub: Arc<Mutex<Hub>>,
    start: Instant,
    /// Seconds of the run before this process.
    before: f64,
}

#[derive(Debug)]
struct Hub {
    journal: Option<Journal>,
    /// Error of the journal's last write; its newest lines are not on disk.
    trouble: Option<io::Error>,
    watchers: Vec<Watcher>,
    /// Events dropped for the run's own view.
    dropped: u64,
    /// The run has finished: no later event may be dropped.
    over: bool,
}

#[derive(Debug)]
struct Watcher {
    sender: Sender<Stamped>,
    /// Whether this is the run's own view.
    own: bool,
}

impl EventSender {
    /// Queues `event`, stamped with the run's seconds, and writes it to the journal. Never waits for a
    /// watcher: a disconnected one misses the event, and a lagging one misses it if it may be dropped.
    pub fn send(&self, event: Event) {
        let mut hub = self.hub();
        let stamped = Stamped::new(self.before + self.start.elapsed().as_secs_f64(), event);
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
            // Training continues without a watcher that is gone.
            watcher.sender.send(stamped.clone()).is_ok() && (watcher.own || waiting < GONE)
        });
    }

    /// Queues a log line.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        self.send(Event::Log(Log { level, message: message.into() }));
    }

    /// Number of events that the run's own view missed because it lagged.
    pub fn dropped(&self) -> u64 {
        self.hub().dropped
    }

    /// Seconds of the run so far.
    pub fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    /// Adds a watcher. Returns the bytes of the journal that hold the past, and a channel of all later
    /// events.
    pub fn watch(&self) -> (u64, Receiver<Stamped>) {
        let (sender, receiver) = unbounded();
        let mut hub = self.hub();
        hub.watchers.push(Watcher { sender, own: false });
        (hub.journal.as_ref().map_or(0, Journal::written), receiver)
    }

    /// Writes the journal lines that could not be written before. Errors: when they still cannot be.
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

    /// Waits until the whole journal is synced to disk.
    pub fn sync(&self) -> io::Result<()> {
        self.hub().journal.as_mut().map_or(Ok(()), Journal::sync)
    }

    /// Closes the event channels: watchers receive what is queued, then the end.
    pub fn close(&self) {
        self.hub().watchers.clear();
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A view's ends of both channels.
#[derive(Debug, Clone)]
pub struct RunHandle {
    /// Events from the trainer; disconnected once the trainer thread has ended.
    pub events: Receiver<Stamped>,
    /// Commands to the trainer.
    pub commands: Sender<Request>,
    /// The requested slice. The slice reader answers it, not the trainer, also during steps and pauses.
    pub slice_requests: Latest<SliceRequest>,
    /// The fold that is watched, in a run that several processes train: pictures come from its worker.
    pub watched: Latest<usize>,
}

/// Makes the trainer's ends and those of the run's own view. `before`: seconds of the run before this
/// process.
pub fn channel(
    journal: Option<Journal>,
    before: f64,
) -> (EventSender, Receiver<Request>, RunHandle) {
    let (sender, receiver) = unbounded();
    let (command_sender, command_receiver) = unbounded();
    let watchers = vec![Watcher { sender, own: true }];
    let hub = Hub { journal, trouble: None, watchers, dropped: 0, over: false };
    let sender = EventSender { hub: Arc::new(Mutex::new(hub)), start: Instant::now(), before };
    let handle = RunHandle {
        events: receiver,
        commands: command_sender,
        slice_requests: Latest::default(),
        watched: Latest::default(),
    };
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
