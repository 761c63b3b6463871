//! Building a frame after a long history, and the bytes sent to the terminal for it.
//!
//! `cargo bench --bench frames`. Prints a row per view and size: milliseconds to build a frame, with
//! one more step between frames, and to build and send one; bytes per frame, and bytes per second at
//! ten frames and two steps per second.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend, layout::Size};
use rsna_tui::{
    run::event::*,
    tui::{Appearance, Backend, Depth, Device, Ground, Keymap, Pictures, Screen, VIEWS},
};
use rsna_tui_testkit::script::Script;
use std::{
    io::{self, Write},
    time::Instant,
};

const FOLDS: usize = 5;
const EPOCHS: usize = 50;
/// Number of timed frames.
const FRAMES: usize = 1000;
/// Seconds per step.
const STEP: f64 = 0.5;
/// Seconds per frame.
const FRAME: f64 = 0.1;

fn main() {
    println!("{:38}  {:^17}  {:^17}  {:^14}", "", "build, ms", "and send, ms", "bytes");
    println!(
        "{:>9}  {:>7}  {:18}  {:>5} {:>5} {:>5}  {:>5} {:>5} {:>5}  {:>6} {:>7}",
        "steps", "size", "view", "p50", "p99", "max", "p50", "p99", "max", "frame", "second"
    );
    for steps in [200, 1_000_000 / FOLDS / EPOCHS] {
        let mut run = Run::new(steps);
        measure(&mut run, 0, 120, 36);
        for view in 0..VIEWS.len() {
            measure(&mut run, view, 200, 60);
        }
    }
}

/// Times `view`, numbered from 0, in a terminal of the given size, and prints its row.
fn measure(run: &mut Run, view: usize, width: u16, height: u16) {
    let key = KeyCode::Char(char::from_digit(view as u32 + 1, 10).unwrap_or('1'));
    run.screen.key(&KeyEvent::new(key, KeyModifiers::NONE));
    let mut terminal =
        Terminal::new(TestBackend::new(width, height)).expect("no terminal is asked");
    let built = run.frames(|screen, now| {
        terminal.draw(|frame| screen.draw(frame, now)).expect("no terminal is asked");
    });
    let counter = Counter { size: Size { width, height }, bytes: 0 };
    let mut terminal = Terminal::new(Backend::new(counter)).expect("it is memory");
    let mut bytes = Vec::new();
    let sent = run.frames(|screen, now| {
        terminal.draw(|frame| screen.draw(frame, now)).expect("it is memory");
        bytes.push(terminal.backend().device().bytes);
    });
    // The first frame draws the whole screen.
    let a_frame = (bytes[FRAMES - 1] - bytes[0]) as f64 / (FRAMES - 1) as f64;
    println!(
        "{:>9}  {width:>3}×{height:<3}  {:18}  {}  {}  {a_frame:>6.0} {:>7.0}",
        run.steps * FOLDS * EPOCHS,
        VIEWS[view].name,
        percentiles(built),
        percentiles(sent),
        a_frame / FRAME
    );
}

fn percentiles(mut seconds: Vec<f64>) -> String {
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| 1e3 * seconds[((seconds.len() - 1) as f64 * share) as usize];
    format!("{:>5.2} {:>5.2} {:>5.2}", at(0.5), at(0.99), at(1.0))
}

/// Counts the bytes sent to a terminal.
struct Counter {
    size: Size,
    bytes: usize,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Device for Counter {
    fn size(&self) -> io::Result<Size> {
        Ok(self.size)
    }
}

/// A run in the middle of its last epoch.
struct Run {
    screen: Screen,
    script: Script,
    steps: usize,
    /// Time in the run in seconds.
    now: f64,
    step: usize,
    next_step: f64,
}

impl Run {
    fn new(steps: usize) -> Self {
        let appearance = Appearance { depth: Depth::TrueColor, ground: Ground::Dark, ascii: false };
        let screen = Screen::new(Pictures::Blocks, appearance, Keymap::default());
        let script = script(steps);
        let mut run = Self { screen, script, steps, now: 0.0, step: 0, next_step: 0.0 };
        run.tell(run.script.started());
        for fold in 0..FOLDS {
            for epoch in 1..=EPOCHS {
                let at = Position { fold, epoch, step: 0 };
                run.tell(Event::EpochStarted(EpochStarted { at, learning_rate: 1e-4 }));
                let last = (fold, epoch) == (FOLDS - 1, EPOCHS);
                let upto = if last { steps / 4 } else { steps };
                for step in 1..=upto {
                    run.now += STEP;
                    run.tell(run.script.step(Position { step, ..at }));
                }
                if !last {
                    run.tell(run.script.epoch(fold, epoch));
                }
            }
        }
        run.tell(preview(0));
        run.step = steps / 4;
        run.next_step = run.now + STEP;
        run
    }

    fn tell(&mut self, event: Event) {
        self.screen.apply(&Stamped::new(self.now, event));
    }

    /// Returns the seconds of each frame, with steps and an occasional preview in between.
    fn frames(&mut self, mut draw: impl FnMut(&mut Screen, f64)) -> Vec<f64> {
        let mut seconds = Vec::new();
        for frame in 0..FRAMES {
            self.now += FRAME;
            if self.now >= self.next_step {
                self.next_step += STEP;
                self.step = self.step % self.steps + 1;
                let at = Position { fold: FOLDS - 1, epoch: EPOCHS, step: self.step };
                self.tell(self.script.step(at));
            }
            if frame % 20 == 0 {
                self.tell(preview(frame));
            }
            let begun = Instant::now();
            draw(&mut self.screen, self.now);
            seconds.push(begun.elapsed().as_secs_f64());
        }
        seconds
    }
}

/// Pseudo-random value in 0..=1 without a generator.
fn noise(key: usize) -> f64 {
    (key * 7919 % 1009) as f64 / 1009.0
}

fn script(steps: usize) -> Script {
    let folds = (0..FOLDS).collect();
    Script { folds, epochs: EPOCHS, steps, valid_batches: steps / 4, step_seconds: STEP }
}

/// Four crops of the usual preview's size, different for each `key`.
fn preview(key: usize) -> Event {
    const SIDE: usize = 96;
    let picture = |shift: usize| Picture {
        pixels: (0..SIDE * SIDE).map(|i| (255.0 * noise(i + shift)) as u8).collect(),
        mask: (0..SIDE * SIDE).map(|i| if i % SIDE > 40 { 255 } else { 0 }).collect(),
    };
    let crop = |i: usize| Crop {
        study: format!("1.2.826.0.1.3680043.{}", 10_633 + i),
        vertebra: 1 + i as u8,
        slice: 3,
        label: 0.0,
        probability: 0.2,
        height: SIDE,
        width: SIDE,
        seen: picture(key + i),
        raw: Some(picture(key + i + 1)),
    };
    Event::Preview(Preview {
        at: Position::default(),
        crops: (0..4).map(crop).collect(),
        predictions: Vec::new(),
    })
}
