//! `ui.on_alert`: runs a command for each new alert, in the training process.

use crate::{
    bounded, print,
    run::{
        channel::EventSender,
        event::{Level, Stamped},
        folder::Folder,
    },
    view::{Alert, Alerts, format},
};
use crossbeam_channel::{Receiver, Sender};
use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Time limit of a command and, once the run is over, of all waiting commands together.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Most alerts waiting for an earlier command.
const WAITING: usize = 16;
/// Interval for checking whether a command has ended.
const TICK: Duration = Duration::from_millis(50);
/// Wait at the end of a run after which the user is told the reason.
const PATIENCE: Duration = Duration::from_secs(1);

/// The threads that listen for alerts and run the command.
pub(super) struct Hook {
    listener: JoinHandle<()>,
    runner: JoinHandle<()>,
    /// Closed once the runner has ended.
    ended: Receiver<()>,
}

impl Hook {
    /// Starts the threads, if there is a command. Alerts already raised are not new. If no threads can be
    /// started, no commands run.
    pub(super) fn start(command: &str, folder: &Folder, events: &EventSender) -> Option<Self> {
        if command.is_empty() {
            return None;
        }
        let hook = Arc::new(Commands {
            command: command.into(),
            name: folder.name.clone(),
            folder: std::path::absolute(folder.path()).unwrap_or_else(|_| folder.path().into()),
            events: events.clone(),
            warned: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let (before, heard) = events.watch();
        let journal = folder.journal();
        let (sender, alerts) = crossbeam_channel::bounded(WAITING);
        let (ending, ended) = crossbeam_channel::bounded::<()>(0);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let commands = hook.clone();
        let run = move || {
            let _ending = ending;
            commands.run_all(&alerts);
        };
        let runner = thread("on_alert").spawn(run).ok()?;
        let listen = move || {
            let past = Alerts::of_journal(&journal, Some(before)).unwrap_or_default();
            hook.listen(past, &heard, &sender);
        };
        let listener = thread("alerts").spawn(listen).ok()?;
        Some(Self { listener, runner, ended })
    }

    /// Waits for the last commands after the run.
    pub(super) fn finish(self) {
        let _ = self.listener.join();
        if self.ended.recv_timeout(PATIENCE).is_err_and(|error| error.is_timeout()) {
            let why = "waiting for the command of ui.on_alert; it is killed after 60 s";
            print::warn(why);
        }
        let _ = self.runner.join();
    }
}

struct Commands {
    command: String,
    /// Name of the run.
    name: String,
    /// Absolute path of the run's folder.
    folder: PathBuf,
    events: EventSender,
    /// Whether the log already has a warning about a failure.
    warned: AtomicBool,
    /// Whether the run is over.
    over: AtomicBool,
}

impl Commands {
    /// Forwards every new alert until the run is over.
    fn listen(&self, mut run: Alerts, heard: &Receiver<Stamped>, alerts: &Sender<Alert>) {
        for stamped in heard {
            let raised = run.raised();
            run.apply(&stamped);
            for alert in run.since(raised) {
                // Waiting here would miss other events.
                if alerts.try_send(alert.clone()).is_err() {
                    self.tell(&format!("{WAITING} alerts wait already: one is left out"));
                }
            }
        }
        self.over.store(true, Ordering::Relaxed);
    }

    /// Runs the command for one alert after another.
    fn run_all(&self, alerts: &Receiver<Alert>) {
        let mut last: Option<Instant> = None;
        for alert in alerts {
            if self.over.load(Ordering::Relaxed) {
                last = last.or(Some(Instant::now() + TIMEOUT));
            }
            let left = last.map_or(TIMEOUT, |last| last.saturating_duration_since(Instant::now()));
            if let Err(why) = self.run(&alert, left) {
                self.tell(&why);
            }
        }
    }

    /// Runs the command for `alert`. Details are passed only in the environment, so that a message never
    /// becomes part of a command.
    fn run(&self, alert: &Alert, timeout: Duration) -> Result<(), String> {
        let path = self.folder.join("on_alert.log");
        let output = bounded::open_with(&path, File::options().create(true).append(true));
        let output = output.and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = output.map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(&self.command)
            .env("RSNA_TUI_RUN", &self.name)
            .env("RSNA_TUI_FOLDER", &self.folder)
            .env("RSNA_TUI_ALERT", alert.kind.word())
            .env(
                "RSNA_TUI_LEVEL",
                if alert.kind.level() == Level::Error { "error" } else { "warn" },
            )
            .env("RSNA_TUI_MESSAGE", format::sanitized(&alert.text))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        // Use a new process group: it can be killed as a whole, and Ctrl-C does not reach it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|e| format!("cannot start sh: {e}"))?;
        let begun = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(format!("the command ended with {status}; see {}", path.display()));
                }
                Ok(None) if begun.elapsed() < timeout => std::thread::sleep(TICK),
                Ok(None) => {
                    kill(&mut child);
                    return Err(format!("the command was killed after {} s", timeout.as_secs()));
                }
                Err(e) => return Err(format!("cannot wait for the command: {e}")),
            }
        }
    }

    /// Reports the first failure.
    fn tell(&self, why: &str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            let message = format!("ui.on_alert: {why}; further failures are not told");
            self.events.log(Level::Warn, message);
        }
    }
}

