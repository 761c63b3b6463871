//! The loop: keys and events in, frames and commands out.

use super::appearance::Appearance;
use super::input::{Input, Waited};
use super::keys::Keymap;
use super::pictures::Pictures;
use super::screen::{Reply, Screen};
use super::wake::{Waker, Watch};
use super::{capture, suspend, terminal};
use crate::config;
use crate::run::channel::RunHandle;
use crate::run::event::TrainerState;
use crate::run::{self, Command};
use crate::view::State;
use crossbeam_channel::TryRecvError;
use crossterm::event::{Event, MouseEventKind};
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

/// Flags that signal handlers set, and then wake the dashboard. It takes them down.
#[derive(Debug, Clone)]
pub struct Signals {
    /// SIGHUP: the terminal is gone.
    pub hangup: Arc<AtomicBool>,
    /// SIGTERM: leave once the run is over (whoever sets this has told the trainer to stop); an
    /// attached dashboard leaves at once.
    pub terminate: Arc<AtomicBool>,
    /// SIGTSTP, sent from outside: the terminal is given back, and then this process stops. (In
    /// raw mode Ctrl-Z is a key and comes as one.)
    pub suspend: Arc<AtomicBool>,
    /// SIGCONT: this process stood still, by whatever signal; the terminal is taken over again.
    pub resumed: Arc<AtomicBool>,
    /// SIGWINCH: the terminal has another size.
    pub resized: Arc<AtomicBool>,
    /// For after a flag was set.
    pub waker: Waker,
}

impl Signals {
    /// No signal yet.
    ///
    /// Errors: there are no file descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: Arc::default(),
            terminate: Arc::default(),
            suspend: Arc::default(),
            resumed: Arc::default(),
            resized: Arc::default(),
            waker: Waker::new()?,
        })
    }
}

/// Longest time between two looks at the trainer's events while they come, however rare frames
/// are: those that nobody hears are dropped. And between two looks for the terminal after `bg`.
const TICK: Duration = Duration::from_millis(100);
/// A run that is over does not wait for the user of a terminal that has taken nothing for so long.
const PATIENCE: Duration = Duration::from_millis(500);
/// Events taken in before a frame is drawn: a flood must not starve the screen.
const MOST_EVENTS: usize = 4096;
/// How long a process that stops itself may take to stop, with time to spare on a busy machine.
const LONGEST_STOP: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(5);

/// Shows the run until the user leaves or the terminal goes away. An error means that the
/// terminal could not be taken over; it is as it was then, and the trainer was told nothing.
///
/// `state`: what is known of the run already. Of a run that is over, or that died, it is all there
/// is to see: `handle` may be closed from the start.
pub fn run(
    handle: &RunHandle,
    state: State,
    attachment: Attachment,
    settings: Settings,
    signals: &Signals,
) -> io::Result<Exit> {
    let Settings { ui: config, keys, runs } = settings;
    let input = Input::open(signals.waker.clone())?;
    let watch = Watch::over(handle.events.clone(), signals.waker.clone())?;
    let variable = |name: &str| std::env::var(name).ok();
    let appearance = Appearance::of_terminal(variable, config);
    let pictures = Pictures::of_terminal(variable, config.pictures).within(appearance);
    let (terminal, guard) = terminal::enter(config.mouse, &signals.waker)?;
    let mut screen = Screen::new(pictures, appearance, keys).beside_runs_in(runs);
    screen.state = state;
    if config.preview_seconds == 0.0 {
        screen = screen.without_previews();
    }
    let waker = signals.waker.clone();
    screen.encode_aside(move || waker.wake());
    if attachment == Attachment::Attached {
        screen = screen.attached();
    }
    let mut app = App::new(screen, config);
    let left = app.run(terminal, Sources { input, watch, handle, signals });
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

/// Where all that happens comes from.
struct Sources<'a> {
    input: Input,
    watch: Watch,
    handle: &'a RunHandle,
    signals: &'a Signals,
}

