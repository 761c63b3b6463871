//! Fuzz targets: everything that reads outside input, as functions of bytes.
//!
//! Each takes any bytes as a file or a message and processes them as the program would. For no input may
//! it panic, take more memory than docs/src/security.md states, or take long. The targets are here, and
//! not in `fuzz/`, so that the fuzzer (which needs a nightly compiler and hours) and `cargo test` (which
//! runs the fuzzer's seeds and small changes of them) call the same code.

use candle_core::{DType, Device};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend};
#[cfg(unix)]
use rsna_tui::run::control_socket::{Message, parse_message};
use rsna_tui::{
    config::{Config, Set},
    headless,
    net::{Classifier, Spec, weights},
    report::{Report, csv},
    run::{
        Latest,
        channel::RunHandle,
        event::Stamped,
        jobs::Jobs,
        journal::{self, Known},
        requests::Sent,
        status::Status,
    },
    study::{Record, Table, slices},
    train::{adamw::AdamW, checkpoint},
    tui::{Appearance, Keymap, Pictures, Reply, Screen},
    view::State,
};
use std::{
    cell::OnceCell,
    io::Cursor,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Reads a config file. The resolved config, which a run saves, must read back the same.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(config) = accepted(Config::of_text(text, "config.toml")) {
        let again = Config::of_text(&config.to_toml(), "again").expect("a resolved config");
        assert_eq!(config, again);
    }
}

/// Reads `train_seg.csv`.
pub fn table(bytes: &[u8]) {
    if let Some(table) = accepted(Table::of_bytes(bytes, Path::new("train_seg.csv"))) {
        let first = table.studies[0].fold;
        let (train, valid) = table.split(first);
        assert_eq!(train.len() + valid.len(), table.studies.len());
        accepted(table.check_folds(&[first, 3], 2));
    }
    accepted(Record::of_bytes(bytes, Path::new("studies.csv")));
}

/// Reads a crop.
pub fn npy(bytes: &[u8]) {
    const SIZE: usize = 8;
    let mut out = [0; SIZE * SIZE * rsna_tui::config::CHANNELS];
    accepted(slices::decode(&mut Cursor::new(bytes), bytes.len() as u64, SIZE, &mut out));
}

/// Reads and trims a journal. Half of the inputs, those whose first byte is even, get a valid first
/// line, so that the fuzzer need not find one.
pub fn journal(bytes: &[u8]) {
    const HEAD: &[u8] = b"{\"type\":\"journal\",\"version\":1,\"program\":\"rsna-tui\"}\n";
    let Some((first, rest)) = bytes.split_first() else { return };
    let whole = if first % 2 == 0 { [HEAD, rest].concat() } else { bytes.to_vec() };
    let file = Temporary::new(&whole);
    if let Some((state, _)) = accepted(State::of_journal(&file.0, None)) {
        show(state);
    }
    if let Ok(report) = Report::of_journal(&file.0) {
        let (page, text) = (report.html(), report.markdown());
        assert!(!page.contains("<script") && !page.contains("\u{1b}"));
        assert!(!text.contains("\u{1b}"));
        csv::write(&file.0, std::io::sink(), std::io::sink()).expect("it was read before");
    }
    let known = [
        Known { fold: 0, epochs: 1, steps: 2 },
        Known { fold: 1, epochs: usize::MAX, steps: usize::MAX },
    ];
    if accepted(journal::trim(&file.0, &known)).is_some() {
        // The trimmed journal needs no more trimming.
        let left = std::fs::read(&file.0).expect("the journal");
        journal::trim(&file.0, &known).expect("it was trimmed before");
        assert!(std::fs::read(&file.0).is_ok_and(|again| again == left));
    }
}

/// Reads messages of a socket: a client's commands and the trainer's events, one per line. A line may also be
/// a request by file.
pub fn message(bytes: &[u8]) {
    let mut screen = Screen::new(Pictures::Blocks, Appearance::PLAIN, Keymap::default());
    let (sender, events) = crossbeam_channel::unbounded::<Stamped>();
    for line in bytes.split(|&b| b == b'\n') {
        #[cfg(unix)]
        if let Ok(message) = parse_message(line) {
            let text = serde_json::to_vec(&message).expect("plain data");
            assert_eq!(parse_message(&text).as_ref(), Ok(&message));
            if let Message::Command(request) = message {
                screen.state.command_given(request.command);
            }
        }
        if let Ok(sent) = Sent::of_bytes(line) {
            let text = serde_json::to_vec(&sent).expect("plain data");
            assert_eq!(Sent::of_bytes(&text), Ok(sent));
        }
        if let Some(stamped) = journal::parse(line) {
            let again = journal::parse(&journal::line(&stamped));
            assert_eq!(format!("{again:?}"), format!("{:?}", Some(&stamped)));
            screen.apply(&stamped);
            let _ = sender.send(stamped);
        }
    }
    draw(&mut screen);
    drop(sender);
    let (commands, _) = crossbeam_channel::unbounded();
    let handle = RunHandle {
        events,
        commands,
        slice_requests: Latest::default(),
        watched: Latest::default(),
    };
    let mut out = Vec::new();
    let _ = headless::run(State::default(), &handle, 1, &mut out);
    let steers = |b: &u8| *b < b' ' && *b != b'\n' || *b == 0x7f;
    assert!(!out.iter().any(steers), "what is printed steers the terminal");
}

