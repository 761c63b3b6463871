//! Requests by file, for a worker on another host: `requests/*.json` in the folder of the fold that it
//! trains.
//!
//! A sender writes a file that names the claim whose holder it is meant for (see [`claim`](super::claim)).
//! That worker deletes the file, obeys, and answers in its journal by an
//! [`Ack`](super::event::Ack) with the request's id. A request to the worker before is refused there, not
//! obeyed: clocks play no part in it. A file is deleted before it is obeyed, so that nothing is done twice.

use super::{
    channel::EventSender,
    command::Request,
    event::{Ack, Event, Level},
    folder::{Folder, write_atomically},
    holder::Holder,
    remote::Shared,
    status,
};
use crate::bounded;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded as channel};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Maximum size of a request's file in bytes.
const LONGEST: u64 = 4096;
/// Most requests taken at a time; the others wait.
const MOST: usize = 64;
/// Most entries of the folder that are looked at.
const MOST_ENTRIES: usize = 10_000;
/// Time for which the journal is flushed at once after a request.
const ANSWERED: Duration = Duration::from_secs(30);
/// Time between two looks into the folder.
const EVERY: Duration = Duration::from_millis(100);

/// The contents of a request's file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Number of the claim whose holder is meant.
    pub claim: u64,
    /// What it is to do.
    #[serde(flatten)]
    pub request: Request,
}

impl Sent {
    /// Parses a file. Errors: when it is no request; one sentence.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| bounded::excerpt(&e.to_string(), 200))
    }
}

/// Leaves a request for the process that holds the claim number `claim` of the fold in `folder`. Returns the
/// file's path.
///
/// Errors: when it cannot be written.
pub fn send(folder: &Folder, claim: u64, request: Request) -> io::Result<PathBuf> {
    static SENT: AtomicU64 = AtomicU64::new(0);
    let requests = folder.requests();
    match fs::create_dir(&requests) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Requests of one sender are obeyed in the order of their names.
    let (time, number) =
        ((status::now() * 1e3) as u64, SENT.fetch_add(1, Ordering::Relaxed) % 1_000_000);
    let name = format!("{time:014}-{number:06}-{}.json", Holder::here("").tag());
    let path = requests.join(name);
    let mut bytes = serde_json::to_vec(&Sent { claim, request })?;
    bytes.push(b'\n');
    write_atomically(&path, &bytes)?;
    Ok(path)
}

/// Looks for requests until dropped.
#[derive(Debug)]
pub struct Listener {
    /// Dropping this stops the thread.
    going_on: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.going_on = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Passes the requests that others leave in `folder`, that of a fold claimed by this process, to its
/// trainer, until the trainer ends or the listener is dropped.
///
/// Errors: when no thread can be started.
pub fn listen(
    folder: &Folder,
    events: &EventSender,
    commands: &Sender<Request>,
) -> io::Result<Listener> {
    let claim = folder.guard().map_or(0, |guard| guard.number());
    let mut inbox = Inbox {
        path: folder.requests(),
        claim,
        events: events.clone(),
        commands: commands.clone(),
        complained: false,
        journal: Shared::new(&folder.journal()),
        taken: None,
    };
    let (going_on, end) = channel::<()>(0);
    let look = move || {
        while inbox.look() && end.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {}
    };
    let thread = std::thread::Builder::new().name("requests".into()).spawn(look)?;
    Ok(Listener { going_on: Some(going_on), thread: Some(thread) })
}

struct Inbox {
    path: PathBuf,
    claim: u64,
    events: EventSender,
    commands: Sender<Request>,
    /// A file that is no request was reported.
    complained: bool,
    /// The answers.
    journal: Shared,
    /// When the newest request was taken.
    taken: Option<Instant>,
}

impl Inbox {
    /// Obeys what is there. Returns false once there is no trainer.
    fn look(&mut self) -> bool {
        self.journal.flush(self.taken.is_some_and(|at| at.elapsed() < ANSWERED));
        // List the folder anew: NFS may remember that a name was absent. Mostly there is none.
        let Ok(entries) = fs::read_dir(&self.path) else { return true };
        let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        let mut names: Vec<String> = entries
            .take(MOST_ENTRIES)
            .filter_map(name)
            .filter(|name| name.ends_with(".json") && !name.starts_with('.'))
            .collect();
        names.sort_unstable();
        names.iter().take(MOST).all(|name| self.take(&self.path.join(name)))
    }

