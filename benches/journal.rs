//! Opening a journal of a million steps and drawing the first frame: seconds, and MiB of memory.
//!
//! `cargo bench --bench journal`; `-- --steps N` for another length. The journal is written once, by the
//! program's own writer, into a temporary folder (about 500 MB for a million steps).

use ratatui::{Terminal, backend::TestBackend};
use rsna_tui::{
    run::{event::*, journal::Journal},
    tui::{Appearance, Keymap, Pictures, Screen},
    view::State,
};
use rsna_tui_testkit::script::Script;
use std::{path::Path, process::Command, time::Instant};

const FOLDS: usize = 5;
const EPOCHS: usize = 50;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1)
    };
    if let Some(path) = after("--open") {
        return open(Path::new(path));
    }
    let steps: usize = after("--steps").and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let dir = std::env::temp_dir().join(format!("rsna-tui-journal-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    let path = dir.join("journal.jsonl");
    let seconds = write(&path, steps / FOLDS / EPOCHS);
    let bytes = std::fs::metadata(&path).map_or(0, |m| m.len());
    println!(
        "{steps} steps, {} MB; {:.1} µs an event to write",
        bytes / 1_000_000,
        1e6 * seconds / (steps as f64 * 1.3)
    );
    for _ in 0..5 {
        // Use a new process each time to measure its memory.
        let own = std::env::current_exe().expect("this program");
        let _ = Command::new(own).arg("--open").arg(&path).status();
    }
    let _ = std::fs::remove_dir_all(&dir);
}

fn open(path: &Path) {
    let start = Instant::now();
    let (state, strange) = State::of_journal(path, None).expect("a journal");
    let read = start.elapsed();
    let mut screen = Screen::new(Pictures::Characters, Appearance::PLAIN, Keymap::default());
    screen.state = state;
    let now = screen.state.at;
    let mut terminal = Terminal::new(TestBackend::new(200, 60)).expect("no terminal is asked");
    let begun = Instant::now();
    terminal.draw(|frame| screen.draw(frame, now)).expect("no terminal is asked");
    let drawn = begun.elapsed();
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("").trim();
    println!(
        "read {:.3} s, first frame {:.1} ms, {peak}; {strange} lines not understood, {} epochs",
        read.as_secs_f64(),
        1e3 * drawn.as_secs_f64(),
        screen.state.folds.iter().flat_map(|f| f.epochs.iter().flatten()).count()
    );
}

/// Writes the journal and returns the seconds that took.
fn write(path: &Path, steps: usize) -> f64 {
    let mut journal = Journal::open(path).expect("a file");
    let mut at = 0.0;
    let start = Instant::now();
    let mut tell = |seconds: f64, event: Event| {
        at += seconds;
        journal.append(&Stamped::new(at, event)).expect("room on the disk");
    };
    let folds = (0..FOLDS).collect();
    let script =
        Script { folds, epochs: EPOCHS, steps, valid_batches: steps / 4, step_seconds: 1.5 };
    tell(0.1, script.started());
    for fold in 0..FOLDS {
        for epoch in 1..=EPOCHS {
            let at = |step| Position { fold, epoch, step };
            tell(0.1, Event::EpochStarted(EpochStarted { at: at(0), learning_rate: 1e-4 }));
            for step in 1..=steps {
                tell(1.5, script.step(at(step)));
                if step % 20 == 0 {
                    tell(
                        0.0,
                        Event::Gpu(Gpu {
                            memory_used: 1 << 35,
                            memory_total: 80 << 30,
                            utilisation: Some(97),
                            temperature: Some(61),
                            watts: Some(512.3),
                            ..Gpu::default()
                        }),
                    );
                }
                if step % 4 == 0 {
                    tell(0.0, system_event(step));
                }
            }
            (1..=script.valid_batches).for_each(|batch| tell(0.4, script.valid_step(at(batch))));
            tell(0.0, script.epoch(fold, epoch));
        }
    }
    start.elapsed().as_secs_f64()
}

fn system_event(step: usize) -> Event {
    Event::System(System {
        cpu: 37.123_456 + (step % 13) as f64,
        process_cpu: 412.345_678 + (step % 17) as f64,
        resident: 12_345_678_912,
        memory_used: 34_567_891_234,
        memory_total: 128 << 30,
        disk_free: Some(234_567_891_234),
        disk_total: Some(1 << 40),
        ..System::default()
    })
}