/// Reads a checkpoint. Inserts the right checksum into the input, so that the fuzzer need not find it.
pub fn checkpoint(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    checkpoint::set_sum(&mut bytes);
    accepted(weights::tensors(&bytes));
    let file = Temporary::new(&bytes);
    let (whole, refused) = checkpoint::newest(std::iter::once(file.0.clone()));
    refused.iter().for_each(|(_, why)| is_one_sentence(why));
    let Some(whole) = whole else { return };
    if let Some(progress) = accepted(whole.progress()) {
        let next = progress.epoch.checked_add(1).and(progress.step.checked_add(1));
        next.expect("training goes on from it");
        let known = Known { fold: progress.fold, epochs: progress.epoch, steps: progress.step };
        let _ = journal::trim(Path::new("nowhere"), &[known]);
    }
    accepted(Config::of_text(whole.config(), "the checkpoint"));
    with_network(|model, optimizer| {
        accepted(checkpoint::load_last(model, &mut optimizer.clone(), &whole));
    });
}

/// Reads `state.json`.
pub fn state(bytes: &[u8]) {
    if let Some(status) = accepted(Status::of_bytes(bytes)) {
        let text = serde_json::to_vec(&status).expect("plain data");
        let again = Status::of_bytes(&text).expect("as it was written");
        assert_eq!(again.folds.len(), status.folds.len());
    }
    accepted(Jobs::of_bytes(bytes));
}

/// Reads a file of pretrained weights, and a pickled description as in a `.pth`, because the fuzzer will
/// not find an archive's checksums.
pub fn weights(bytes: &[u8]) {
    const STORED: [u8; 256] = [1; 256];
    accepted(weights::of_pickle(bytes, &STORED));
    let file = Temporary::new(bytes);
    with_network(|model, _| {
        accepted(weights::fill(model, &file.0, None));
    });
}

/// Passes on a small network, made once per thread.
fn with_network(then: impl FnOnce(&Classifier, &AdamW)) {
    thread_local! {
        static NETWORK: OnceCell<(Classifier, AdamW)> = const { OnceCell::new() };
    }
    NETWORK.with(|network| {
        let (model, optimizer) = network.get_or_init(|| {
            let small =
                ["model.backbone=convnext_micro", "model.lstm_hidden=2", "model.head_hidden=2"];
            let config = Config::load(None, false, &small.map(Set::new)).expect("a small network");
            let spec = Spec::new(&config);
            let model = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu).expect("a network");
            let sizes = model.parameters.trainable.iter().map(|p| p.var.elem_count());
            let optimizer = AdamW::new(&config.train, sizes);
            (model, optimizer)
        });
        then(model, optimizer);
    });
}

/// Draws the state, and the results view if there are results.
fn show(state: State) {
    let mut screen = Screen::new(Pictures::Characters, Appearance::PLAIN, Keymap::default());
    screen.state = state;
    let reply = screen.key(&KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE));
    assert_eq!(reply, Reply::Nothing);
    draw(&mut screen);
}

fn draw(screen: &mut Screen) {
    let now = screen.state.at;
    let mut terminal = Terminal::new(TestBackend::new(120, 36)).expect("it only draws to memory");
    terminal.draw(|frame| screen.draw(frame, now)).expect("it only draws to memory");
    let drawn = &terminal.backend().buffer().content;
    let steers = |cell: &ratatui::buffer::Cell| cell.symbol().chars().any(char::is_control);
    assert!(!drawn.iter().any(steers), "what is drawn steers the terminal");
}

/// Returns what was read, if the input was accepted; asserts that the error otherwise is one sentence.
fn accepted<T>(read: Result<T, impl ToString>) -> Option<T> {
    read.map_err(|error| is_one_sentence(&error.to_string())).ok()
}

/// Asserts that an error is short, one line, and free of terminal control characters.
fn is_one_sentence(text: &str) {
    assert!(!text.is_empty() && text.len() < 8000, "{} bytes: {text:.200?}…", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// A file that is deleted when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(bytes: &[u8]) -> Self {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let n = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("rsna-tui-fuzz-{}-{n}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        std::fs::write(&file.0, bytes).expect("a folder for temporary files");
        file
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
