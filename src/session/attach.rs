//! Other processes' runs: watching, steering and listing them.

use super::{
    evaluate::{EVALUATION, WORST},
    signals::Signals,
    studio::Studio,
};
use crate::{
    bounded, cli,
    config::{Config, RequeueSignal},
    headless, printing,
    run::{
        Command, Event, FoldAction,
        channel::{Line, channel},
        event::{CheckpointKind, Level, Stamped, TrainerState, Worst},
        folder::Folder,
    },
    tui,
    view::{Fold, State, format, runs, text},
};
use eyre::{Result, bail, eyre};
use std::{
    io::{Write, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// A longer file of worst studies is none of ours.
const LONGEST_WORST: u64 = 16 << 20;
/// A process that has just begun listens soon.
const SOON: Duration = Duration::from_secs(5);

/// The runs folder that the command line names, or else the config in use.
pub(super) fn runs_dir(given: Option<&PathBuf>) -> Result<PathBuf> {
    match given {
        Some(dir) => Ok(dir.clone()),
        None => Ok(super::load(None, false, &[])?.run.dir),
    }
}

/// The run of that name, or whose folder is given as a path; without one that which was begun last.
/// To look at it.
pub(super) fn named_run(run: Option<&str>, dir: Option<&PathBuf>) -> Result<Folder> {
    let path = run.map(Path::new);
    let path =
        path.filter(|p| p.components().count() > 1 || p.is_absolute() || *p == Path::new("."));
    let Some(path) = path else {
        return Ok(Folder::look(&runs_dir(dir)?, run)?);
    };
    let whole = std::fs::canonicalize(path).map_err(|e| {
        eyre!("{}: {e}; give a run's name, or its folder as a path", path.display())
    })?;
    let (dir, name) = (whole.parent(), whole.file_name().and_then(|name| name.to_str()));
    let (Some(dir), Some(name)) = (dir, name) else {
        bail!("{} is no run's folder", path.display());
    };
    Ok(Folder::look(dir, Some(name))?)
}

/// `rsna-tui attach`: the dashboard on a run of another process, or on one that is over.
pub fn attach(args: &cli::Attach) -> Result<ExitCode> {
    let dir = runs_dir(args.runs_dir.as_ref())?;
    let folder = Folder::look(&dir, args.run.as_deref())?;
    let config = Config::load(Some(&folder.config()), false, &[])?;
    let signals = Signals::listen(RequeueSignal::None)?;
    let (mut line, upto) = match folder.is_in_use() {
        true => connect(&folder)?,
        false => (nobody(), None),
    };
    let (mut state, strange) = State::of_journal(&folder.journal(), upto)?;
    if strange > 0 {
        let journal = folder.journal();
        printing::err(&format!("rsna-tui: {strange} lines of {} are damaged\n", journal.display()));
    }
    if upto.is_some() {
        // Whatever the journal says of an end, it goes on.
        (state.finished, state.vanished) = (None, false);
    }
    let name = folder.name.clone();
    if args.no_tui || super::plain::is_needed() {
        signals.end_at_once();
        let failed = |e| eyre!("cannot write to stdout: {e}");
        if state.finished.is_some() {
            let _ = writeln!(stdout(), "{}", state.status());
            return Ok(ExitCode::SUCCESS);
        }
        headless::go_on(state, &line, config.run.log_every_steps, &mut stdout()).map_err(failed)?;
        return Ok(ExitCode::SUCCESS);
    }
    if upto.is_none() {
        state.attached = true;
        state.disconnected();
        evaluated(&folder, &mut state);
        // Its slices can be looked at where they are still there.
        if let Ok((table, source)) = super::data(&config) {
            let (events, _, alone) = channel(None, 0.0);
            Studio::new(config.clone(), table, source).open(&alone, &events);
            (line, state.reads_slices) = (alone, true);
        }
    }
    signals.draws(true);
    let keys = super::keys(&config)?;
    let settings = tui::Settings { ui: &config.ui, keys, runs: dir };
    match tui::run(&line, state, tui::Attachment::Attached, settings, &signals.tui) {
        Ok(tui::Exit::Detached) => {
            let said = format!("{name} goes on; look again: rsna-tui attach {name}\n");
            let _ = printing::out(&said);
        }
        Ok(tui::Exit::Quit) => {}
        Ok(tui::Exit::TerminalGone(_)) => {}
        Err(error) => bail!("no dashboard on this terminal: {error}; try --no-tui"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A line to nobody: the run is over.
fn nobody() -> Line {
    let (_, _, line) = channel(None, 0.0);
    line
}

/// The worst studies of a run that is over are those of its evaluation, where there was one.
fn evaluated(folder: &Folder, state: &mut State) {
    let path = folder.path().join(EVALUATION).join(WORST);
    let read = bounded::read(&path, LONGEST_WORST).ok();
    let worst: Option<Vec<Worst>> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    for worst in worst.into_iter().flatten() {
        // One that was trained on since has a newer validation.
        let fold = state.folds.iter().find(|fold| fold.plan.fold == worst.at.fold);
        let best = fold.and_then(Fold::best_epoch).map(|epoch| epoch.at.epoch);
        if best != Some(worst.at.epoch) {
            continue;
        }
        state.apply(&Stamped { at: state.at, event: Event::Worst(worst) });
    }
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
        Command::Plan { .. } => match event {
            Event::Planned(_) => true,
            Event::Log(log) => log.level == Level::Warn && log.message.starts_with("plan: "),
            _ => false,
        },
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

/// `rsna-tui plan`.
pub fn plan(args: &cli::Plan) -> Result<ExitCode> {
    let (epochs, min_learning_rate) = (args.epochs, args.min_learning_rate);
    if epochs.is_none() && min_learning_rate.is_none() {
        bail!("plan: expected --epochs N, --min-learning-rate RATE, or both");
    }
    steer(&args.steer, Command::Plan { epochs, min_learning_rate })
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
    let rows = runs::list(&dir).map_err(|e| eyre!("{}: {e}", dir.display()))?;
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
    lines.extend(rows.iter().map(|row| in_a_line(row, width)));
    Ok(lines.join("\n"))
}

fn in_a_line(row: &runs::Run, width: usize) -> String {
    let (run, state) = (&row.run, row.state);
    let (Some(share), Some(ago)) = (row.share(), row.ago()) else {
        return format!("{run:width$}  {state}");
    };
    let progress = format!("{:.0} %", 100.0 * share);
    let (done, all) = row.folds();
    let folds = format!("{done} of {all} done");
    let best = row.best();
    let best = best.map_or("–".into(), |b| format!("{} fold {}", format::loss(b.loss()), b.fold));
    let ago = format::duration(ago);
    format!("{run:width$}  {state:9}  {progress:>8}  {folds:12}  {best:>15}  {ago} ago")
}
