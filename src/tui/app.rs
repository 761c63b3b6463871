//! The dashboard's main loop: takes in keys and events, draws frames and sends commands.

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

/// How the dashboard ended.
#[derive(Debug)]
pub enum Exit {
    /// The user quit; the trainer has ended.
    Quit,
    /// The user left an attached dashboard; training continues without it.
    Detached,
    /// The terminal went away while the trainer is still running. Holds the state so far, for the
    /// code that handles further events.
    TerminalGone(Box<State>),
}

/// Where the run is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attachment {
    /// In this process; quitting stops the run.
    #[default]
    Own,
    /// In another process, if it is still running; the dashboard can attach and detach.
    Attached,
}

/// Appearance and controls.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The config's `[ui]` section.
    pub ui: &'a config::Ui,
    /// Key bindings.
    pub keys: Keymap,
    /// Folder of the runs to compare with.
    pub runs: PathBuf,
}

/// Flags set by signal handlers, which then wake the dashboard. The dashboard clears them.
#[derive(Debug, Clone)]
pub struct Signals {
    /// SIGHUP: the terminal is gone.
    pub hangup: Arc<AtomicBool>,
    /// SIGTERM: leave once the run is over (the signal handler also tells the trainer to stop). An
    /// attached dashboard leaves immediately.
    pub terminate: Arc<AtomicBool>,
    /// SIGTSTP from outside: give the terminal back, then stop this process. (In raw mode Ctrl-Z
    /// arrives as a key.)
    pub suspend: Arc<AtomicBool>,
    /// SIGCONT: this process was stopped, by whatever signal; take the terminal over again.
    pub resumed: Arc<AtomicBool>,
    /// SIGWINCH: the terminal's size changed.
    pub resized: Arc<AtomicBool>,
    /// Wakes the dashboard after a flag was set.
    pub waker: Waker,
}

impl Signals {
    /// Creates the flags, all cleared.
    ///
    /// Errors: when there are no file descriptors left.
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

/// Longest interval between reading the trainer's events while they arrive, however low the frame
/// rate: unread events are dropped. Also the interval between checks for the terminal after `bg`.
const TICK: Duration = Duration::from_millis(100);
/// Once the run is over, leave a terminal that has accepted no output for this long instead of
/// waiting for its user.
const PATIENCE: Duration = Duration::from_millis(500);
/// Maximum number of events handled before drawing a frame, so that a flood of events cannot starve
/// the screen.
const MOST_EVENTS: usize = 4096;
/// Longest time to wait for this process to stop itself, generous for a busy machine.
const LONGEST_STOP: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(5);

/// Shows the run until the user leaves or the terminal goes away.
///
/// `state`: the state of the run so far. For a finished run or one that died it is complete, and
/// `handle` may be closed from the start.
///
/// Errors: when the terminal cannot be taken over. It is then unchanged, and no command was sent to
/// the trainer.
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
    // Alerts that already exist are on the screen.
    screen.rings();
    let mut app = App {
        screen,
        handle,
        signals,
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
    };
    let left = app.run(terminal, input, &watch);
    drop(guard);
    // The terminal worked a moment ago, so an error means that it went away.
    let left = left.ok().flatten();
    Ok(left.unwrap_or_else(|| Exit::TerminalGone(Box::new(app.screen.state))))
}

struct App<'a> {
    screen: Screen,
    handle: &'a RunHandle,
    signals: &'a Signals,
    /// Shortest interval between frames.
    frame: Duration,
    /// Whether this program captures the mouse.
    mouse: bool,
    /// When the newest event was received; the run's clock continues from there.
    heard: Instant,
    quitting: bool,
    detached: bool,
    /// This process was stopped, so another process may own the terminal.
    away: bool,
    /// The terminal was resized, possibly back to the same size; either way its contents may be
    /// lost.
    resized: bool,
    /// The event channel is closed.
    closed: bool,
    /// The newest frame is out of date.
    dirty: bool,
    /// Whether alerts ring the terminal's bell.
    bell: bool,
    /// When the newest frame was drawn.
    drawn: Option<Instant>,
}

