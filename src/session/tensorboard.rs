//! `tensorboard/`: writes the run's curves, with `run.tensorboard = true`.

use crate::run::{channel::EventSender, event::Level, folder::Folder, tensorboard::Curves};
use std::{thread::JoinHandle, time::SystemTime};

/// Writes them until the run ends. If no thread can be started, there are none.
pub(super) fn spawn_writer(folder: &Folder, events: &EventSender) -> Option<JoinHandle<()>> {
    let (_, heard) = events.watch();
    let (mut curves, events) = (Curves::new(folder.clone()), events.clone());
    let place = folder.path().join("tensorboard");
    let thread = std::thread::Builder::new().name("tensorboard".into());
    let run = move || {
        let mut warned = false;
        for stamped in heard {
            // The trainer itself pauses on a full disk; a missing curve is no reason to.
            if let Err(error) = curves.hear(&stamped.event, SystemTime::now())
                && !std::mem::replace(&mut warned, true)
            {
                let place = place.display();
                events.log(Level::Warn, format!("cannot write curves to {place}: {error}"));
            }
        }
    };
    thread.spawn(run).ok()
}
