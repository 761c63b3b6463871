//! Tests on a GPU: the checks of `rsna-tui selftest`, then predictions, twenty steps compared with the
//! CPU's, two devices, and out-of-memory handling. The golden cases run on a GPU with
//! `RSNA_TUI_TEST_DEVICE=cuda cargo test --features cuda --test it golden`. A bundle of `benches/gpu.py`
//! runs everything. Without a GPU each test prints 'skipped'.

use candle_core::{DType, Device};
use rsna_tui::{
    config::{Config, Precision, Set},
    device,
    net::{Classifier, Spec, encoder::Arena},
    predict::Ensemble,
    selftest::{
        self, apart, ops,
        steps::{self, Noise, losses, small_config, whole},
        types, values,
    },
    study::{Loader, Phantom, SliceSource},
    train::{
        adamw::AdamW,
        loss::Weights,
        memory::Plan,
        step::{Stepper, Targets},
    },
};
use std::sync::Arc;

fn gpu() -> Option<Device> {
    // "cpu" exercises the tests themselves without a GPU.
    let asked = std::env::var("RSNA_TUI_TEST_DEVICE").unwrap_or("cuda".into());
    match device::choose(&asked, Precision::F32) {
        Ok(chosen) => Some(chosen.device),
        Err(why) => {
            eprintln!("skipped: {why}");
            None
        }
    }
}

