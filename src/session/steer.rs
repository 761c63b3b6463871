//! Commands that steer runs of other processes.

use super::{
    named_run::named_run,
    watch::{self, LATE},
};
use crate::{
    cli, print,
    run::{
        Command, Event, Request,
        channel::RunHandle,
        folder::Folder,
        rules,
        status::{RunState, Status},
    },
    view::{format, text},
};
use crossbeam_channel::RecvTimeoutError;
use eyre::{Result, bail, eyre};
use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Time for a process that has just started to listen on its socket.
const SOON: Duration = Duration::from_secs(5);

/// Connects to the training process. Returns the length of the journal so far, too.
pub(super) fn connect(folder: &Folder) -> Result<(RunHandle, Option<u64>)> {
    #[cfg(unix)]
    {
        let start = Instant::now();
        loop {
            match crate::run::control_socket::connect(folder) {
                Ok(connection) => return Ok((connection.handle, Some(connection.journal))),
                Err(_) if start.elapsed() < SOON => std::thread::sleep(SOON / 50),
                Err(error) if folder.run() != folder.path() => bail!(
                    "{} is being trained by a process that cannot be reached from here: {error}; \
                     attach to its run, {}",
                    folder.name,
                    folder.run().display()
                ),
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

/// Runs `rsna-tui pause` and so on: sends the command to the training process, or to those that train the
/// run's folds, and waits for the answer.
pub fn steer_fold(args: &cli::SteerFold, command: Command) -> Result<ExitCode> {
    steer(&args.steer, args.fold, command)
}

fn steer(args: &cli::Steer, fold: Option<usize>, command: Command) -> Result<ExitCode> {
    let folder = named_run(&args.named)?;
    let name = &folder.name;
    if folder.is_shared() {
        return steer_shared(&folder, args, Request { id: Some(1), worker: fold, command });
    }
    if fold.is_some() {
        bail!("{name} is trained by one process: --fold is for a run whose folds several train");
    }
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

/// Steers a run that several processes train. Waits until all who are meant have answered.
fn steer_shared(folder: &Folder, args: &cli::Steer, request: Request) -> Result<ExitCode> {
    let name = &folder.name;
    let timeout = Duration::from_secs(args.timeout);
    let handle = watch::steer(folder, timeout.mul_f64(0.75).min(LATE))?;
    let gone = || eyre!("{name}: it cannot be followed any more; see `rsna-tui runs`");
    handle.commands.send(request).map_err(|_| gone())?;
    let (mut done, mut late) = (BTreeMap::new(), Vec::new());
    let end = Instant::now() + timeout;
    loop {
        let stamped = match handle.events.recv_deadline(end) {
            Ok(stamped) => stamped,
            Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            Err(RecvTimeoutError::Timeout) => {
                let who = match late.is_empty() {
                    true => String::new(),
                    false => format!(": {}", late.join("; ")),
                };
                bail!(
                    "{name}: asked, but not all answered in {} s{who}; it will be done all the same",
                    args.timeout
                );
            }
        };
        match (&stamped.event, stamped.fold) {
            (Event::Ack(ack), None) if ack.id == request.id => match &ack.refused {
                Some(why) => bail!("{name}: {}", format::sanitized(why)),
                None => break,
            },
            // The only lines of the watch's own are of those who do not answer.
            (Event::Log(log), None) => {
                let line = format::sanitized(&log.message);
                print::note_aside(format!("{name}: {line}"));
                late.push(line);
            }
            (event, fold)
                if shows(event, request.command)
                    && (fold.is_none() || request.worker.is_none_or(|only| fold == Some(only))) =>
            {
                done.extend(in_words(event).map(|words| (fold, words)));
            }
            _ => {}
        }
    }
    let words = match (request.command, request.worker) {
        (Command::StopNow, None) => "stopped".to_string(),
        (Command::StopNow, Some(fold)) => format!("fold {fold}: stopped"),
        // The queue, which has no fold, is of interest if nothing else happened.
        _ => {
            let of_folds: Vec<String> =
                done.iter().filter(|(fold, _)| fold.is_some()).map(|(_, w)| w.clone()).collect();
            match of_folds.is_empty() {
                true => done.into_values().next().unwrap_or_else(|| "done".into()),
                false => of_folds.join("; "),
            }
        }
    };
    print::line(format_args!("{name}: {}", format::sanitized(&words)));
    Ok(ExitCode::SUCCESS)
}

/// Whether the event shows that the command was carried out.
fn shows(event: &Event, command: Command) -> bool {
    match command {
        Command::Checkpoint => matches!(event, Event::Checkpoint(_)),
        Command::Plan { .. } => matches!(event, Event::Planned(_)),
        Command::Fold { .. } => matches!(event, Event::Queue(_)),
        _ => matches!(event, Event::Trainer(_)),
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
    steer_fold(&args.which, Command::Plan { epochs, min_learning_rate })
}

/// Runs `rsna-tui fold`.
pub fn fold(args: &cli::Fold) -> Result<ExitCode> {
    steer(&args.steer, None, Command::Fold { fold: args.fold, action: args.action })
}
