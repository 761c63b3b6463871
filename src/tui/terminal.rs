//! Taking the terminal over, and giving it back whatever happens.

use crossterm::cursor::Show;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use std::io::{self, BufWriter, Stdout, Write, stdout};
use std::mem::ManuallyDrop;
use std::sync::{Mutex, Once, PoisonError};
use std::thread::ThreadId;

/// The terminal in use. Buffered, so that a frame goes out in few writes.
pub type Screen = Terminal<CrosstermBackend<BufWriter<Stdout>>>;

/// The thread that owns the screen while it is taken over.
static OWNER: Mutex<Option<ThreadId>> = Mutex::new(None);

/// Gives the terminal back when dropped.
pub struct Guard;

/// Takes the terminal over: raw mode, alternate screen, pasted text told from keys. The mouse
/// stays the terminal's, so that text can be selected.
///
/// The screen is never dropped: ratatui's drop reports a terminal that is gone with `eprintln!`,
/// which panics when standard error was that terminal. The guard shows the cursor again.
pub fn enter() -> io::Result<(ManuallyDrop<Screen>, Guard)> {
    static HOOK: Once = Once::new();
    HOOK.call_once(install_panic_hook);
    // From here on, also when a line below fails, the guard puts all back.
    let guard = Guard;
    take()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(BufWriter::new(stdout())))?;
    terminal.hide_cursor()?;
    Ok((ManuallyDrop::new(terminal), guard))
}

/// Takes it over once more, after this process stood still and others used it; the next draw
/// writes every cell.
pub fn enter_again(terminal: &mut Screen) -> io::Result<()> {
    // Who was stopped unasked still believes it raw; the shell has made it otherwise.
    disable_raw_mode()?;
    take()?;
    // Both frames are blank now, as the screen is.
    terminal.current_buffer_mut().reset();
    terminal.swap_buffers();
    terminal.hide_cursor()
}

/// Rings the terminal's bell.
pub fn ring(terminal: &mut Screen) -> io::Result<()> {
    let out = terminal.backend_mut();
    out.write_all(b"\x07")?;
    out.flush()
}

fn take() -> io::Result<()> {
    *owner() = Some(std::thread::current().id());
    enable_raw_mode()?;
    // Not `Terminal::clear`, which asks the terminal where its cursor is and waits for the answer.
    execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, Clear(ClearType::All))
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

fn owner() -> std::sync::MutexGuard<'static, Option<ThreadId>> {
    OWNER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the terminal back once; a terminal that is gone needs nothing, so errors are no news.
pub fn restore() {
    if owner().take().is_none() {
        return;
    }
    let mut out = stdout();
    let _ = queue!(out, DisableBracketedPaste, LeaveAlternateScreen, Show);
    let _ = out.flush();
    let _ = disable_raw_mode();
}

/// While the screen is taken over, a panic's report would be written across it. Of the owner's
/// own panic one sentence is told once the terminal is back; one of another thread stays silent
/// here, because whoever joins that thread tells it.
fn install_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let owned_by = *owner();
        match owned_by {
            None => before(info),
            Some(thread) if thread == std::thread::current().id() => {
                restore();
                let what = crate::panics::message(info.payload());
                let place = info.location().map(|l| format!(" at {l}")).unwrap_or_default();
                // Not `eprintln!`: it panics where standard error is gone, and once more is an abort.
                let _ = writeln!(io::stderr(), "rsna-tui: the display failed: {what}{place}");
            }
            Some(_) => {}
        }
    }));
}