impl App<'_> {
    /// Runs the main loop. Returns how it ended, or `None` if the terminal went away.
    fn run(
        &mut self,
        mut terminal: terminal::Screen,
        mut input: Input,
        watch: &Watch,
    ) -> io::Result<Option<Exit>> {
        let signals = self.signals;
        let tty = terminal.backend().device().clone();
        loop {
            if signals.hangup.load(Ordering::Relaxed) {
                return Ok(None);
            }
            self.handle_signals();
            self.receive_events();
            self.dirty |= self.screen.take_pictures();
            if self.detached {
                return Ok(Some(Exit::Detached));
            }
            let stalled = !self.screen.state.attached && tty.silence() >= PATIENCE;
            let leaving = (self.quitting || stalled) && self.screen.state.is_over();
            if leaving || self.screen.is_left() {
                return Ok(Some(Exit::Quit));
            }
            if self.away {
                if !suspend::in_front(&tty) {
                    // In the background after `bg`, where reading or writing the terminal would
                    // stop the process again.
                    std::thread::sleep(TICK);
                    continue;
                }
                terminal::enter_again(&mut terminal, self.mouse, &signals.waker)?;
                self.screen.forget_pictures();
                (self.away, self.drawn) = (false, None);
            }
            if self.screen.rings() && self.bell {
                terminal.backend_mut().ring()?;
            }
            tty.push()?;
            // Skip the frame while the terminal accepts no more output; the next one is complete.
            if !tty.is_behind() && self.time_to_frame().is_some_and(|wait| wait.is_zero()) {
                self.draw(&mut terminal)?;
            }
            if let Some(fold) = self.screen.take_watched() {
                self.handle.watched.put(fold);
            }
            if let Some(wanted) = self.screen.take_slice_request() {
                self.handle.slice_requests.put(wanted);
            }
            if !self.dirty && !self.closed {
                watch.ask();
            }
            let is_behind = tty.is_behind();
            let wait = match self.time_to_frame() {
                _ if is_behind => Some(TICK),
                Some(wait) if self.dirty => Some(wait.min(TICK)),
                wait => wait,
            };
            if input.wait(wait, is_behind.then_some(&tty))? == Waited::Gone {
                return Ok(None);
            }
            while !self.away
                && let Some(event) = input.next()
            {
                self.handle_input(&event);
            }
        }
    }

    /// Handles the flags that are set.
    fn handle_signals(&mut self) {
        let signals = self.signals;
        if signals.terminate.swap(false, Ordering::Relaxed) {
            let reply = self.screen.terminate();
            self.dirty = true;
            self.carry_out(reply);
        }
        if signals.suspend.swap(false, Ordering::Relaxed) {
            self.suspend(false);
        }
        self.away |= signals.resumed.swap(false, Ordering::Relaxed);
        self.resized |= signals.resized.swap(false, Ordering::Relaxed);
        self.dirty |= self.resized;
    }

    fn draw(&mut self, terminal: &mut terminal::Screen) -> io::Result<()> {
        let now = self.clock();
        // Take lines as late as possible: those that no frame has shown are printed on leaving the
        // screen.
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

    fn handle_input(&mut self, event: &Event) {
        let reply = match event {
            Event::Key(key) => self.screen.key(key),
            // Mere mouse movement changes nothing.
            Event::Mouse(mouse) if mouse.kind != MouseEventKind::Moved => self.screen.mouse(mouse),
            Event::Resize(..) => {
                self.resized = true;
                Reply::Nothing
            }
            _ => return,
        };
        self.dirty = true;
        self.carry_out(reply);
    }

    /// Stops until continued. `all`: stop the whole job.
    fn suspend(&mut self, all: bool) {
        let resumed = &self.signals.resumed;
        terminal::restore();
        resumed.store(false, Ordering::Relaxed);
        suspend::stop(all);
        // The system stops threads one after the other, so this one must not draw before it is
        // stopped. If the process cannot be stopped, continue.
        let begun = Instant::now();
        while !resumed.load(Ordering::Relaxed) && begun.elapsed() < LONGEST_STOP {
            std::thread::sleep(SOON);
        }
        self.away = true;
    }

    /// Time until the next frame is due; `None`: not before something happens.
    fn time_to_frame(&self) -> Option<Duration> {
        let Some(drawn) = self.drawn else { return Some(Duration::ZERO) };
        let period = match (self.screen.is_animated(), self.screen.state.is_over()) {
            _ if self.dirty => self.frame,
            (true, _) => Duration::from_millis(250),
            // A finished run's screen does not change by itself.
            (false, true) => return None,
            (false, false) => Duration::from_secs(1),
        };
        Some(period.saturating_sub(drawn.elapsed()))
    }

    /// Seconds since the run started.
    fn clock(&self) -> f64 {
        let state = &self.screen.state;
        let since = if state.is_over() { 0.0 } else { self.heard.elapsed().as_secs_f64() };
        state.at + since
    }

    fn receive_events(&mut self) {
        for _ in 0..MOST_EVENTS {
            match self.handle.events.try_recv() {
                Ok(stamped) => {
                    self.heard = Instant::now();
                    // A stop requested by another client also ends this process, which is the
                    // trainer.
                    let stops = matches!(&stamped.event, run::Event::Trainer(trainer)
                        if trainer.state == TrainerState::Stopping && stamped.fold.is_none());
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

    fn carry_out(&mut self, reply: Reply) {
        match reply {
            Reply::Nothing => {}
            Reply::Send(command) => {
                self.quitting |= command == Command::StopNow;
                // If the trainer is gone, the closed event channel shows it.
                let _ = self.handle.commands.send(command.into());
            }
            Reply::SendTo(request) => _ = self.handle.commands.send(request),
            Reply::Leave => self.quitting = true,
            Reply::Detach => self.detached = true,
            Reply::Suspend if suspend::has_shell() => self.suspend(true),
            Reply::Suspend => {
                self.screen.notice("there is no shell below that could bring it back with fg");
            }
        }
    }
}
