//! Who gets an event.

use super::Event;

/// Who gets an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// The journal and every watcher.
    All,
    /// The journal, and watchers that do not lag: the next event of its kind replaces it.
    Newest,
    /// Watchers that do not lag. The journal leaves pictures out.
    Picture,
}

impl Event {
    fn delivery(&self) -> Delivery {
        match self {
            Event::Step(_) | Event::ValidStep(_) | Event::Gpu(_) | Event::System(_) => {
                Delivery::Newest
            }
            Event::Preview(_) | Event::SliceReply(_) => Delivery::Picture,
            Event::RunStarted(_)
            | Event::Fold(_)
            | Event::Queue(_)
            | Event::Retrain(_)
            | Event::Planned(_)
            | Event::EpochStarted(_)
            | Event::Epoch(_)
            | Event::Worst(_)
            | Event::LeftOut(_)
            | Event::Constant(_)
            | Event::Checkpoint(_)
            | Event::Trainer(_)
            | Event::Ack(_)
            | Event::Worker(_)
            | Event::Log(_)
            | Event::Error(_)
            | Event::RunFinished(_)
            | Event::Unknown => Delivery::All,
        }
    }

    /// Whether a slow view may miss it, because the next event of its kind replaces it.
    pub fn may_be_dropped(&self) -> bool {
        self.delivery() != Delivery::All
    }

    /// Whether it carries pictures, which the journal leaves out.
    pub fn is_picture(&self) -> bool {
        self.delivery() == Delivery::Picture
    }
}
