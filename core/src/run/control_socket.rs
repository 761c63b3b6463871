//! `control.sock` in a run's folder: lets another process of the same user watch and steer the run.
//! JSON, one object per line.
//!
//! A client sends `{"message":"watch"}` and receives `{"type":"hello","version":1,"journal":BYTES,
//! "pid":PID}`: the length of the journal so far, then every later event in the journal's format,
//! pictures included; with `"pictures":true` only the pictures, which no journal has. `{"message":"command",
//! "command":"pause"}` and so on (see
//! [`Command`](super::Command)) steer the run, and `{"message":"look","fold":0,"epoch":1,"seed":0,
//! "study":UID,"vertebra":3,"slice":7}` requests a slice; the answers are events. A command may carry a
//! number, `"id":7`, which the `answer` event repeats.

use super::{
    channel::{EventSender, RunHandle},
    command::Request,
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
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Version of the protocol.
const VERSION: u32 = 1;
/// Longest line accepted from a client, in bytes.
const LONGEST_MESSAGE: u64 = 4096;
/// Most clients at a time.
const MOST_CLIENTS: usize = 32;
/// Longest path that fits into a socket's address, in bytes.
const LONGEST_ADDRESS: usize = 100;
/// Timeout of writes to a client, after which it is disconnected.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for clients at the end of a run.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A message from a client, one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum Message {
    /// Send the run's events.
    Watch {
        /// Send only the pictures, which the journal does not have.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pictures: bool,
    },
    /// A command for the trainer.
    Command(Request),
    /// A request for a slice.
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

/// Parses a line from a client. Errors: when it is no message; one sentence.
pub fn parse_message(line: &[u8]) -> Result<Message, String> {
    serde_json::from_slice(line).map_err(|e| format!("this message is not understood: {e}"))
}

/// The socket of a run, listening in its folder.
pub struct Server {
    path: PathBuf,
    events: EventSender,
    /// Every client's thread holds a clone.
    clients: Arc<()>,
}

impl Server {
    /// Ends the server with the run: waits a moment for clients to receive the remaining events.
    pub fn close(self) {
        let _ = std::fs::remove_file(&self.path);
        self.events.close();
        let start = Instant::now();
        while connected(&self.clients) > 0 && start.elapsed() < LAST_WORDS {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Number of clients. The server and its listening thread hold a clone each, too.
fn connected(clients: &Arc<()>) -> usize {
    Arc::strong_count(clients).saturating_sub(2)
}

/// Listens in the run's folder until the process ends. Forwards commands and requests for slices to
/// those who hear `handle`.
///
/// Errors: when the socket cannot be made. Training works without it.
pub fn serve(folder: &Folder, events: EventSender, handle: &RunHandle) -> io::Result<Server> {
    let path = folder.socket();
    // This process holds the folder's lock, so the process that made an existing socket has died.
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let address = Address::of(&path)?;
    let listener = UnixListener::bind(&address.path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let clients = Arc::new(());
    let server = Server { path, events: events.clone(), clients: clients.clone() };
    let (commands, slice_requests) = (handle.commands.clone(), handle.slice_requests.clone());
    thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            if !is_own(&stream) {
                continue;
            }
            if connected(&clients) >= MOST_CLIENTS {
                refuse(&stream, "too many clients");
                continue;
            }
            let (events, commands, slice_requests) =
                (events.clone(), commands.clone(), slice_requests.clone());
            let client = clients.clone();
            // If no thread can be started, this client goes unserved.
            let _ = thread::Builder::new().name("client".into()).spawn(move || {
                let _client = client;
                let _ = attend(&stream, &events, &commands, &slice_requests);
                let _ = stream.shutdown(std::net::Shutdown::Both);
            });
        }
    })?;
    Ok(server)
}

/// Whether the peer is the same user (or root), whatever the file's mode allows.
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

/// Reads a client's messages until it disconnects.
fn attend(
    stream: &UnixStream,
    events: &EventSender,
    commands: &Sender<Request>,
    slice_requests: &Latest<SliceRequest>,
) -> io::Result<()> {
    let mut watching = false;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while bounded_line(&mut reader, LONGEST_MESSAGE, &mut line)? {
        match parse_message(&line) {
            Ok(Message::Watch { .. }) if watching => {}
            Ok(Message::Watch { pictures }) => {
                watching = true;
                let stream = stream.try_clone()?;
                stream.set_write_timeout(Some(PATIENCE))?;
                let (journal, received) = events.watch();
                thread::Builder::new().name("watcher".into()).spawn(move || {
                    let _ = tell(&stream, journal, pictures, &received);
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                })?;
            }
            Ok(Message::Command(request)) => {
                if commands.send(request).is_err() {
                    return Ok(());
                }
            }
            Ok(Message::SliceRequest(wanted)) => slice_requests.put(wanted),
            Err(why) => refuse(stream, &why),
        }
    }
    Ok(())
}

/// Sends events to a client until it disconnects or the run ends.
fn tell(
    stream: &UnixStream,
    journal: u64,
    pictures: bool,
    events: &Receiver<Stamped>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, stream);
    let pid = std::process::id();
    let hello = Hello { r#type: "hello".into(), version: VERSION, journal, pid };
    serde_json::to_writer(&mut out, &hello)?;
    out.write_all(b"\n")?;
    loop {
        out.flush()?;
        let mut stamped = match events.recv_timeout(PATIENCE) {
            Ok(stamped) => stamped,
            // Send an empty line to find out whether the client is still there.
            Err(RecvTimeoutError::Timeout) => {
                out.write_all(b"\n")?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        loop {
            if !pictures || stamped.event.is_picture() {
                out.write_all(&journal::line(&stamped))?;
            }
            match events.try_recv() {
                Ok(next) => stamped = next,
                Err(_) => break,
            }
        }
    }
}

/// Reads a line without its end; `false` at the end of the stream. Errors: when the line is too long.
fn bounded_line(reader: &mut impl BufRead, most: u64, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    reader.by_ref().take(most).read_until(b'\n', line)?;
    match line.pop() {
        Some(b'\n') => Ok(true),
        Some(_) if line.len() as u64 + 1 >= most => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"))
        }
        // The stream ended within a line.
        _ => Ok(false),
    }
}

/// The client's side of a connection.
pub struct Connection {
    /// Later events, and channels for commands and requests.
    pub handle: RunHandle,
    /// Bytes of the journal that hold the earlier events.
    pub journal: u64,
    /// ID of the training process.
    pub pid: u32,
}

/// Connects to the process that trains the run.
///
/// Errors: when nothing listens there, or it speaks another protocol.
pub fn connect(folder: &Folder) -> io::Result<Connection> {
    connected_to(folder, false)
}

/// Like [`connect`], for pictures only.
///
/// Errors: as for [`connect`].
pub fn connect_for_pictures(folder: &Folder) -> io::Result<Connection> {
    connected_to(folder, true)
}

/// Sends a command to the process that trains the run, which answers in its journal.
///
/// Errors: when nothing listens there.
pub fn send(folder: &Folder, request: Request) -> io::Result<()> {
    let address = Address::of(&folder.socket())?;
    let mut stream = UnixStream::connect(&address.path)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_message(&mut stream, &Message::Command(request))
}

fn write_message(stream: &mut UnixStream, message: &Message) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn connected_to(folder: &Folder, pictures: bool) -> io::Result<Connection> {
    let address = Address::of(&folder.socket())?;
    let stream = UnixStream::connect(&address.path)?;
    let mut writer = stream.try_clone()?;
    write_message(&mut writer, &Message::Watch { pictures })?;
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
    let (commands, command_receiver) = unbounded();
    let slice_requests = Latest::default();
    let mut wanted: Receiver<SliceRequest> = slice_requests.taker();
    thread::Builder::new().name("listener".into()).spawn(move || {
        let mut line = Vec::new();
        while bounded_line(&mut reader, journal::LONGEST_EVENT as u64, &mut line).unwrap_or(false) {
            // Skip events of a newer trainer that this version does not know.
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
                recv(command_receiver) -> request => match request {
                    Ok(request) => Message::Command(request),
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
            if write_message(&mut writer, &message).is_err() {
                return;
            }
        }
        // All senders of commands are gone.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    })?;
    Ok(Connection {
        handle: RunHandle { events, commands, slice_requests, watched: Latest::default() },
        journal: hello.journal,
        pid: hello.pid,
    })
}

/// A path that fits into a socket's address.
struct Address {
    path: PathBuf,
    /// Folder that a shorter path refers to, if the real path is too long; kept open.
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
mod tests;
