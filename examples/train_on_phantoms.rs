//! Trains a small network on made-up studies through the library, and prints every epoch.
//!
//!     cargo run --release --example train_on_phantoms -- [RUNS_DIR]
//!
//! It leaves an ordinary run folder: `rsna-tui attach` shows it and `rsna-tui report` describes it.

use candle_core::Device;
use rsna_tui::{
    config::{Config, Set},
    run::{Event, folder::Folder},
    study::Phantom,
    train::trainer::{self, Job},
    view::report,
};
use std::{error::Error, path::PathBuf, sync::Arc};

/// Folds that the made-up studies are split into.
const FOLDS: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).map_or_else(|| "runs".into(), PathBuf::from);
    // The demo's settings (assets/demo.toml) over the built-in ones (config.toml).
    let config = Config::load(None, true, &["train.folds=[0]", "train.epochs=4"].map(Set::new))?;

    let (data, seed) = (&config.data, config.seed);
    let table = Phantom::table(data.phantom_studies, FOLDS, seed);
    let source = Arc::new(Phantom::new(data.image_size, data.slices_per_vertebra, seed));
    let folder = Folder::create_new(&dir, "phantoms")?;
    folder.write_config(&config.to_toml())?;
    println!("training in {}", folder.path().display());

    let job = Job {
        config,
        table,
        source,
        folder,
        device: Device::Cpu,
        device_name: "CPU".into(),
        no_gpu: None,
        worker: None,
        sharing: 1,
        resume: None,
        debug: false,
        report: report::text,
    };
    // The second value is a view's end of the channels: events come out, commands go in.
    let (_events, run, thread) = trainer::spawn(job, |_| {})?;
    for stamped in run.events.iter() {
        match stamped.event {
            Event::Epoch(epoch) => println!(
                "{:6.1}s  epoch {}: training loss {:.4}, validation loss {:.4}{}",
                stamped.at,
                epoch.at.epoch,
                epoch.train_loss,
                epoch.valid_loss,
                if epoch.is_best { " (best)" } else { "" },
            ),
            Event::Error(error) => eprintln!("{}: {}", error.at, error.message),
            Event::RunFinished(finished) => print!("{}", report::text(&finished)),
            _ => {}
        }
    }
    let outcome = thread.join().map_err(|_| "the trainer thread panicked")?;
    println!("outcome: {outcome:?}");
    Ok(())
}
