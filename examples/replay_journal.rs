//! Replays a run's journal, or those of a shared run's folds, through the same state that the dashboard draws, and prints how the run
//! went: every epoch as it comes by, then each fold and the alerts.
//!
//!     cargo run --release --example replay_journal -- runs/latest

use rsna_tui::{
    run::{Event, folder::Folder},
    view::{State, word},
};
use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let run = std::env::args_os().nth(1).map(PathBuf::from).ok_or("give the folder of a run")?;
    let folder = Folder::at(fs::canonicalize(run)?)?;
    let mut events = 0;
    let (state, unreadable) = State::of_run_with(&folder, |stamped, _| {
        events += 1;
        if let Event::Epoch(epoch) = &stamped.event {
            println!(
                "{:8.1}s  fold {} epoch {}: validation loss {:.4}",
                stamped.at, epoch.at.fold, epoch.at.epoch, epoch.valid_loss
            );
        }
    })?;

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
