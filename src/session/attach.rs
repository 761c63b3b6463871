//! Commands for runs of other processes: watch, steer and list them.

use super::{
    evaluate::{EVALUATION, WORST},
    named_run::{named_run, runs_dir},
    recorded,
    signals::Signals,
    steer::connect,
    watch::{Watched, watch},
};
use crate::{
    bounded, cli,
    config::{Config, RequeueSignal},
    headless, print,
    run::{
        Event,
        channel::{RunHandle, channel},
        event::{FoldState, Stamped, Worst},
        folder::Folder,
    },
    train::slice_reader::SliceReader,
    tui,
    view::{Fold, State, format, runs},
};
use crossbeam_channel::never;
use eyre::{Result, eyre};
use std::process::ExitCode;
use unicode_width::UnicodeWidthStr;

/// Maximum size of the file of worst studies, in bytes.
const LONGEST_WORST: u64 = 16 << 20;

/// Runs `rsna-tui attach`: the dashboard for a run of another process, or for a finished one.
pub fn attach(args: &cli::Attach) -> Result<ExitCode> {
    let folder = named_run(&args.named)?;
    let dir = folder.dir().to_owned();
    let config = Config::load(Some(&folder.config()), false, &[])?;
    let signals = Signals::listen(RequeueSignal::None.into())?;
    let Opened { mut handle, mut state, upto, is_trained } = match folder.is_shared() {
        true => shared(&folder, &config)?,
        false => alone(&folder)?,
    };
    let name = folder.name.clone();
    if args.no_tui || super::plain::is_needed() {
        signals.end_at_once();
        let failed = |e| eyre!("cannot write to stdout: {e}");
        if state.finished.is_some() {
            print::line(state.status());
            return Ok(ExitCode::SUCCESS);
        }
        if !is_trained && folder.is_shared() {
            let done = state.folds.iter().filter(|fold| fold.state == FoldState::Done).count();
            let all = state.folds.len();
            print::line(format_args!("nobody trains {name} now; {done} of {all} folds are done"));
            return Ok(ExitCode::SUCCESS);
        }
        headless::run(state, &handle, config.run.log_every_steps, &mut print::Lines)
            .map_err(failed)?;
        return Ok(ExitCode::SUCCESS);
    }
    if folder.is_shared() {
        // It is followed even after its end: somebody may go on with it.
        if state.finished.is_some() {
            evaluated(&folder, &mut state);
        }
    } else if upto.is_none() {
        state.attached = true;
        state.disconnected();
        evaluated(&folder, &mut state);
        // Slices can still be shown if their files are there.
        if let Some(alone) = reader(&folder, &config) {
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

/// A run that was opened to be shown.
pub(super) struct Opened {
    pub handle: RunHandle,
    pub state: State,
    /// Bytes of the journal so far, if a process trains the run alone.
    upto: Option<u64>,
    is_trained: bool,
}

/// Opens a run of one process.
fn alone(folder: &Folder) -> Result<Opened> {
    let (handle, upto) = match folder.is_in_use() {
        true => connect(folder)?,
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
    Ok(Opened { handle, state, upto, is_trained: upto.is_some() })
}

/// Opens a run that several processes train.
pub(super) fn shared(folder: &Folder, config: &Config) -> Result<Opened> {
    let reader = reader(folder, config);
    let reads_slices = reader.is_some();
    let Watched { past, handle, is_trained } = watch(folder, reader)?;
    let mut state = State::default();
    past.iter().for_each(|stamped| state.apply(stamped));
    state.alerts.settle();
    state.reads_slices = reads_slices;
    Ok(Opened { handle, state, upto: None, is_trained })
}

/// Somebody who reads a run's slices, if their files are there.
fn reader(folder: &Folder, config: &Config) -> Option<RunHandle> {
    let data = recorded::read(folder, config).ok()?;
    let (events, _, alone) = channel(None, 0.0);
    let reader = SliceReader::new(config.clone(), data.table, data.source);
    let requests = alone.slice_requests.taker();
    reader.compared_with(data.record).open(requests, never(), &events);
    Some(alone)
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
