//! Other processes' runs: watching, steering and listing them.

use super::signals::Signals;
use crate::{
    cli,
    config::{Config, RequeueSignal},
    headless,
    run::{
        Command, Event, FoldAction, Latest,
        channel::Line,
        event::{CheckpointKind, FoldState, Level, TrainerState},
        folder::Folder,
        status::{self, RunState, Status},
    },
    tui,
    view::{State, format, text},
};
use eyre::{Result, bail, eyre};
use std::{
    io::{IsTerminal, Write, stdout},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// A process that has just begun listens soon.
const SOON: Duration = Duration::from_secs(5);

/// The runs folder that the command line names, or else the config in use.
pub(super) fn runs_dir(given: Option<&PathBuf>) -> Result<PathBuf> {
    match given {
        Some(dir) => Ok(dir.clone()),
        None => Ok(super::load(None, false, &[])?.run.dir),
    }
}

/// `rsna-tui attach`: the dashboard on a run of another process, or on one that is over.
pub fn attach(args: &cli::Attach) -> Result<ExitCode> {
    let folder = Folder::look(&runs_dir(args.runs_dir.as_ref())?, args.run.as_deref())?;
    let config = Config::load(Some(&folder.config()), false, &[])?;
    let signals = Signals::listen(RequeueSignal::None)?;
    let (line, upto) = match folder.is_in_use() {
        true => connect(&folder)?,
        false => (nobody(), None),
    };
    let (mut state, strange) = State::of_journal(&folder.journal(), upto)?;
    if strange > 0 {
        eprintln!("rsna-tui: {strange} lines of {} are damaged", folder.journal().display());
    }
    if upto.is_some() {
        // Whatever the journal says of an end, it goes on.
        (state.finished, state.vanished) = (None, false);
    }
    let name = folder.name.clone();
    if args.no_tui || !stdout().is_terminal() {
        signals.end_at_once();
        let failed = |e| eyre!("cannot write to stdout: {e}");
        if state.finished.is_some() {
            let _ = writeln!(stdout(), "{}", state.status());
            return Ok(ExitCode::SUCCESS);
        }
        headless::go_on(state, &line, config.run.log_every_steps, &mut stdout()).map_err(failed)?;
        return Ok(ExitCode::SUCCESS);
    }
    signals.draws(true);
    match tui::run(&line, state, tui::Attachment::Attached, &config.ui, &signals.tui) {
        Ok(tui::Exit::Detached) => {
            let said = format!("{name} goes on; look again: rsna-tui attach {name}");
            let _ = writeln!(stdout(), "{said}");
        }
        Ok(tui::Exit::Quit) => {}
        Ok(tui::Exit::TerminalGone(_)) => {}
        Err(error) => bail!("no dashboard on this terminal: {error}; try --no-tui"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A line to nobody: the run is over.
fn nobody() -> Line {
    let (_, events) = crossbeam_channel::unbounded();
    let (commands, _) = crossbeam_channel::unbounded();
    Line { events, commands, looks: Latest::default() }
}

/// A line to the process that trains the run, and how much of the journal was before.
fn connect(folder: &Folder) -> Result<(Line, Option<u64>)> {
    #[cfg(unix)]
    {
        let start = Instant::now();
        loop {
            match crate::run::control_socket::connect(folder) {
                Ok(connection) => return Ok((connection.line, Some(connection.journal))),
                Err(_) if start.elapsed() < SOON => std::thread::sleep(SOON / 50),
                Err(error) => bail!(
                    "{} is being trained, but its process cannot be reached through {}: {error}",
                    folder.name,
                    folder.socket().display()
                ),
            }
        }
    }
    #[cfg(not(unix))]
    bail!("{} is being trained; attach: expected a Unix system", folder.name)
}

/// `rsna-tui pause` and so on: asks the process that trains the run, and waits for its answer.
pub fn steer(args: &cli::Steer, command: Command) -> Result<ExitCode> {
    let folder = Folder::look(&runs_dir(args.runs_dir.as_ref())?, args.run.as_deref())?;
    let name = &folder.name;
    if !folder.is_in_use() {
        bail!(
            "{name} is not being trained: see `rsna-tui runs`; `rsna-tui resume {name}` goes on with it"
        );
    }
    let (line, _) = connect(&folder)?;
    let gone = || eyre!("{name}: its process has ended; see `rsna-tui runs`");
    line.commands.send(command).map_err(|_| gone())?;
    let end = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let Ok(stamped) = line.events.recv_deadline(end) else {
            if Instant::now() < end {
                // That is how a stop ends.
                return match command {
                    Command::StopNow | Command::StopAfterEpoch => Ok(ExitCode::SUCCESS),
                    _ => Err(gone()),
                };
            }
            bail!(
                "{name}: asked, but not answered in {} s: a long step, or validation; it will be done \
                 all the same",
                args.timeout
            );
        };
        if answers(command, &stamped.event) {
            let told = match &stamped.event {
                Event::Queue(queue) => {
                    let folds = queue
                        .folds
                        .iter()
                        .map(|q| format!("{} {}", q.fold, crate::view::word(q.state)));
                    Some(format!("folds: {}", folds.collect::<Vec<_>>().join(", ")))
                }
                event => text::of_event(event).map(|(_, text)| text),
            };
            let refused = matches!(&stamped.event, Event::Log(_));
            let told = format::sanitized(&told.unwrap_or_default());
            if refused {
                bail!("{name}: {told}");
            }
            let _ = writeln!(stdout(), "{name}: {told}");
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Whether `event` is what `command` leads to.
fn answers(command: Command, event: &Event) -> bool {
    let state = match event {
        Event::Trainer(event) => Some(event.state),
        _ => None,
    };
    match command {
        Command::Pause => state == Some(TrainerState::Paused),
        Command::Resume => {
            matches!(state, Some(TrainerState::Running | TrainerState::StoppingAfterEpoch))
        }
        Command::StopAfterEpoch => state == Some(TrainerState::StoppingAfterEpoch),
        Command::StopNow | Command::Requeue => matches!(event, Event::RunFinished(_)),
        Command::Checkpoint => {
            matches!(event, Event::Checkpoint(c) if c.kind == CheckpointKind::Last)
                || matches!(event, Event::Log(log) if log.message.ends_with("nothing to save"))
        }
        Command::Fold { fold, .. } => match event {
            Event::Queue(_) => true,
            // What is refused is a warning that names it.
            Event::Log(log) => {
                log.level == Level::Warn && log.message.contains(&format!("fold {fold}"))
            }
            _ => false,
        },
    }
}

/// `rsna-tui fold`.
pub fn fold(args: &cli::Fold) -> Result<ExitCode> {
    let action = match args.action {
        cli::Action::Start => FoldAction::Start,
        cli::Action::Pause => FoldAction::Pause,
        cli::Action::Skip => FoldAction::Skip,
        cli::Action::Restore => FoldAction::Restore,
        cli::Action::Earlier => FoldAction::Earlier,
        cli::Action::Later => FoldAction::Later,
        cli::Action::Again => FoldAction::Again,
    };
    steer(&args.steer, Command::Fold { fold: args.fold, action })
}

/// `rsna-tui runs`: a line a run.
pub fn runs(args: &cli::Runs) -> Result<String> {
    let dir = runs_dir(args.runs_dir.as_ref())?;
    let folders = Folder::all(&dir).map_err(|e| eyre!("{}: {e}", dir.display()))?;
    let rows: Vec<Row> = folders.iter().map(Row::of).collect();
    if args.json {
        return Ok(serde_json::to_string_pretty(&rows)?);
    }
    if rows.is_empty() {
        return Ok(format!("no runs in {}", dir.display()));
    }
    let width = rows.iter().map(|row| row.run.chars().count()).max().unwrap_or(0).max(3);
    let mut lines = vec![format!(
        "{:width$}  {:9}  {:>8}  {:12}  {:>15}  {}",
        "run", "state", "progress", "folds", "best valid", "written"
    )];
    lines.extend(rows.iter().map(|row| row.line(width)));
    Ok(lines.join("\n"))
}

/// A run, as it is listed.
#[derive(serde::Serialize)]
struct Row {
    run: String,
    /// `running`, `paused`, `held`, `completed`, `stopped`, `requeued`, `failed`, `died`, `unknown`
    state: &'static str,
    /// Its state.json, where there is one.
    status: Option<Status>,
}

impl Row {
    fn of(folder: &Folder) -> Self {
        let status = Status::read(&folder.state()).ok();
        let state = match (&status, folder.is_in_use()) {
            (None, true) => "starting",
            (None, false) => "unknown",
            (Some(status), alive) => match (status.state, alive) {
                (RunState::Running, true) => "running",
                (RunState::Paused, true) => "paused",
                (RunState::Held, true) => "held",
                (RunState::Running | RunState::Paused | RunState::Held, false) => "died",
                // It goes on, and has not said so yet.
                (_, true) => "starting",
                (RunState::Completed, false) => "completed",
                (RunState::Stopped, false) => "stopped",
                (RunState::Requeued, false) => "requeued",
                (RunState::Failed, false) => "failed",
            },
        };
        Self { run: format::sanitized(&folder.name), state, status }
    }

    fn line(&self, width: usize) -> String {
        let Self { run, state, status } = self;
        let Some(status) = status else { return format!("{run:width$}  {state}") };
        let epochs = status.epochs.max(1) as f64;
        let share = |f: &status::FoldStatus| {
            let step = f.step as f64 / f.steps.max(1) as f64;
            ((f.epoch as f64 + step) / epochs).min(1.0)
        };
        let counted = status.folds.iter().filter(|f| f.state != FoldState::Skipped);
        let (sum, n) = counted.map(share).fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
        let progress = format!("{:.0} %", 100.0 * sum / f64::from(n.max(1)));
        let done = status.folds.iter().filter(|f| f.state == FoldState::Done).count();
        let folds = format!("{done} of {} done", status.folds.len());
        let best = status.folds.iter().filter_map(|f| f.best.as_ref());
        let best = best.min_by(|a, b| a.metric.total_cmp(&b.metric));
        let best =
            best.map_or("–".into(), |b| format!("{} fold {}", format::loss(b.metric), b.fold));
        let ago = format::duration((status::now() - status.updated).max(0.0));
        format!("{run:width$}  {state:9}  {progress:>8}  {folds:12}  {best:>15}  {ago} ago")
    }
}
