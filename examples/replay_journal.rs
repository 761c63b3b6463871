//! Replays a run's journal through the same state that the dashboard draws, and prints how the run
//! went: every epoch as it comes by, then each fold and the alerts.
//!
//!     cargo run --release --example replay_journal -- runs/latest

use rsna_tui::{
    run::{Event, journal},
    view::{State, word},
};
use std::{
    error::Error,
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
};

fn main() -> Result<(), Box<dyn Error>> {
    let run = std::env::args_os().nth(1).map(PathBuf::from).ok_or("give the folder of a run")?;
    let (mut state, mut events, mut unreadable) = (State::default(), 0, 0);
    // The first line says which program wrote the journal.
    for line in BufReader::new(File::open(run.join("journal.jsonl"))?).split(b'\n').skip(1) {
        let Some(stamped) = journal::parse(&line?) else {
            unreadable += 1;
            continue;
        };
        events += 1;
        state.apply(&stamped);
        if let Event::Epoch(epoch) = &stamped.event {
            println!(
                "{:8.1}s  fold {} epoch {}: validation loss {:.4}",
                stamped.at, epoch.at.fold, epoch.at.epoch, epoch.valid_loss
            );
        }
    }

    println!("{events} events, {unreadable} unreadable lines");
    for fold in &state.folds {
        let best = fold.best_epoch().map_or("no epoch yet".into(), |epoch| {
            format!("best validation loss {:.4} in epoch {}", epoch.valid_loss, epoch.at.epoch)
        });
        println!("fold {}: {}, {best}", fold.plan.fold, word(fold.state));
    }
    for alert in state.alerts.since(0) {
        println!("alert at {:.1}s: {}", alert.since, alert.text);
    }
    Ok(())
}