/// Kills a command and all processes that it started.
fn kill(child: &mut Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::{
        run::{
            Event,
            channel::channel,
            event::{ErrorEvent, Position},
        },
        view::alerts::Kind,
    };
    use std::fs;

    fn folder(dir: &tempfile::TempDir) -> Folder {
        Folder::create(dir.path(), "a run").unwrap()
    }

    fn error(message: &str) -> Event {
        let at = Position { fold: 1, epoch: 2, step: 3 };
        Event::Error(ErrorEvent { at, message: message.into(), fatal: false })
    }

    #[test]
    fn the_command_hears_what_it_is_about_and_runs_no_message() {
        let dir = tempfile::tempdir().unwrap();
        let command = r#"echo "$RSNA_TUI_RUN|$RSNA_TUI_ALERT|$RSNA_TUI_LEVEL|$RSNA_TUI_MESSAGE"
            cd "$RSNA_TUI_FOLDER" && cat && echo complaint >&2"#;
        let message = "$(touch harm); `touch harm`\n' \" \x1b[2J";
        let folder = folder(&dir);
        let (events, _commands, _line) = channel(None, 0.0);
        let hook = Hook::start(command, &folder, &events).unwrap();
        events.send(error(message));
        events.send(error("another"));
        events.close();
        hook.finish();
        let log = fs::read_to_string(folder.path().join("on_alert.log")).unwrap();
        let expected = "a run|error|error|fold 1 epoch 2 step 3: $(touch harm); `touch harm` ' \"  [2J\n\
                        complaint\na run|error|error|fold 1 epoch 2 step 3: another\ncomplaint\n";
        assert_eq!(log, expected);
        assert!(!folder.path().join("harm").exists());
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let (events, _commands, _line) = channel(None, 0.0);
        let folder = folder(&dir);
        let commands = Commands {
            command: "while :; do echo >> \"$RSNA_TUI_FOLDER/beats\"; sleep 0.01; done & sleep 600"
                .into(),
            name: "a".into(),
            folder: folder.path().into(),
            events,
            warned: AtomicBool::new(false),
            over: AtomicBool::new(false),
        };
        let mut alerts = Alerts::default();
        alerts.apply(&Stamped::new(1.0, error("it failed")));
        let alert = alerts.standing()[0].clone();
        assert_eq!(alert.kind, Kind::Error);
        let beats = || std::fs::metadata(folder.path().join("beats")).map_or(0, |f| f.len());
        let mut patience = Duration::from_millis(200);
        // On a busy machine the command may be killed before its second process starts.
        while beats() == 0 {
            let why = commands.run(&alert, patience).unwrap_err();
            assert!(why.contains("killed"), "{why}");
            patience *= 2;
        }
        let before = beats();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(beats(), before, "it goes on");
    }

    #[test]
    fn a_failure_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(&dir);
        let (events, _commands, handle) = channel(None, 0.0);
        let hook = Hook::start("exit 3", &folder, &events).unwrap();
        events.send(error("one"));
        events.send(error("two"));
        let mut warnings = handle.events.iter().filter_map(|stamped| match stamped.event {
            Event::Log(log) => Some(log.message),
            _ => None,
        });
        let first = warnings.next().unwrap();
        assert!(first.starts_with("ui.on_alert: the command ended with exit status: 3"), "{first}");
        events.close();
        hook.finish();
        assert_eq!(warnings.next(), None);
    }
}
