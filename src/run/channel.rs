//! The two channels between the trainer and a view.
//!
//! A view that is slow or gone never slows training: once [`BACKLOG`] events wait, those that a
//! view can live without are dropped; those that it cannot (epochs, folds, checkpoints, errors)
//! are few and always queued.

use super::{
    command::Command,
    event::{Event, Level, Log, Stamped},
};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Events that may wait before steps and previews are dropped.
pub const BACKLOG: usize = 256;

/// The trainer's end of the event channel. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventSender {
    sender: Sender<Stamped>,
    start: Instant,
    dropped: Arc<AtomicU64>,
}

impl EventSender {
    /// Queues `event`, stamped with the seconds since the run's start. Never waits; an event
    /// for a view that is gone, or a droppable one for a view that lags, is lost.
    pub fn send(&self, event: Event) {
        if event.may_be_dropped() && self.sender.len() >= BACKLOG {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // A view that has gone is no reason to stop training.
        let _ = self.sender.send(Stamped { at: self.start.elapsed().as_secs_f64(), event });
    }

    /// Queues a log line.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        self.send(Event::Log(Log { level, message: message.into() }));
    }

    /// Events dropped so far because the view lagged.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A view's end of both channels.
#[derive(Debug, Clone)]
pub struct Line {
    /// What the trainer says; disconnected when the trainer thread has ended.
    pub events: Receiver<Stamped>,
    /// What the trainer is asked.
    pub commands: Sender<Command>,
}

/// Makes the pair: the trainer's ends, and the view's.
pub fn channel() -> (EventSender, Receiver<Command>, Line) {
    let (event_tx, event_rx) = unbounded();
    let (command_tx, command_rx) = unbounded();
    let sender = EventSender {
        sender: event_tx,
        start: Instant::now(),
        dropped: Arc::new(AtomicU64::new(0)),
    };
    let line = Line { events: event_rx, commands: command_tx };
    (sender, command_rx, line)
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
        let (tx, _commands, line) = channel();
        for _ in 0..2 * BACKLOG {
            tx.send(droppable());
        }
        tx.log(Level::Info, "kept");
        assert_eq!(tx.dropped(), BACKLOG as u64);
        assert_eq!(line.events.len(), BACKLOG + 1);
        drop(line);
        tx.log(Level::Info, "a view that is gone does not stop the trainer");
    }
}
