//! From disk to a batch: each transform, the whole pipeline, a study, the loader.
//!
//! `cargo bench --bench data` prints times; `-- transform/` only those whose name contains that.

#![allow(missing_docs)] // of the function that criterion makes

mod studies;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rsna_tui::augment::brightness::RandomBrightness;
use rsna_tui::augment::cutout::Cutout;
use rsna_tui::augment::flip::{HorizontalFlip, VerticalFlip};
use rsna_tui::augment::gauss_noise::GaussNoise;
use rsna_tui::augment::gaussian_blur::GaussianBlur;
use rsna_tui::augment::grid_distortion::GridDistortion;
use rsna_tui::augment::median_blur::MedianBlur;
use rsna_tui::augment::motion_blur::MotionBlur;
use rsna_tui::augment::optical_distortion::OpticalDistortion;
use rsna_tui::augment::pipeline::Pipeline;
use rsna_tui::augment::shift_scale_rotate::ShiftScaleRotate;
use rsna_tui::augment::transpose::Transpose;
use rsna_tui::augment::{Canvas, Scratch, Transform, resize};
use rsna_tui::config::{Config, Set};
use rsna_tui::rng::{Key, Purpose};
use rsna_tui::study::{Loader, NpyFolder, SliceSource};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use studies::{SIZE, image};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn config(sets: &[&str]) -> Config {
    let sets: Vec<Set> = sets.iter().map(|s| Set::new(*s)).collect();
    Config::load(None, false, &sets).expect("a valid config")
}

fn transform<T: Transform>(c: &mut Criterion, name: &str, transform: T) {
    let (mut image, mut scratch) = (image(0), Scratch::default());
    let mut rng = Key::new(0, Purpose::Augment).rng();
    let mut draw = c.benchmark_group("transform");
    draw.throughput(Throughput::Elements(1));
    draw.bench_function(name, |b| {
        b.iter(|| {
            let params = transform.params(SIZE, &mut rng);
            let mut canvas = Canvas::new(&mut image, SIZE, &mut scratch);
            T::apply(&params, &mut canvas);
            black_box(canvas.pixels());
        });
    });
}

fn transforms(c: &mut Criterion) {
    transform(c, "horizontal_flip", HorizontalFlip);
    transform(c, "vertical_flip", VerticalFlip);
    transform(c, "transpose", Transpose);
    transform(c, "brightness", RandomBrightness { limit: 0.1 });
    let affine = ShiftScaleRotate { shift_limit: 0.3, scale_limit: 0.3, rotate_limit: 45.0 };
    transform(c, "shift_scale_rotate", affine);
    transform(c, "motion_blur", MotionBlur);
    transform(c, "median_blur", MedianBlur);
    transform(c, "gaussian_blur", GaussianBlur);
    transform(c, "gauss_noise", GaussNoise { variance: [3.0, 9.0] });
    transform(c, "optical_distortion", OpticalDistortion { limit: 1.0 });
    transform(c, "grid_distortion", GridDistortion { steps: 5, limit: 1.0 });
    transform(c, "cutout", Cutout { share: 0.5 });
    let large: Vec<u8> = image(0).into_iter().cycle().take(256 * 256 * 6).collect();
    let mut out = vec![0; SIZE * SIZE * 6];
    c.benchmark_group("transform").bench_function("resize_256", |b| {
        b.iter(|| resize::resize(black_box(&large), 256, 256, &mut out, SIZE));
    });
}

fn pipeline(c: &mut Criterion) {
    let pipeline = Pipeline::new(&config(&[]).augment);
    let (image, mut scratch) = (image(0), Scratch::default());
    let mut out = image.clone();
    let mut slice = 0;
    let mut group = c.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(1));
    group.measurement_time(Duration::from_secs(8));
    group.bench_function("seed_224", |b| {
        b.iter(|| {
            slice += 1;
            let mut rng = Key::new(0, Purpose::Augment).slice(slice).rng();
            out.copy_from_slice(&image);
            pipeline.run(&mut out, SIZE, &mut scratch, &mut rng);
        });
    });
}

/// An epoch of two studies of 105 slices on one thread: read from the page cache, augmented and put
/// into a batch.
fn study(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let studies = studies::write(dir.path(), 2);
    let folder = NpyFolder { dir: dir.path().into(), size: SIZE, slices_per_vertebra: 15 };
    let source: Arc<dyn SliceSource> = Arc::new(folder);
    let mut group = c.benchmark_group("two_studies");
    group.throughput(Throughput::Elements(2 * 105)).sample_size(20);
    for preset in ["none", "seed"] {
        let preset_key = format!("augment.preset={preset}");
        let config = config(&["data.workers=1", "train.batch_size=2", &preset_key]);
        let mut epoch = 0;
        group.bench_function(preset, |b| {
            b.iter(|| {
                epoch += 1;
                let loader = Loader::train(source.clone(), studies.clone(), &config, 0, epoch);
                loader.map(|batch| batch.expect("readable files").len()).sum::<usize>()
            });
        });
    }
}

criterion_group!(benches, transforms, pipeline, study);
criterion_main!(benches);
