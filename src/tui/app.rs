//! The loop: keys and events in, frames and commands out.

use super::appearance::Appearance;
use super::input::{Input, Waited};
use super::keys::Keymap;
use super::pictures::Pictures;
use super::screen::{Reply, Screen};
use super::{suspend, terminal};
use crate::config;
use crate::run::channel::Line;
use crate::view::State;
use crossbeam_channel::TryRecvError;
use crossterm::event::{self, Event};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How the screen was left.
#[derive(Debug)]
pub enum Exit {
    /// The user left; the trainer has ended.
    Quit,
    /// The user left an attached dashboard; training goes on without it.
    Detached,
    /// The terminal went away while the trainer goes on; the state so far, for the one who
    /// carries on with the events.
    TerminalGone(Box<State>),
}

/// Where the run is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attachment {
    /// In this process: who quits stops it.
    #[default]
    Own,
    /// In another one, if it still is: the dashboard comes and goes.
    Attached,
}

/// How it looks and is used.
#[derive(Debug)]
pub struct Settings<'a> {
    /// `[ui]`
    pub ui: &'a config::Ui,
    /// Which key does what.
    pub keys: Keymap,
    /// Where other runs are kept, to compare with.
    pub runs: PathBuf,
}

/// Flags that signal handlers set. The dashboard takes them down.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// SIGHUP: the terminal is gone.
    pub hangup: Arc<AtomicBool>,
    /// SIGTERM: as a confirmed quit; an attached dashboard leaves.
    pub terminate: Arc<AtomicBool>,
    /// SIGTSTP, sent from outside: the terminal is given back, and then this process stops. (In
    /// raw mode Ctrl-Z is a key and comes as one.)
    pub suspend: Arc<AtomicBool>,
    /// SIGCONT: this process stood still, by whatever signal; the terminal is taken over again.
    pub resumed: Arc<AtomicBool>,
}

/// Longest time between two looks at the trainer's events.
const TICK: Duration = Duration::from_millis(50);
/// Events taken in before a frame is drawn: a flood must not starve the screen.
const MOST_EVENTS: usize = 4096;

/// Shows the run until the user leaves or the terminal goes away. An error means that the
/// terminal could not be taken over; it is as it was then, and the trainer was told nothing.
///
/// `state`: what is known of the run already. Of a run that is over, or that died, it is all there
/// is to see: `line` may be closed from the start.
pub fn run(
    line: &Line,
    state: State,
    attachment: Attachment,
    settings: Settings,
    signals: &Signals,
) -> io::Result<Exit> {
    let Settings { ui: config, keys, runs } = settings;
    let input = Input::open()?;
    let variable = |name: &str| std::env::var(name).ok();
    let appearance = Appearance::of_terminal(variable, config);
    let pictures = Pictures::of_terminal(variable, config.pictures).within(appearance);
    let (mut terminal, guard) = terminal::enter()?;
    let mut screen = Screen::new(pictures, appearance, keys).beside_runs_in(runs);
    screen.state = state;
    if config.preview_seconds == 0.0 {
        screen = screen.without_previews();
    }
    screen.encode_aside();
    if attachment == Attachment::Attached {
        screen = screen.attached();
    }
    let mut app = App::new(screen, config);
    let left = app.run(&mut terminal, &input, line, signals);
    drop(guard);
    Ok(match left {
        Ok(Left::Quit) => Exit::Quit,
        Ok(Left::Detached) => Exit::Detached,
        // An error of a terminal that was fine a moment ago: it went away.
        Ok(Left::Gone) | Err(_) => Exit::TerminalGone(Box::new(app.screen.state)),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Quit,
    Detached,
    Gone,
}

struct App {
    screen: Screen,
    /// Shortest time between two frames.
    frame: Duration,
    /// When the newest event was heard: the run's clock goes on from there.
    heard: Instant,
    quitting: bool,
    detached: bool,
    /// The terminal may be another's: this process stood still.
    away: bool,
    dirty: bool,
}

impl App {
    fn new(screen: Screen, config: &config::Ui) -> Self {
        let frame = Duration::from_secs(1) / config.fps.max(1);
        let (quitting, detached, away) = (false, false, false);
        Self { screen, frame, heard: Instant::now(), quitting, detached, away, dirty: true }
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
                let reply = self.screen.terminate();
                self.quitting |= reply != Reply::Detach;
                self.dirty = true;
                self.obey(reply, line);
            }
            if signals.suspend.swap(false, Ordering::Relaxed) {
                self.suspend(false);
            }
            self.away |= signals.resumed.swap(false, Ordering::Relaxed);
            self.hear(line);
            self.dirty |= self.screen.take_pictures();
            if self.detached {
                return Ok(Left::Detached);
            }
            if self.quitting && self.screen.state.is_over() {
                return Ok(Left::Quit);
            }
            if self.away {
                if !suspend::in_front() {
                    // After `bg`. Whoever writes or reads now is stopped again.
                    std::thread::sleep(TICK);
                    continue;
                }
                terminal::enter_again(terminal)?;
                self.screen.forget_pictures();
                (self.away, drawn) = (false, None);
            }
            let since = drawn.map(|at| at.elapsed());
            if since.is_none_or(|since| self.is_due(since)) {
                let now = self.clock();
                terminal.draw(|frame| self.screen.draw(frame, now))?;
                drawn = Some(Instant::now());
                self.dirty = false;
            }
            if let Some(wanted) = self.screen.take_look() {
                line.looks.put(wanted);
            }
            let wait = match (self.dirty, drawn) {
                (true, Some(at)) => self.frame.saturating_sub(at.elapsed()).min(TICK),
                _ => TICK,
            };
            if input.wait(wait)? == Waited::Gone {
                return Ok(Left::Gone);
            }
            while !self.away && event::poll(Duration::ZERO)? {
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

    /// Stops until continued; `all`: with the whole job.
    fn suspend(&mut self, all: bool) {
        terminal::restore();
        suspend::stop(all);
        self.away = true;
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
            Reply::Detach => self.detached = true,
            Reply::Suspend if suspend::has_shell() => self.suspend(true),
            Reply::Suspend => {
                self.screen.notice("there is no shell below that could bring it back with fg");
            }
        }
    }
}
