//! `control.sock` in a run's folder: watching and steering a run from another process of the same
//! user. JSON, one object a line.
//!
//! A client says `{"message":"watch"}` and is told `{"type":"hello","version":1,"journal":BYTES,
//! "pid":PID}`: what the journal held by then, and from there on every event, as the journal has it,
//! pictures too. `{"message":"command","command":"pause"}` and so on (see
//! [`Command`](super::Command)) steer, and `{"message":"look","fold":0,"epoch":1,"seed":0,"study":UID,
//! "vertebra":3,"slice":7}` asks for a slice to be shown; the answers are events.

use super::{
    channel::{EventSender, RunHandle},
    command::Command,
    event::Stamped,
    folder::Folder,
    journal,
    latest::Latest,
    studies::SliceRequest,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, never, select, unbounded};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What both sides speak.
const VERSION: u32 = 1;
/// A longer line from a client is none of ours.
const LONGEST_MESSAGE: u64 = 4096;
/// Clients at once.
const MOST_CLIENTS: usize = 32;
/// A longer path does not fit into a socket's address.
const LONGEST_ADDRESS: usize = 100;
/// A client that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// At the end of a run clients are waited for so long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A client's line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum Message {
    /// Tell me what happens.
    Watch,
    /// To the trainer.
    Command(Command),
    /// Show me a slice.
    #[serde(rename = "look")]
    SliceRequest(SliceRequest),
}

#[derive(Serialize, Deserialize)]
struct Hello {
    r#type: String,
    version: u32,
    journal: u64,
    pid: u32,
}

/// A client's line, understood. Errors: one sentence.
pub fn parse_message(line: &[u8]) -> Result<Message, String> {
    serde_json::from_slice(line).map_err(|e| format!("this message is not understood: {e}"))
}

/// Listens in a run's folder.
pub struct Server {
    path: PathBuf,
    events: EventSender,
    clients: Arc<AtomicUsize>,
}

