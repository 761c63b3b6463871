//! Throughput for comparison with the Python counterpart, as one line of JSON: see
//! `benches/vs_python.py`.
//!
//! `pipeline_ms` is measured as in the Python counterpart: the median of seven times 150 slices on one
//! thread, each running the notebook's pipeline on a fresh copy of a 224 × 224 image. The studies are
//! read from the page cache.

mod studies;

use rsna_tui::augment::{Scratch, pipeline::Pipeline};
use rsna_tui::config::{Config, Set};
use rsna_tui::rng::{Key, Purpose};
use rsna_tui::study::{Loader, NpyFolder, SliceSource, Study};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use studies::{SIZE, image};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let studies = studies::write(dir.path(), 6);
    let reading = load(dir.path(), &studies, 1, "none");
    let one = load(dir.path(), &studies, 1, "seed");
    let two = load(dir.path(), &studies, 2, "seed");
    println!(
        "{{\"pipeline_ms\": {:.4}, \"study_read_ms\": {reading:.2}, \"study_ms\": {one:.2}, \
         \"study_ms_2_workers\": {two:.2}}}",
        pipeline()
    );
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Milliseconds per slice.
fn pipeline() -> f64 {
    let config = Config::load(None, false, &[]).expect("the built-in settings");
    let pipeline = Pipeline::new(&config.augment);
    let (image, mut scratch) = (image(0), Scratch::default());
    let mut out = image.clone();
    let mut slice = 0;
    let times = (0..8).map(|_| {
        let start = Instant::now();
        for _ in 0..150 {
            slice += 1;
            out.copy_from_slice(&image);
            let mut rng = Key::new(0, Purpose::Augment).slice(slice).rng();
            pipeline.run(&mut out, SIZE, &mut scratch, &mut rng);
        }
        start.elapsed().as_secs_f64() / 150.0 * 1e3
    });
    // The first run is a warm-up.
    median(times.skip(1).collect())
}

/// Milliseconds per study of 105 slices, read and augmented by `workers` loader threads.
fn load(dir: &Path, studies: &Arc<[Study]>, workers: usize, preset: &str) -> f64 {
    let sets = [
        format!("data.workers={workers}"),
        format!("augment.preset={preset}"),
        "train.batch_size=2".into(),
    ];
    let sets: Vec<Set> = sets.into_iter().map(Set::new).collect();
    let config = Config::load(None, false, &sets).expect("valid settings");
    let folder = NpyFolder { dir: dir.into(), size: SIZE, slices_per_vertebra: 15 };
    let source: Arc<dyn SliceSource> = Arc::new(folder);
    let times = (0..6).map(|epoch| {
        let start = Instant::now();
        let batches = Loader::train(source.clone(), studies.clone(), &config, 0, epoch + 1);
        let read: usize = batches.map(|batch| batch.expect("readable files").len()).sum();
        start.elapsed().as_secs_f64() / read as f64 * 1e3
    });
    median(times.skip(1).collect())
}
