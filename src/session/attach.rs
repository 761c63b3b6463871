//! Commands for runs of other processes: watch, steer and list them.

use super::{
    evaluate::{EVALUATION, WORST},
    named_run::{named_run, runs_dir},
    recorded,
    signals::Signals,
};
use crate::{
    bounded, cli,
    config::{Config, RequeueSignal},
    headless, print,
    run::{
        Command, Event, Request,
        channel::{RunHandle, channel},
        event::{Stamped, Worst},
        folder::Folder,
        rules,
        status::{RunState, Status},
    },
    train::slice_reader::SliceReader,
    tui,
    view::{Fold, State, format, runs, text},
};
use crossbeam_channel::never;
use eyre::{Result, bail, eyre};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use unicode_width::UnicodeWidthStr;

/// Maximum size of the file of worst studies, in bytes.
const LONGEST_WORST: u64 = 16 << 20;
/// Time for a process that has just started to listen on its socket.
const SOON: Duration = Duration::from_secs(5);

/// Runs `rsna-tui attach`: the dashboard for a run of another process, or for a finished one.
pub fn attach(args: &cli::Attach) -> Result<ExitCode> {
    let folder = named_run(&args.named)?;
    let dir = folder.dir().to_owned();
    let config = Config::load(Some(&folder.config()), false, &[])?;
    let signals = Signals::listen(RequeueSignal::None.into())?;
    let (mut handle, upto) = match folder.is_in_use() {
        true => connect(&folder)?,
        // No trainer hears it.
        false => (channel(None, 0.0).2, None),
    };
    let (mut state, strange) = State::of_journal(&folder.journal(), upto)?;
    if strange > 0 {
        print::warn(format_args!("{strange} lines of {} are damaged", folder.journal().display()));
    }
    if upto.is_some() {
        // It is running, even if the journal contains an end.
        (state.finished, state.vanished) = (None, false);
    }
    let name = folder.name.clone();
    if args.no_tui || super::plain::is_needed() {
        signals.end_at_once();
        let failed = |e| eyre!("cannot write to stdout: {e}");
        if state.finished.is_some() {
            print::line(state.status());
            return Ok(ExitCode::SUCCESS);
        }
        headless::run(state, &handle, config.run.log_every_steps, &mut print::Lines)
            .map_err(failed)?;
        return Ok(ExitCode::SUCCESS);
    }
    if upto.is_none() {
        state.attached = true;
        state.disconnected();
        evaluated(&folder, &mut state);
        // Slices can still be shown if their files are there.
        if let Ok(data) = recorded::read(&folder, &config) {
            let (events, _, alone) = channel(None, 0.0);
            let reader = SliceReader::new(config.clone(), data.table, data.source);
            let requests = alone.slice_requests.taker();
            reader.compared_with(data.record).open(requests, never(), &events);
            (handle, state.reads_slices) = (alone, true);
        }
    }
    signals.draws(true);
    let keys = super::keys(&config)?;
    let settings = tui::Settings { ui: &config.ui, keys, runs: dir };
    let exit = tui::run(&handle, state, tui::Attachment::Attached, settings, &signals.tui)
        .map_err(|error| eyre!("no dashboard on this terminal: {error}; try --no-tui"))?;
    if matches!(exit, tui::Exit::Detached) {
        print::line(format_args!("{name} goes on; look again: rsna-tui attach {name}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds the worst studies from a finished run's evaluation, if it has been evaluated.
fn evaluated(folder: &Folder, state: &mut State) {
    let path = folder.path().join(EVALUATION).join(WORST);
    let read = bounded::read(&path, LONGEST_WORST).ok();
    let worst: Option<Vec<Worst>> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    for worst in worst.into_iter().flatten() {
        // If the fold was trained further, its newest validation is newer than the evaluation.
        let fold = state.folds.iter().find(|fold| fold.plan.fold == worst.at.fold);
        let best = fold.and_then(Fold::best_epoch).map(|epoch| epoch.at.epoch);
        if best != Some(worst.at.epoch) {
            continue;
        }
        state.apply(&Stamped::new(state.at, Event::Worst(worst)));
    }
}

/// Connects to the training process. Returns the length of the journal so far, too.
fn connect(folder: &Folder) -> Result<(RunHandle, Option<u64>)> {
    #[cfg(unix)]
    {
        let start = Instant::now();
        loop {
            match crate::run::control_socket::connect(folder) {
                Ok(connection) => return Ok((connection.handle, Some(connection.journal))),
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

/// Runs `rsna-tui pause` and so on: sends the command to the training process and waits for the answer.
pub fn steer(args: &cli::Steer, command: Command) -> Result<ExitCode> {
    let folder = named_run(&args.named)?;
    let name = &folder.name;
    if !folder.is_in_use() {
        let completed = Status::read(&folder.state()).is_ok_and(|s| s.state == RunState::Completed);
        match completed {
            true => bail!(
                "{name} is not being trained: it is completed; `rsna-tui resume {name} --epochs N` \
                 trains it for longer"
            ),
            false => bail!(
                "{name} is not being trained: see `rsna-tui runs`; `rsna-tui resume {name}` goes on \
                 with it"
            ),
        }
    }
    let (handle, _) = connect(&folder)?;
    let mut done = None;
    let gone = || eyre!("{name}: its process has ended; see `rsna-tui runs`");
    // Processes that steer at the same time have different ids.
    let request = Request::numbered(std::process::id().into(), command);
    handle.commands.send(request).map_err(|_| gone())?;
    let end = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let Ok(stamped) = handle.events.recv_deadline(end) else {
            if Instant::now() < end {
                // A successful stop also closes the connection.
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
        done = in_words(&stamped.event).or(done);
        match rules::answer(request, &stamped.event) {
            None => {}
            Some(Ok(())) => {
                let done = format::sanitized(&done.unwrap_or_default());
                print::line(format_args!("{name}: {done}"));
                return Ok(ExitCode::SUCCESS);
            }
            Some(Err(why)) => bail!("{name}: {}", format::sanitized(why)),
        }
    }
}

/// Describes the completed action that `event` reports.
fn in_words(event: &Event) -> Option<String> {
    match event {
        Event::Queue(queue) => {
            let folds = queue.folds.iter();
            let folds = folds.map(|q| format!("{} {}", q.fold, crate::view::word(q.state)));
            Some(format!("folds: {}", folds.collect::<Vec<_>>().join(", ")))
        }
        Event::Planned(_) | Event::Trainer(_) | Event::Checkpoint(_) | Event::RunFinished(_) => {
            text::of_event(event).map(|(_, text)| text)
        }
        _ => None,
    }
}

/// Runs `rsna-tui plan`.
pub fn plan(args: &cli::Plan) -> Result<ExitCode> {
    let (epochs, min_learning_rate) = (args.epochs, args.min_learning_rate);
    if epochs.is_none() && min_learning_rate.is_none() {
        bail!("plan: expected --epochs N, --min-learning-rate RATE, or both");
    }
    if let Some(rate) = min_learning_rate.filter(|rate| !rate.is_finite()) {
        bail!("--min-learning-rate {rate}: expected a number");
    }
    steer(&args.steer, Command::Plan { epochs, min_learning_rate })
}

/// Runs `rsna-tui fold`.
pub fn fold(args: &cli::Fold) -> Result<ExitCode> {
    steer(&args.steer, Command::Fold { fold: args.fold, action: args.action })
}

/// Runs `rsna-tui runs`: one line per run.
pub fn runs(args: &cli::Runs) -> Result<String> {
    let dir = runs_dir(args.runs_dir.as_ref())?;
    let rows = match runs::list(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        rows => rows.map_err(|e| eyre!("{}: {e}; give a folder with --runs-dir", dir.display()))?,
    };
    if args.json {
        return Ok(serde_json::to_string_pretty(&rows)?);
    }
    if rows.is_empty() {
        return Ok(format!("no runs in {}", dir.display()));
    }
    let width = rows.iter().map(|row| row.run.width()).max().unwrap_or(0).max(3);
    let mut lines = vec![format!(
        "{}  {:9}  {:>8}  {:12}  {:>15}  {}",
        padded("run", width),
        "state",
        "progress",
        "folds",
        "best valid",
        "written"
    )];
    lines.extend(rows.iter().map(|row| in_a_line(row, width)));
    Ok(lines.join("\n"))
}

/// Pads `text` with spaces to `width` terminal columns. Chinese characters take two columns.
fn padded(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(text.width());
    format!("{text}{:blanks$}", "")
}

fn in_a_line(row: &runs::Run, width: usize) -> String {
    let (run, state) = (padded(&row.run, width), row.state);
    let (Some(share), Some(ago)) = (row.share(), row.ago()) else {
        return format!("{run}  {state}");
    };
    let progress = format!("{:.0} %", 100.0 * share);
    let (done, all) = row.folds();
    let folds = format!("{done} of {all} done");
    let best = row.best();
    let best = best.map_or("–".into(), |b| format!("{} fold {}", format::loss(b.loss()), b.fold));
    let ago = format::duration(ago);
    format!("{run}  {state:9}  {progress:>8}  {folds:12}  {best:>15}  {ago} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_padded_by_the_columns_that_they_take() {
        for text in ["", "run", "颈椎", "e\u{301}", "🦴"] {
            assert_eq!(padded(text, 8).width(), 8, "{text}");
        }
    }
}