    /// Obeys a file. Returns false once there is no trainer.
    fn take(&mut self, path: &Path) -> bool {
        let read = bounded::plain_file(path).and_then(|()| bounded::read(path, LONGEST));
        let sent = match read {
            Ok(bytes) => Sent::of_bytes(&bytes),
            // Withdrawn, or not visible on this host yet.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle
                ) =>
            {
                return true;
            }
            Err(error) => Err(error.to_string()),
        };
        match (fs::remove_file(path), &sent) {
            // Withdrawn in the meantime.
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => return true,
            (Err(error), _) => {
                self.complain(
                    path,
                    &format!("it is not obeyed, since it cannot be deleted: {error}"),
                );
                return true;
            }
            (Ok(()), Err(why)) => self.complain(path, &format!("it is no request: {why}")),
            (Ok(()), Ok(_)) => {}
        }
        match sent {
            Ok(Sent { claim, request }) if claim != self.claim => {
                let why = "it was meant for the worker that trained this fold before";
                self.events.send(Event::Ack(Ack::of(request, Some(why.into()))));
                true
            }
            Ok(Sent { request, .. }) => {
                self.taken = Some(Instant::now());
                self.commands.send(request).is_ok()
            }
            Err(_) => true,
        }
    }

    /// Reports a strange file; only the first, because there may be many.
    fn complain(&mut self, path: &Path, why: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            let text = format!("passed over {}: {why}", path.display());
            self.events.log(Level::Warn, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Command, channel::channel};

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_file_reaches_the_worker_that_it_is_meant_for_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path(), "a").unwrap();
        folder.write_config("").unwrap();
        let (events, commands, handle) = channel(None, 0.0);
        let request = |id| Request::numbered(id, Command::Pause);
        send(&folder, 7, request(1)).unwrap();
        let withdrawn = send(&folder, 0, request(2)).unwrap();
        fs::remove_file(withdrawn).unwrap();
        let junk = folder.requests().join("0.json");
        fs::write(&junk, "{").unwrap();
        fs::write(folder.requests().join("1.json"), vec![b' '; 5000]).unwrap();
        send(&folder, 0, request(3)).unwrap();
        let wanted = Request { worker: Some(4), ..request(u64::MAX) };
        send(&folder, 0, wanted).unwrap();
        let listener = listen(&folder, &events, &handle.commands).unwrap();
        assert_eq!(commands.recv_timeout(PATIENCE), Ok(request(3)));
        assert_eq!(commands.recv_timeout(PATIENCE), Ok(wanted));
        // While it listens.
        let begun = Instant::now();
        send(&folder, 0, request(5)).unwrap();
        assert_eq!(commands.recv_timeout(PATIENCE), Ok(request(5)));
        println!("heard after {:?}", begun.elapsed());
        // Looking in vain costs next to nothing.
        let mut inbox = Inbox {
            path: folder.requests(),
            claim: 0,
            events: events.clone(),
            commands: handle.commands.clone(),
            complained: false,
            journal: Shared::new(&folder.journal()),
            taken: None,
        };
        let (begun, looks) = (Instant::now(), 1000);
        assert!((0..looks).all(|_| inbox.look()));
        let cost = begun.elapsed() / looks;
        println!("a look takes {cost:?}, {:?} apart", EVERY);
        assert!(cost < EVERY / 200, "{cost:?}");
        drop(listener);
        assert_eq!(fs::read_dir(folder.requests()).unwrap().count(), 0);
        assert!(commands.is_empty());
        let told: Vec<Event> = handle.events.try_iter().map(|stamped| stamped.event).collect();
        let [Event::Log(log), Event::Ack(ack)] = &told[..] else { panic!("{told:?}") };
        assert!(log.message.contains("0.json: it is no request"), "{}", log.message);
        assert_eq!(ack.id, Some(1));
        assert!(ack.refused.is_some());
    }
}