struct App {
    screen: Screen,
    /// Shortest time between two frames.
    frame: Duration,
    /// Whether the mouse is the program's.
    mouse: bool,
    /// When the newest event was heard: the run's clock goes on from there.
    heard: Instant,
    quitting: bool,
    detached: bool,
    /// The terminal may be another's: this process stood still.
    away: bool,
    /// The terminal had another size meanwhile, and may have lost what was drawn even if it has
    /// this one again.
    resized: bool,
    /// No more events come.
    closed: bool,
    /// There is something that the newest frame does not show.
    dirty: bool,
    /// Whether the terminal's bell rings for an alert.
    bell: bool,
    /// When the newest frame was drawn.
    drawn: Option<Instant>,
}

impl App {
    fn new(mut screen: Screen, config: &config::Ui) -> Self {
        // What stands already is on the screen.
        screen.rings();
        Self {
            screen,
            frame: Duration::from_secs(1) / config.fps.max(1),
            mouse: config.mouse,
            heard: Instant::now(),
            quitting: false,
            detached: false,
            away: false,
            resized: false,
            closed: false,
            dirty: true,
            bell: config.bell,
            drawn: None,
        }
    }

    fn run(&mut self, mut terminal: terminal::Screen, from: Sources) -> io::Result<Left> {
        let Sources { mut input, watch, handle, signals } = from;
        let tty = terminal.backend().device().clone();
        loop {
            if signals.hangup.load(Ordering::Relaxed) {
                return Ok(Left::Gone);
            }
            self.handle_signals(signals, handle);
            self.receive_events(handle);
            self.dirty |= self.screen.take_pictures();
            if self.detached {
                return Ok(Left::Detached);
            }
            let stalled = !self.screen.state.attached && tty.silence() >= PATIENCE;
            let leaving = (self.quitting || stalled) && self.screen.state.is_over();
            if leaving || self.screen.is_left() {
                return Ok(Left::Quit);
            }
            if self.away {
                if !suspend::in_front(&tty) {
                    // After `bg`. Whoever writes or reads now is stopped again.
                    std::thread::sleep(TICK);
                    continue;
                }
                terminal::enter_again(&mut terminal, self.mouse, &signals.waker)?;
                self.screen.forget_pictures();
                (self.away, self.drawn) = (false, None);
            }
            if self.screen.rings() && self.bell {
                terminal::ring(&mut terminal)?;
            }
            tty.push()?;
            // A frame that the terminal has no room for is left out; the next one shows it all.
            if !tty.is_behind() && self.time_to_frame().is_some_and(|wait| wait.is_zero()) {
                self.draw(&mut terminal)?;
            }
            if let Some(wanted) = self.screen.take_slice_request() {
                handle.slice_requests.put(wanted);
            }
            if !self.dirty && !self.closed {
                watch.ask();
            }
            let is_behind = tty.is_behind();
            let wait = self.time_to_frame();
            let wait = match (is_behind, self.dirty) {
                (true, _) => Some(TICK),
                (false, true) => wait.map(|wait| wait.min(TICK)),
                (false, false) => wait,
            };
            if input.wait(wait, is_behind.then_some(&tty))? == Waited::Gone {
                return Ok(Left::Gone);
            }
            while !self.away
                && let Some(event) = input.next()
            {
                self.handle_input(&event, handle, signals);
            }
        }
    }

    /// Does what the flags that are up say.
    fn handle_signals(&mut self, signals: &Signals, handle: &RunHandle) {
        if signals.terminate.swap(false, Ordering::Relaxed) {
            let reply = self.screen.terminate();
            self.dirty = true;
            self.carry_out(reply, handle, signals);
        }
        if signals.suspend.swap(false, Ordering::Relaxed) {
            self.suspend(false, &signals.resumed);
        }
        self.away |= signals.resumed.swap(false, Ordering::Relaxed);
        self.resized |= signals.resized.swap(false, Ordering::Relaxed);
        self.dirty |= self.resized;
    }

