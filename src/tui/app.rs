//! The loop: keys and events in, frames and commands out.

use super::crops::Pictures;
use super::input::{Input, Waited};
use super::screen::{Reply, Screen};
use super::terminal;
use crate::config;
use crate::run::channel::Line;
use crate::view::State;
use crossbeam_channel::TryRecvError;
use crossterm::event::{self, Event};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How the screen was left.
#[derive(Debug)]
pub enum Exit {
    /// The user left; the trainer has ended.
    Quit,
    /// The terminal went away while the trainer goes on; the state so far, for the one who
    /// carries on with the events.
    TerminalGone(Box<State>),
}

/// Flags that signal handlers set.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// SIGHUP: the terminal is gone.
    pub hangup: Arc<AtomicBool>,
    /// SIGTERM: as a confirmed quit.
    pub terminate: Arc<AtomicBool>,
}

/// Longest time between two looks at the trainer's events.
const TICK: Duration = Duration::from_millis(50);
/// Events taken in before a frame is drawn: a flood must not starve the screen.
const MOST_EVENTS: usize = 4096;

/// Shows the run until the user leaves or the terminal goes away. An error means that the
/// terminal could not be taken over; it is as it was then, and the trainer was told nothing.
///
/// `state`: what is known of the run already.
pub fn run(line: &Line, state: State, config: &config::Ui, signals: &Signals) -> io::Result<Exit> {
    let input = Input::open()?;
    let variable = |name: &str| std::env::var(name).ok();
    let color = variable("NO_COLOR").is_none_or(|v| v.is_empty());
    let pictures = match config.preview_seconds > 0.0 {
        true => Pictures::of_terminal(variable),
        false => Pictures::Off,
    };
    let (mut terminal, guard) = terminal::enter()?;
    let mut screen = Screen::new(pictures, color);
    screen.state = state;
    let mut app = App::new(screen, config);
    let left = app.run(&mut terminal, &input, line, signals);
    drop(guard);
    Ok(match left {
        Ok(Left::Quit) => Exit::Quit,
        // An error of a terminal that was fine a moment ago: it went away.
        Ok(Left::Gone) | Err(_) => Exit::TerminalGone(Box::new(app.screen.state)),
    })
}

enum Left {
    Quit,
    Gone,
}

struct App {
    screen: Screen,
    /// Shortest time between two frames.
    frame: Duration,
    /// When the newest event was heard: the run's clock goes on from there.
    heard: Instant,
    quitting: bool,
    dirty: bool,
}

impl App {
    fn new(screen: Screen, config: &config::Ui) -> Self {
        let frame = Duration::from_secs(1) / config.fps.max(1);
        Self { screen, frame, heard: Instant::now(), quitting: false, dirty: true }
    }

    fn run(
        &mut self,
        terminal: &mut terminal::Screen,
        input: &Input,
        line: &Line,
        signals: &Signals,
    ) -> io::Result<Left> {
        let mut drawn: Option<Instant> = None;
        loop {
            if signals.hangup.load(Ordering::Relaxed) {
                return Ok(Left::Gone);
            }
            if signals.terminate.swap(false, Ordering::Relaxed) {
                self.quitting = true;
                self.dirty = true;
                let reply = self.screen.quit();
                self.obey(reply, line);
            }
            self.hear(line);
            if self.quitting && self.screen.state.is_over() {
                return Ok(Left::Quit);
            }
            let since = drawn.map(|at| at.elapsed());
            if since.is_none_or(|since| self.is_due(since)) {
                let now = self.clock();
                terminal.draw(|frame| self.screen.draw(frame, now))?;
                drawn = Some(Instant::now());
                self.dirty = false;
            }
            let wait = match (self.dirty, drawn) {
                (true, Some(at)) => self.frame.saturating_sub(at.elapsed()).min(TICK),
                _ => TICK,
            };
            if input.wait(wait)? == Waited::Gone {
                return Ok(Left::Gone);
            }
            while event::poll(Duration::ZERO)? {
                let event = event::read()?;
                self.dirty = true;
                // Pasted text comes as one event and is no command.
                if let Event::Key(key) = event {
                    let reply = self.screen.key(&key);
                    self.obey(reply, line);
                }
            }
        }
    }

    fn is_due(&self, since: Duration) -> bool {
        let by_itself = match (self.screen.state.is_over(), self.screen.is_animated()) {
            // Nothing moves any more.
            (true, _) => Duration::MAX,
            (false, true) => Duration::from_millis(250),
            (false, false) => Duration::from_secs(1),
        };
        (self.dirty && since >= self.frame) || since >= by_itself
    }

    /// Seconds since the run started.
    fn clock(&self) -> f64 {
        let state = &self.screen.state;
        let since = if state.is_over() { 0.0 } else { self.heard.elapsed().as_secs_f64() };
        state.at + since
    }

    fn hear(&mut self, line: &Line) {
        for _ in 0..MOST_EVENTS {
            match line.events.try_recv() {
                Ok(stamped) => {
                    self.heard = Instant::now();
                    self.screen.apply(&stamped);
                    self.dirty = true;
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    if !self.screen.state.is_over() {
                        self.screen.disconnected();
                        self.dirty = true;
                    }
                    return;
                }
            }
        }
    }

    fn obey(&mut self, reply: Reply, line: &Line) {
        match reply {
            Reply::Nothing => {}
            Reply::Send(command) => {
                self.quitting |= command == crate::run::Command::StopNow;
                // A trainer that is gone is seen by its events' end.
                let _ = line.commands.send(command);
            }
            Reply::Leave => self.quitting = true,
        }
    }
}
