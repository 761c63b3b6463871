//! Pictures of the fold that is watched. No journal has them: they come from its worker's socket, if it runs
//! on this host. Slices that are asked for can also be read here.

use super::journals::Clock;
#[cfg(unix)]
use crate::run::control_socket;
use crate::run::{
    Event, SliceRequest,
    channel::RunHandle,
    claim::Newest,
    event::{SliceContent, SliceReply, Stamped},
    folder::Folder,
};
use crossbeam_channel::{Receiver, Sender, never, select};
use std::{thread, time::Duration};

/// Time between two attempts to connect to a worker.
const AGAIN: Duration = Duration::from_secs(1);

/// What passes pictures on.
pub(super) struct Pictures {
    pub(super) run: Folder,
    pub(super) clock: Clock,
    /// The fold that is watched.
    pub(super) fold: Option<usize>,
    pub(super) events: Sender<Stamped>,
    /// Who reads slices here, if anybody can.
    pub(super) reader: Option<RunHandle>,
}

impl Pictures {
    /// Passes pictures on, on a thread of its own, until the handle is gone. Without it, there are none.
    pub(super) fn follow(self, handle: &RunHandle) {
        let (watched, wanted) = (handle.watched.taker(), handle.slice_requests.taker());
        let pass_on = move || self.pass_on(&watched, &wanted);
        let _ = thread::Builder::new().name("pictures".into()).spawn(pass_on);
    }

    fn pass_on(mut self, watched: &Receiver<usize>, wanted: &Receiver<SliceRequest>) {
        let read = self.reader.as_ref().map_or(never(), |reader| reader.events.clone());
        let mut worker: Option<RunHandle> = None;
        loop {
            if worker.is_none() {
                worker = self.fold.and_then(|fold| connect(&self.run.of_fold(fold)));
            }
            let sent = worker.as_ref().map_or(never(), |worker| worker.events.clone());
            select! {
                recv(watched) -> fold => match fold {
                    Ok(fold) if self.fold == Some(fold) => {}
                    Ok(fold) => (self.fold, worker) = (Some(fold), None),
                    Err(_) => return,
                },
                recv(wanted) -> wanted => match wanted {
                    Ok(wanted) => self.ask(wanted, worker.as_ref()),
                    Err(_) => return,
                },
                recv(sent) -> picture => match picture {
                    Ok(picture) => self.send(picture.event, self.fold),
                    Err(_) => {
                        worker = None;
                        thread::sleep(AGAIN / 10);
                    }
                },
                recv(read) -> picture => if let Ok(picture) = picture {
                    self.send(picture.event, None);
                },
                default(AGAIN) => {}
            }
        }
    }

    /// Asks for a slice whoever can read it.
    fn ask(&self, wanted: SliceRequest, worker: Option<&RunHandle>) {
        match worker.or(self.reader.as_ref()) {
            Some(reader) => reader.slice_requests.put(wanted),
            None => {
                let why = "its slices cannot be read on this host".to_string();
                let found = SliceContent::Nothing(why);
                self.send(Event::SliceReply(SliceReply { wanted, found }), None);
            }
        }
    }

    fn send(&self, event: Event, fold: Option<usize>) {
        if event.is_picture() {
            let _ = self.events.send(Stamped { at: self.clock.now(), event, fold });
        }
    }
}

/// Connects to the worker that trains in `fold`, if it runs on this host.
fn connect(fold: &Folder) -> Option<RunHandle> {
    #[cfg(unix)]
    {
        let newest = Newest::read(fold.path()).ok()??;
        newest.unreleased().filter(|record| record.holder.is_local())?;
        control_socket::connect_for_pictures(fold).ok().map(|connection| connection.handle)
    }
    #[cfg(not(unix))]
    {
        let _ = fold;
        None
    }
}