#[test]
fn selftest() {
    let Some(gpu) = gpu() else { return };
    let mut wrong = Vec::new();
    let tally = selftest::run(&gpu, &ops::all(), &mut |outcome| {
        println!("{outcome}");
        if !outcome.is_right() {
            wrong.push(outcome.to_string());
        }
    });
    assert!(tally.made > 0 && wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn predictions() {
    let Some(gpu) = gpu() else { return };
    let sets = [
        "data.image_size=64",
        "data.slices_per_vertebra=2",
        "model.backbone=convnext_nano_ols",
        "train.batch_size=2",
    ];
    let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
    let source: Arc<dyn SliceSource> = Arc::new(Phantom::new(64, 2, 0));
    let studies = Phantom::table(2, 1, 0).studies;
    let batch = Loader::valid(source, studies.into(), &config).next().unwrap().unwrap();
    let on = |device: &Device| {
        let networks = [0, 1]
            .map(|fold| Classifier::new(&Spec::new(&config), 7, fold, DType::F32, device).unwrap());
        Ensemble::new(&config, &networks, 2, device).predict(&batch).unwrap()
    };
    for (a, b) in on(&gpu).iter().zip(on(&Device::Cpu)) {
        let far = a.probabilities.iter().zip(b.probabilities).map(|(a, b)| (a - b).abs());
        let far = far.fold(0.0, f64::max);
        println!("predictions: {far:.1e}");
        assert!(far < 1e-4, "{a:?} {b:?}");
    }
}

#[test]
fn twenty_steps() {
    let Some(gpu) = gpu() else { return };
    let on = |device: &Device, dtype, plan, steps| losses(device, dtype, plan, steps).unwrap();
    let expected = on(&Device::Cpu, DType::F32, whole(), 20);
    let near = |got: &[f64], dtype, what: &str| {
        let far = got.iter().zip(&expected).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
        println!("twenty steps {what}: {far:.1e}");
        assert!(far < steps::allowed(dtype), "{what}: {got:?}, on the CPU {expected:?}");
    };
    for &dtype in types(&gpu) {
        near(&on(&gpu, dtype, whole(), 20), dtype, &format!("{dtype:?}"));
    }
    near(&on(&gpu, DType::F32, Plan::of_chunk(16, 42), 5), DType::F32, "f32 in chunks");
}

#[test]
fn two_devices() {
    let Some(first) = gpu() else { return };
    let Ok(second) = device::choose("cuda:1", Precision::F32) else {
        return eprintln!("skipped: there is one GPU");
    };
    let on = |device: &Device| losses(device, DType::F32, whole(), 2).unwrap();
    assert_eq!(on(&first), on(&second.device), "to the bit");
}

/// A worker a card: each fold is that of one process on one card.
#[test]
fn two_workers_on_two_devices() {
    use crate::tiny::{rsna_tui, said, same_fold, train};
    if gpu().is_none() || device::choose("cuda:1", Precision::F32).is_err() {
        return eprintln!("skipped: it takes two GPUs");
    }
    let dir = tempfile::tempdir().unwrap();
    let with = |run, devices: [&'static str; 2]| {
        let out = rsna_tui(dir.path(), &[train(run, 2), devices.to_vec()].concat());
        assert!(out.status.success(), "{}", said(&out));
        said(&out)
    };
    with("whole", ["--device", "cuda"]);
    let text = with("both", ["--devices", "all"]);
    assert!(text.contains("trains it on cuda:0") && text.contains("trains it on cuda:1"), "{text}");
    // `same_fold` looks for the fold's files in the run's folder.
    for fold in 0..2 {
        let of_fold = dir.path().join(format!("runs/both/folds/{fold}"));
        std::os::unix::fs::symlink(of_fold, dir.path().join(format!("runs/fold{fold}"))).unwrap();
    }
    same_fold(dir.path(), 0, "whole", "fold0");
    same_fold(dir.path(), 1, "whole", "fold1");
}

/// Test hooks of the stand-in driver (tests/driver).
struct StandIn {
    library: libloading::os::unix::Library,
}

impl StandIn {
    /// Returns `None` with a real driver.
    fn find() -> Option<Self> {
        let library = libloading::os::unix::Library::this();
        // SAFETY: nothing is called here.
        let found = unsafe { library.get::<unsafe extern "C" fn(i64)>(b"driver_refuse").is_ok() };
        found.then_some(Self { library })
    }
    /// Makes the n-th allocation from now fail.
    fn refuse(&self, n: i64) {
        // SAFETY: the stand-in driver's function has this type.
        unsafe { self.library.get::<unsafe extern "C" fn(i64)>(b"driver_refuse").unwrap()(n) }
    }
    /// Makes the n-th product from now fail with this cuBLAS status.
    fn fail_product(&self, n: i64, status: i32) {
        type Fail = unsafe extern "C" fn(i64, i32);
        // SAFETY: as above.
        unsafe { self.library.get::<Fail>(b"driver_fail_product").unwrap()(n, status) }
    }
    /// Leaves `bytes` of memory free.
    fn leave(&self, bytes: usize) {
        type Leave = unsafe extern "C" fn(usize);
        // SAFETY: as above.
        unsafe { self.library.get::<Leave>(b"driver_leave").unwrap()(bytes) }
    }
}

#[test]
fn recovery_from_too_little_memory() {
    let Some(gpu) = gpu() else { return };
    let Some(driver) = StandIn::find() else {
        return eprintln!("skipped: only the stand-in driver refuses memory when it is told to");
    };
    let config = small_config(&[]).unwrap();
    let model = Classifier::new(&Spec::new(&config), 1, 0, DType::F32, &gpu).unwrap();
    let arena = Arena::default();
    let sizes = || model.parameters.trainable.iter().map(|p| p.var.elem_count());
    let stepper =
        Stepper { device: &gpu, ..Stepper::on_cpu(&model, Plan::of_chunk(28, 28), &arena) };
    let own: Vec<f32> = (0..28).map(|i| f32::from(u8::from(i == 3))).collect();
    let (targets, weights) = (Targets { own: &own, mixed: None }, Weights::from(&config.train));
    // With a learning rate of 0, every step starts from the same weights.
    let step = || {
        let mut optimizer = AdamW::new(&config.train, sizes());
        stepper.step(&mut optimizer, 0.0, &Noise(1), targets, weights, None)
    };
    let whole = step().unwrap();
    assert_eq!(whole.plan.chunk, 28);
    // Find an amount of memory that fits half of the images but not all.
    let little = (2..24).rev().map(|half| half << 19).find(|&bytes| {
        driver.leave(bytes);
        let made = step();
        driver.leave(8 << 30);
        made.map_or(true, |made| made.plan.chunk < 28)
    });
    let little = little.expect("a step that does not fit into a MiB");
    let disturbances: [(&str, &dyn Fn()); 7] = [
        ("an early allocation", &|| driver.refuse(60)),
        ("a late allocation", &|| driver.refuse(250)),
        ("a product, NOT_INITIALIZED", &|| driver.fail_product(1, 1)),
        ("a product, ALLOC_FAILED", &|| driver.fail_product(5, 3)),
        ("a product, EXECUTION_FAILED", &|| driver.fail_product(5, 13)),
        ("a product, INTERNAL_ERROR", &|| driver.fail_product(5, 14)),
        ("the whole", &|| driver.leave(little)),
    ];
    for (what, disturb) in disturbances {
        disturb();
        let made = step();
        driver.leave(8 << 30);
        let made = made.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(made.plan.chunk < 28, "{what}: {:?}", made.plan);
        let far = (made.loss.loss / whole.loss.loss - 1.0).abs();
        println!("{what} refused: {} images at once, {far:.1e}", made.plan.chunk);
        assert!(far < 1e-4, "{what}: {} and {}", made.loss.loss, whole.loss.loss);
    }
    let logits = || values(&stepper.predict(&Noise(1), 2).unwrap().0).unwrap();
    let expected = logits();
    driver.refuse(20);
    let got = logits();
    // A refusal that was not reached must not fail another test.
    driver.refuse(0);
    assert!(apart(&got, &expected) < 1e-5);
    // Too little for any plan: the error must say so.
    driver.leave(100 << 10);
    let error = step().map(drop).expect_err("an error");
    driver.leave(8 << 30);
    assert!(error.is_out_of_memory(), "{error}");
}