    fn draw(&mut self, terminal: &mut terminal::Screen) -> io::Result<()> {
        let now = self.clock();
        // Taken no sooner: what no frame has shown is printed when the screen is left.
        for (stream, line) in capture::take() {
            self.screen.state.stray(now, &format!("{stream}: {line}"));
        }
        if std::mem::take(&mut self.resized) {
            terminal.resize(terminal.size()?.into())?;
            self.screen.forget_pictures();
        }
        terminal.draw(|frame| self.screen.draw(frame, now))?;
        self.drawn = Some(Instant::now());
        self.dirty = false;
        Ok(())
    }

    fn handle_input(&mut self, event: &Event, handle: &RunHandle, signals: &Signals) {
        match event {
            Event::Key(key) => {
                self.dirty = true;
                let reply = self.screen.key(key);
                self.carry_out(reply, handle, signals);
            }
            // A mouse that merely moves changes nothing.
            Event::Mouse(mouse) if mouse.kind == MouseEventKind::Moved => {}
            Event::Mouse(mouse) => {
                self.dirty = true;
                let reply = self.screen.mouse(mouse);
                self.carry_out(reply, handle, signals);
            }
            Event::Resize(..) => (self.resized, self.dirty) = (true, true),
            // Pasted text comes as one event and is no command.
            _ => {}
        }
    }

    /// Stops until continued; `all`: with the whole job.
    fn suspend(&mut self, all: bool, resumed: &AtomicBool) {
        terminal::restore();
        resumed.store(false, Ordering::Relaxed);
        suspend::stop(all);
        // The system stops one thread after the other: this one must not draw before its turn. A
        // process that cannot be stopped goes on.
        let begun = Instant::now();
        while !resumed.load(Ordering::Relaxed) && begun.elapsed() < LONGEST_STOP {
            std::thread::sleep(SOON);
        }
        self.away = true;
    }

    /// How long no frame is due; `None`: until something happens.
    fn time_to_frame(&self) -> Option<Duration> {
        let Some(drawn) = self.drawn else { return Some(Duration::ZERO) };
        let by_itself = match (self.screen.is_animated(), self.screen.state.is_over()) {
            (true, _) => Some(Duration::from_millis(250)),
            // Nothing moves any more.
            (false, true) => None,
            (false, false) => Some(Duration::from_secs(1)),
        };
        let period = if self.dirty { Some(self.frame) } else { by_itself };
        Some(period?.saturating_sub(drawn.elapsed()))
    }

    /// Seconds since the run started.
    fn clock(&self) -> f64 {
        let state = &self.screen.state;
        let since = if state.is_over() { 0.0 } else { self.heard.elapsed().as_secs_f64() };
        state.at + since
    }

    fn receive_events(&mut self, handle: &RunHandle) {
        for _ in 0..MOST_EVENTS {
            match handle.events.try_recv() {
                Ok(stamped) => {
                    self.heard = Instant::now();
                    // Somebody else has stopped the run that is this process: it is to end.
                    let stops = matches!(&stamped.event, run::Event::Trainer(trainer)
                        if trainer.state == TrainerState::Stopping);
                    self.quitting |= stops && !self.screen.state.attached;
                    self.screen.apply(&stamped);
                    self.dirty = true;
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.closed = true;
                    if !self.screen.state.is_over() {
                        self.screen.disconnected();
                        self.dirty = true;
                    }
                    return;
                }
            }
        }
    }

    fn carry_out(&mut self, reply: Reply, handle: &RunHandle, signals: &Signals) {
        match reply {
            Reply::Nothing => {}
            Reply::Send(command) => {
                self.quitting |= command == Command::StopNow;
                // A trainer that is gone is seen by its events' end.
                let _ = handle.commands.send(command);
            }
            Reply::Leave => self.quitting = true,
            Reply::Detach => self.detached = true,
            Reply::Suspend if suspend::has_shell() => self.suspend(true, &signals.resumed),
            Reply::Suspend => {
                self.screen.notice("there is no shell below that could bring it back with fg");
            }
        }
    }
}
