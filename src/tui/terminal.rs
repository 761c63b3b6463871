//! Takes the terminal over, and restores it whatever happens.

use super::backend::Backend;
use super::capture;
use super::tty::Tty;
use super::wake::Waker;
use crate::print;
use crossterm::cursor::Show;
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::terminal::{
    Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::ThreadId;

/// The terminal in use.
pub type Screen = ratatui::Terminal<Backend<Tty>>;

/// What is needed to restore the terminal.
#[derive(Debug, Clone)]
struct Taken {
    /// The thread that owns the screen.
    thread: ThreadId,
    tty: Tty,
    mouse: bool,
}

/// The terminal, while taken over.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

/// Restores the terminal when dropped.
pub struct Guard;

/// Takes the terminal over: raw mode, alternate screen, bracketed paste, and capture of other
/// output, for which `waker` wakes the dashboard. `mouse`: capture the mouse; otherwise the
/// terminal keeps it for selecting text.
pub fn enter(mouse: bool, waker: &Waker) -> io::Result<(Screen, Guard)> {
    static HOOK: Once = Once::new();
    HOOK.call_once(install_panic_hook);
    let tty = Tty::open()?;
    // From here on, the guard restores the terminal even if a later line fails.
    let guard = Guard;
    take(&tty, mouse)?;
    capture::begin(waker)?;
    Ok((Screen::new(Backend::new(tty))?, guard))
}

/// Takes the terminal over again after this process was stopped and others used it. The next draw
/// writes every cell.
pub fn enter_again(terminal: &mut Screen, mouse: bool, waker: &Waker) -> io::Result<()> {
    // After an unexpected stop, crossterm still considers the terminal raw although the shell has
    // changed it.
    disable_raw_mode()?;
    take(terminal.backend().device(), mouse)?;
    capture::begin(waker)?;
    // Both frames are blank, like the screen.
    terminal.current_buffer_mut().reset();
    terminal.swap_buffers();
    terminal.backend_mut().forget();
    Ok(())
}

fn take(tty: &Tty, mouse: bool) -> io::Result<()> {
    // Earlier output belongs to the screen that is being left.
    let _ = io::stdout().flush();
    let mut tty = tty.clone();
    let thread = std::thread::current().id();
    *taken() = Some(Taken { thread, tty: tty.clone(), mouse });
    enable_raw_mode()?;
    // Not `Terminal::clear`, which queries the terminal for its cursor position and waits for the
    // reply.
    execute!(tty, EnterAlternateScreen, EnableBracketedPaste, Clear(ClearType::All))?;
    if mouse {
        execute!(tty, EnableMouseCapture)?;
    }
    Ok(())
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

fn taken() -> MutexGuard<'static, Option<Taken>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Restores the terminal once, in bounded time whether or not it reads. Errors are ignored, because
/// they mean that the terminal is gone.
pub fn restore() {
    let Some(Taken { tty, mouse, .. }) = taken().take() else { return };
    let mut last = Vec::new();
    if mouse {
        let _ = queue!(last, DisableMouseCapture);
    }
    // The last frame may have been cut off.
    let _ = queue!(last, EndSynchronizedUpdate, DisableBracketedPaste, LeaveAlternateScreen, Show);
    tty.leave(&last);
    let _ = disable_raw_mode();
    capture::end();
}

/// Replaces the panic hook while the screen is taken over, because the report would go into the
/// log. A panic of the screen's own thread is reported in one sentence after the terminal is
/// restored. A panic of another thread is not reported here but by the code that joins the thread.
fn install_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let owner = taken().as_ref().map(|taken| taken.thread);
        match owner {
            None => before(info),
            Some(thread) if thread == std::thread::current().id() => {
                restore();
                let what = crate::panics::message(info.payload());
                let place = info.location().map(|l| format!(" at {l}")).unwrap_or_default();
                // Not `eprintln!`, which panics if standard error is gone; a second panic would
                // abort.
                print::warn(format_args!("the display failed: {what}{place}"));
            }
            Some(_) => {}
        }
    }));
}

#[cfg(all(test, unix))]
#[path = "../../tests/it/pty/emulator.rs"]
#[allow(dead_code)] // the integration tests use more of it
mod emulator;

#[cfg(all(test, unix))]
mod tests {
    use super::emulator::Emulator;
    use super::*;
    use portable_pty::{CommandBuilder, PtySize, native_pty_system};
    use std::io::Read;

    /// Set for the test process that runs inside the terminal.
    const INSIDE: &str = "RSNA_TUI_TEST_INSIDE";

    #[test]
    fn after_a_panic_the_terminal_is_back_with_all_that_was_said() {
        if std::env::var_os(INSIDE).is_some() {
            panic_inside();
        }
        let size = PtySize { rows: 200, cols: 80, ..PtySize::default() };
        let pty = native_pty_system().openpty(size).unwrap();
        let modes = || pty.master.get_termios().map(|modes| format!("{modes:?}"));
        let before = modes();
        let mut program = CommandBuilder::new(std::env::current_exe().unwrap());
        let (_, module) = module_path!().split_once("::").unwrap();
        let this = format!("{module}::after_a_panic_the_terminal_is_back_with_all_that_was_said");
        program.args([&this, "--exact", "--nocapture"]);
        program.env(INSIDE, "1");
        let mut child = pty.slave.spawn_command(program).unwrap();
        let mut reader = pty.master.try_clone_reader().unwrap();
        let read = std::thread::spawn(move || {
            let mut said = Vec::new();
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                said.extend_from_slice(&bytes[..n]);
            }
            said
        });
        assert!(!child.wait().unwrap().success());
        assert_eq!(modes(), before);
        // The reader ends when the terminal is closed everywhere.
        let portable_pty::PtyPair { slave, master: _master } = pty;
        drop(slave);
        let mut screen = Emulator::new(80, 200);
        screen.process(&read.join().unwrap());
        let text = screen.text();
        assert_eq!(screen.left_on(), None, "{text}");
        for words in ["before", "printed meanwhile", "lines left out)", "not ended"] {
            assert!(text.contains(words), "{words} is not in:\n{text}");
        }
        assert!(text.contains("the display failed: on purpose at src"), "{text}");
        for other in ["the dashboard", "another thread"] {
            assert!(!text.contains(other), "{other} is in:\n{text}");
        }
    }

    fn panic_inside() -> ! {
        print!("before ");
        let (mut terminal, _guard) = enter(true, &Waker::new().unwrap()).unwrap();
        terminal.draw(|frame| frame.render_widget("the dashboard", frame.area())).unwrap();
        println!("printed meanwhile");
        // More than a pipe holds, with no reader.
        for i in 0..100_000 {
            println!("flood {i}");
        }
        let other = std::thread::spawn(|| panic!("of another thread"));
        assert!(other.join().is_err());
        eprint!("not ended");
        panic!("on purpose");
    }
}