impl Server {
    /// The run is over: clients are told what they have not heard yet, as far as they listen.
    pub fn close(self) {
        let _ = std::fs::remove_file(&self.path);
        self.events.close();
        let start = Instant::now();
        while self.clients.load(Ordering::Relaxed) > 0 && start.elapsed() < LAST_WORDS {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Listens in the run's folder as long as the process lives. `commands`, `slice_requests`: where
/// what is asked goes.
///
/// Errors: the socket cannot be made; training can do without.
pub fn serve(
    folder: &Folder,
    events: EventSender,
    commands: Sender<Command>,
    slice_requests: Latest<SliceRequest>,
) -> io::Result<Server> {
    let path = folder.socket();
    // The folder is locked: a socket that is there is one of a process that is no more.
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let address = Address::of(&path)?;
    let listener = UnixListener::bind(&address.path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let clients = Arc::new(AtomicUsize::new(0));
    let server = Server { path, events: events.clone(), clients: clients.clone() };
    thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            if !is_own(&stream) {
                continue;
            }
            let counted = Counted::new(&clients);
            if clients.load(Ordering::Relaxed) > MOST_CLIENTS {
                refuse(&stream, "too many clients");
                continue;
            }
            let (events, commands, slice_requests) =
                (events.clone(), commands.clone(), slice_requests.clone());
            // Without a thread this client is not heard.
            let _ = thread::Builder::new().name("client".into()).spawn(move || {
                let _counted = counted;
                let _ = attend(&stream, &events, &commands, &slice_requests);
                let _ = stream.shutdown(std::net::Shutdown::Both);
            });
        }
    })?;
    Ok(server)
}

/// Counts a client as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(clients: &Arc<AtomicUsize>) -> Self {
        clients.fetch_add(1, Ordering::Relaxed);
        Self(clients.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a user of the same number (or root) is at the other end, whatever the file's mode says.
fn is_own(stream: &UnixStream) -> bool {
    #[cfg(target_os = "linux")]
    {
        let own = rustix::process::getuid();
        rustix::net::sockopt::socket_peercred(stream)
            .is_ok_and(|peer| peer.uid == own || peer.uid.is_root())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        true
    }
}

fn refuse(mut stream: &UnixStream, why: &str) {
    let line = serde_json::json!({ "type": "refused", "reason": why });
    let _ = writeln!(stream, "{line}");
}

/// Hears a client until it goes.
fn attend(
    stream: &UnixStream,
    events: &EventSender,
    commands: &Sender<Command>,
    slice_requests: &Latest<SliceRequest>,
) -> io::Result<()> {
    let mut watching = false;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while bounded_line(&mut reader, LONGEST_MESSAGE, &mut line)? {
        match parse_message(&line) {
            Ok(Message::Watch) if watching => {}
            Ok(Message::Watch) => {
                watching = true;
                let stream = stream.try_clone()?;
                stream.set_write_timeout(Some(PATIENCE))?;
                let (journal, received) = events.watch();
                thread::Builder::new().name("watcher".into()).spawn(move || {
                    let _ = tell(&stream, journal, &received);
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                })?;
            }
            Ok(Message::Command(command)) => {
                if commands.send(command).is_err() {
                    return Ok(());
                }
            }
            Ok(Message::SliceRequest(wanted)) => slice_requests.put(wanted),
            Err(why) => refuse(stream, &why),
        }
    }
    Ok(())
}

/// Tells a client what happens until it goes or the run ends.
fn tell(stream: &UnixStream, journal: u64, events: &Receiver<Stamped>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, stream);
    let pid = std::process::id();
    let hello = Hello { r#type: "hello".into(), version: VERSION, journal, pid };
    serde_json::to_writer(&mut out, &hello)?;
    out.write_all(b"\n")?;
    loop {
        out.flush()?;
        let mut stamped = match events.recv_timeout(PATIENCE) {
            Ok(stamped) => stamped,
            // An empty line, to see whether anybody is there.
            Err(RecvTimeoutError::Timeout) => {
                out.write_all(b"\n")?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        loop {
            out.write_all(&journal::line(&stamped))?;
            match events.try_recv() {
                Ok(next) => stamped = next,
                Err(_) => break,
            }
        }
    }
}

/// A line without its end; `false` at the end of it all. Errors: one that is too long.
fn bounded_line(reader: &mut impl BufRead, most: u64, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    reader.by_ref().take(most).read_until(b'\n', line)?;
    match line.pop() {
        Some(b'\n') => Ok(true),
        Some(_) if line.len() as u64 + 1 >= most => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"))
        }
        // Cut short.
        _ => Ok(false),
    }
}

/// A client's end.
pub struct Connection {
    /// What happens from now on, and what is asked.
    pub handle: RunHandle,
    /// Bytes of the journal that tell what happened before.
    pub journal: u64,
    /// The process that trains.
    pub pid: u32,
}

/// Connects to who trains the run.
///
/// Errors: nobody listens there, or somebody who speaks otherwise.
pub fn connect(folder: &Folder) -> io::Result<Connection> {
    let address = Address::of(&folder.socket())?;
    let stream = UnixStream::connect(&address.path)?;
    let mut writer = stream.try_clone()?;
    let send = |writer: &mut UnixStream, message: Message| -> io::Result<()> {
        let mut line = serde_json::to_vec(&message)?;
        line.push(b'\n');
        writer.write_all(&line)
    };
    send(&mut writer, Message::Watch)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = Vec::new();
    let other =
        || io::Error::new(io::ErrorKind::InvalidData, "another version of rsna-tui listens there");
    if !bounded_line(&mut reader, LONGEST_MESSAGE, &mut line)? {
        return Err(other());
    }
    let hello: Hello = serde_json::from_slice(&line).map_err(|_| other())?;
    if hello.r#type != "hello" || hello.version != VERSION {
        return Err(other());
    }
    stream.set_read_timeout(None)?;
    let (event_sender, events) = unbounded();
    let (commands, command_receiver) = unbounded::<Command>();
    let slice_requests = Latest::default();
    let mut wanted: Receiver<SliceRequest> = slice_requests.taker();
    thread::Builder::new().name("listener".into()).spawn(move || {
        let mut line = Vec::new();
        while bounded_line(&mut reader, journal::LONGEST_EVENT as u64, &mut line).unwrap_or(false) {
            // What a newer trainer tells and this does not know is passed over.
            if let Some(stamped) = journal::parse(&line)
                && event_sender.send(stamped).is_err()
            {
                return;
            }
        }
    })?;
    thread::Builder::new().name("commander".into()).spawn(move || {
        loop {
            let message = select! {
                recv(command_receiver) -> command => match command {
                    Ok(command) => Message::Command(command),
                    Err(_) => break,
                },
                recv(wanted) -> request => match request {
                    Ok(request) => Message::SliceRequest(request),
                    Err(_) => {
                        wanted = never();
                        continue;
                    }
                },
            };
            if send(&mut writer, message).is_err() {
                return;
            }
        }
        // Nobody asks any more.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    })?;
    Ok(Connection {
        handle: RunHandle { events, commands, slice_requests },
        journal: hello.journal,
        pid: hello.pid,
    })
}

/// A path that fits into a socket's address.
struct Address {
    path: PathBuf,
    /// Stands for a folder whose path is too long.
    _folder: Option<std::fs::File>,
}

impl Address {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= LONGEST_ADDRESS {
            return Ok(Self { path: path.into(), _folder: None });
        }
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(io::ErrorKind::InvalidFilename.into());
            };
            let folder = std::fs::File::open(folder)?;
            let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
            Ok(Self { path, _folder: Some(folder) })
        }
        #[cfg(not(target_os = "linux"))]
        Err(io::Error::new(
            io::ErrorKind::InvalidFilename,
            format!("the path is longer than {LONGEST_ADDRESS} bytes; choose a shorter --runs-dir"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{
        FoldAction,
        channel::channel,
        event::{Event, Level},
        journal::Journal,
    };

    #[test]
    fn messages_are_as_documented() {
        let pause = parse_message(br#"{"message":"command","command":"pause"}"#).unwrap();
        assert_eq!(pause, Message::Command(Command::Pause));
        let fold = br#"{"message":"command","command":"fold","fold":3,"action":"start"}"#;
        let start = Command::Fold { fold: 3, action: FoldAction::Start };
        assert_eq!(parse_message(fold).unwrap(), Message::Command(start));
        assert_eq!(parse_message(br#"{"message":"watch"}"#).unwrap(), Message::Watch);
        let request = br#"{"message":"look","fold":0,"epoch":2,"seed":7,"study":"1.2","vertebra":3,"slice":14}"#;
        let wanted = SliceRequest {
            fold: 0,
            epoch: 2,
            seed: 7,
            study: "1.2".into(),
            vertebra: 3,
            slice: 14,
        };
        assert_eq!(parse_message(request).unwrap(), Message::SliceRequest(wanted));
        assert!(parse_message(b"pause").is_err());
    }

    #[test]
    fn two_watch_and_one_steers() {
        let dir = tempfile::tempdir().unwrap();
        // A name that does not fit into an address.
        let name = "n".repeat(100);
        let folder = Folder::create(dir.path(), &name).unwrap();
        folder.write_config("seed = 0\n").unwrap();
        let journal = Journal::open(&folder.journal()).unwrap();
        let (events, commands, handle) = channel(Some(journal), 0.0);
        events.log(Level::Info, "before");
        let server =
            serve(&folder, events.clone(), handle.commands.clone(), handle.slice_requests.clone())
                .unwrap();
        let mode = std::fs::metadata(folder.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (one, two) = (connect(&folder).unwrap(), connect(&folder).unwrap());
        assert_eq!(one.journal, std::fs::metadata(folder.journal()).unwrap().len());
        events.log(Level::Warn, "after");
        for connection in [&one, &two] {
            let heard = connection.handle.events.recv_timeout(PATIENCE).unwrap();
            assert!(matches!(heard.event, Event::Log(log) if log.message == "after"));
        }
        two.handle.commands.send(Command::Checkpoint).unwrap();
        assert_eq!(commands.recv_timeout(PATIENCE).unwrap(), Command::Checkpoint);
        let wanted =
            SliceRequest { fold: 0, epoch: 1, seed: 0, study: "1.2".into(), vertebra: 1, slice: 0 };
        one.handle.slice_requests.put(wanted.clone());
        assert_eq!(handle.slice_requests.taker().recv_timeout(PATIENCE).unwrap(), wanted);
        // Nonsense costs its sender a message and nobody else anything.
        let mut rude = UnixStream::connect(Address::of(&folder.socket()).unwrap().path).unwrap();
        rude.write_all(b"{]\n").unwrap();
        let mut answer = String::new();
        BufReader::new(rude.try_clone().unwrap()).read_line(&mut answer).unwrap();
        assert!(answer.contains("not understood"), "{answer}");
        rude.write_all(&vec![b'x'; 100_000]).ok();
        drop(one);
        events.log(Level::Warn, "once more");
        assert!(two.handle.events.recv_timeout(PATIENCE).is_ok());
        events.log(Level::Info, "last words");
        server.close();
        assert!(two.handle.events.recv_timeout(PATIENCE).is_ok());
        assert!(two.handle.events.recv_timeout(PATIENCE).is_err(), "the end");
        assert!(!folder.socket().exists());
    }
}
