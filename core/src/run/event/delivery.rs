//! Who gets an event, and which fold it is about.

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

    /// Number of the fold that it is about, if it is about one.
    pub fn fold(&self) -> Option<usize> {
        Some(match self {
            Event::Fold(e) => e.at.fold,
            Event::Retrain(e) => e.at.fold,
            Event::Planned(e) => e.at.fold,
            Event::EpochStarted(e) => e.at.fold,
            Event::Step(e) => e.at.fold,
            Event::ValidStep(e) => e.at.fold,
            Event::Epoch(e) => e.at.fold,
            Event::Worst(e) => e.at.fold,
            Event::Preview(e) => e.at.fold,
            Event::LeftOut(e) => e.at.fold,
            Event::Checkpoint(e) => e.at.fold,
            Event::Trainer(e) => e.at.fold,
            Event::Error(e) => e.at.fold,
            Event::Worker(e) => e.fold,
            Event::RunStarted(_)
            | Event::Queue(_)
            | Event::SliceReply(_)
            | Event::Gpu(_)
            | Event::System(_)
            | Event::Constant(_)
            | Event::Ack(_)
            | Event::Log(_)
            | Event::RunFinished(_)
            | Event::Unknown => return None,
        })
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
