//! Tests of the control socket.

use super::*;
use crate::run::{
    Command, FoldAction,
    channel::channel,
    event::{Event, Level},
    journal::Journal,
};

#[test]
fn messages_are_as_documented() {
    let pause = parse_message(br#"{"message":"command","command":"pause"}"#).unwrap();
    assert_eq!(pause, Message::Command(Command::Pause.into()));
    let numbered = br#"{"message":"command","id":7,"command":"fold","fold":3,"action":"start"}"#;
    let start = Command::Fold { fold: 3, action: FoldAction::Start };
    let request = Request::numbered(7, start);
    assert_eq!(parse_message(numbered).unwrap(), Message::Command(request));
    let fold = br#"{"message":"command","command":"fold","fold":3,"action":"start"}"#;
    assert_eq!(parse_message(fold).unwrap(), Message::Command(start.into()));
    let watch = parse_message(br#"{"message":"watch"}"#).unwrap();
    assert_eq!(watch, Message::Watch { pictures: false });
    let watch = parse_message(br#"{"message":"watch","pictures":true}"#).unwrap();
    assert_eq!(watch, Message::Watch { pictures: true });
    let request =
        br#"{"message":"look","fold":0,"epoch":2,"seed":7,"study":"1.2","vertebra":3,"slice":14}"#;
    let wanted =
        SliceRequest { fold: 0, epoch: 2, seed: 7, study: "1.2".into(), vertebra: 3, slice: 14 };
    assert_eq!(parse_message(request).unwrap(), Message::SliceRequest(wanted));
    assert!(parse_message(b"pause").is_err());
}

#[test]
fn two_watch_and_one_steers() {
    let dir = tempfile::tempdir().unwrap();
    // A name that is too long for an address.
    let name = "n".repeat(100);
    let folder = Folder::create(dir.path(), &name).unwrap();
    folder.write_config("seed = 0\n").unwrap();
    let journal = Journal::open(&folder.journal()).unwrap();
    let (events, commands, handle) = channel(Some(journal), 0.0);
    events.log(Level::Info, "before");
    let server = serve(&folder, events.clone(), &handle).unwrap();
    let mode = std::fs::metadata(folder.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (one, two) = (connect(&folder).unwrap(), connect(&folder).unwrap());
    assert_eq!(one.journal, std::fs::metadata(folder.journal()).unwrap().len());
    events.log(Level::Warn, "after");
    for connection in [&one, &two] {
        let heard = connection.handle.events.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(heard.event, Event::Log(log) if log.message == "after"));
    }
    let request = Request::numbered(u64::MAX, Command::Checkpoint);
    two.handle.commands.send(request).unwrap();
    assert_eq!(commands.recv_timeout(PATIENCE).unwrap(), request);
    let wanted =
        SliceRequest { fold: 0, epoch: 1, seed: 0, study: "1.2".into(), vertebra: 1, slice: 0 };
    one.handle.slice_requests.put(wanted.clone());
    assert_eq!(handle.slice_requests.taker().recv_timeout(PATIENCE).unwrap(), wanted);
    // Nonsense earns its sender an error and affects nobody else.
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
