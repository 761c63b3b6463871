//! On a GPU: every op against its twin on the CPU in f64, and twenty steps against the CPU's. The
//! golden cases run there too, with `RSNA_TUI_TEST_DEVICE=cuda cargo test --features cuda --test golden`.
//! A bundle of `benches/gpu.py` runs all of it. Without a GPU each says 'skipped'.
#![cfg(all(feature = "cuda", unix))]

#[path = "common/noise.rs"]
mod noise;

use candle_core::{DType, Device, Result, Tensor, Var};
use noise::Noise;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rsna_tui::{
    config::{Config, Precision, Set},
    device,
    net::{Classifier, Mode, Spec, encoder::Arena, ops},
    predict::Ensemble,
    study::{Loader, Phantom, Source},
    train::{
        adamw::AdamW,
        loss::Weights,
        memory::Plan,
        step::{Stepper, Targets},
    },
};
use std::sync::Arc;

fn gpu() -> Option<Device> {
    // "cpu" tries the tests themselves where there is no GPU.
    let asked = std::env::var("RSNA_TUI_TEST_DEVICE").unwrap_or("cuda".into());
    match device::choose(&asked, Precision::F32) {
        Ok(chosen) => Some(chosen.device),
        Err(why) => {
            eprintln!("skipped: {why}");
            None
        }
    }
}

/// Another each time: what fails is printed with it.
fn fresh() -> (u64, ChaCha8Rng) {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into();
    (seed, ChaCha8Rng::seed_from_u64(seed))
}

fn random(rng: &mut ChaCha8Rng, shape: &[usize]) -> Tensor {
    let n = shape.iter().product();
    let values: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f64> {
    let t = t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// ‖a − b‖ / ‖b‖.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let far = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    far / norm(&mut b.iter().copied()).max(1e-30)
}

type Op = dyn Fn(&[Tensor]) -> Result<Tensor>;

/// An op's result, and the gradients of Σ result·r for all inputs.
fn run(op: &Op, inputs: &[Var], r: &Tensor) -> Vec<Vec<f64>> {
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let out = op(&tensors).unwrap();
    let grads = (&out * r).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |v: &Var| values(grads.get(v).unwrap());
    std::iter::once(values(&out)).chain(inputs.iter().map(of)).collect()
}

/// `activations` says which inputs take the narrow types; weights are f32.
fn same(name: &str, shapes: &[&[usize]], activations: &[bool], out: &[usize], op: &Op) {
    let Some(gpu) = gpu() else { return };
    let (seed, mut rng) = fresh();
    let inputs: Vec<Tensor> = shapes.iter().map(|s| random(&mut rng, s)).collect();
    let r = random(&mut rng, out);
    let types: &[(DType, f64)] = match activations.iter().any(|&a| a) {
        true => &[(DType::F32, 2e-5), (DType::F16, 4e-3), (DType::BF16, 3e-2)],
        false => &[(DType::F32, 2e-5)],
    };
    for &(dtype, tolerance) in types {
        let of = |&narrow: &bool| if narrow { dtype } else { DType::F32 };
        // Both see the rounded inputs.
        let rounded: Vec<Tensor> =
            inputs.iter().zip(activations).map(|(t, a)| t.to_dtype(of(a)).unwrap()).collect();
        let wide = |t: &Tensor| Var::from_tensor(&t.to_dtype(DType::F64).unwrap()).unwrap();
        let there = |t: &Tensor| Var::from_tensor(&t.to_device(&gpu).unwrap()).unwrap();
        let r = r.to_dtype(dtype).unwrap();
        let expected = run(
            op,
            &rounded.iter().map(wide).collect::<Vec<_>>(),
            &r.to_dtype(DType::F64).unwrap(),
        );
        let inputs: Vec<Var> = rounded.iter().map(there).collect();
        let got = run(op, &inputs, &r.to_device(&gpu).unwrap());
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let error = apart(got, expected);
            println!("{name} {dtype:?} {i}: {error:.1e}");
            assert!(error < tolerance, "{name} in {dtype:?}, {i}: {error}, seed {seed}");
        }
    }
}

#[test]
fn depthwise() {
    for (n, h, w, c) in [(2, 56, 56, 80), (3, 7, 7, 640), (2, 14, 14, 320), (1, 9, 5, 19)] {
        let shape = [n, h, w, c];
        same("depthwise", &[&shape, &[49, c], &[c]], &[true, false, false], &shape, &|x| {
            ops::depthwise7(&x[0], &x[1], &x[2])
        });
    }
}

#[test]
fn layer_norm() {
    for (n, c) in [(6272, 80), (98, 640), (33, 19)] {
        same("layer norm", &[&[n, c], &[c], &[c]], &[true, false, false], &[n, c], &|x| {
            ops::layer_norm(&x[0], &x[1], &x[2], 1e-6)
        });
    }
}

#[test]
fn bias_and_gelu() {
    for (n, c) in [(6272, 320), (33, 19)] {
        same("bias and GELU", &[&[n, c], &[c]], &[true, false], &[n, c], &|x| {
            ops::bias_gelu(&x[0], &x[1])
        });
        same("bias", &[&[n, c], &[c]], &[true, false], &[n, c], &|x| ops::add_bias(&x[0], &x[1]));
    }
}

#[test]
fn layer_scale_and_residual() {
    for (n, c) in [(6272, 80), (33, 19)] {
        let shapes: [&[usize]; 4] = [&[n, c], &[c], &[c], &[n, c]];
        // The residual stream is f32.
        same("scale", &shapes, &[true, false, false, false], &[n, c], &|x| {
            ops::scale_residual(&x[0], &x[1], &x[2], &x[3])?.to_dtype(x[0].dtype())
        });
    }
}

#[test]
fn product() {
    same("product", &[&[300, 80], &[320, 80]], &[true, false], &[300, 320], &|x| {
        ops::multiply(&x[0], &x[1])
    });
}

#[test]
fn recurrence() {
    for (t, b, h) in [(15, 8, 256), (5, 3, 19)] {
        same("lstm", &[&[4, t, b, 4 * h], &[4, 4 * h, h]], &[false, false], &[4, t, b, h], &|x| {
            ops::lstm_recurrence(&(&x[0] * 0.5)?, &(&x[1] * 0.1)?)
        });
    }
}

#[test]
fn bytes_to_numbers() {
    let Some(gpu) = gpu() else { return };
    let (_, mut rng) = fresh();
    let mut bytes = || (0..100_003).map(|_| rng.random()).collect::<Vec<u8>>();
    let (a, b) = (bytes(), bytes());
    for shares in [None, Some([0.3f32, 0.7])] {
        let on = |device: &Device| {
            let [a, b] = [&a, &b].map(|v| Tensor::from_slice(v, v.len(), device).unwrap());
            values(&ops::pixels(&a, shares.map(|s| (&b, s)), DType::F32).unwrap())
        };
        assert!(on(&gpu) == on(&Device::Cpu), "to the bit");
    }
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
    let source: Arc<dyn Source> = Arc::new(Phantom::new(64, 2, 0));
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

/// A small network, 14 images a study.
fn small_config(more: &[&str]) -> Config {
    let sets =
        ["model.backbone=convnext_micro", "data.slices_per_vertebra=2", "model.lstm_hidden=24"];
    let sets: Vec<_> = sets.iter().chain(more).copied().map(Set::new).collect();
    Config::load(None, false, &sets).unwrap()
}

/// Losses of `steps` steps of three studies.
fn losses(device: &Device, compute: DType, precision: &str, plan: Plan, steps: usize) -> Vec<f64> {
    let config = small_config(&[&format!("train.precision={precision}")]);
    let model = Classifier::new(&Spec::new(&config), 1, 0, DType::F32, device).unwrap();
    let sizes = model.parameters.trainable.iter().map(|p| p.var.elem_count());
    let mut optimizer = AdamW::new(&config.train, sizes);
    if let Some(scaler) = &mut optimizer.scaler {
        // No step is skipped at this scale: all take the same steps.
        scaler.scale = 256.0;
    }
    let arena = Arena::default();
    let stepper = Stepper { device, compute, ..Stepper::on_cpu(&model, plan, &arena) };
    let own: Vec<f32> = (0..42).map(|i| f32::from(u8::from(i % 14 < 2 && i > 13))).collect();
    let (targets, weights) = (Targets { own: &own, mixed: None }, Weights::from(&config.train));
    let step = |i| {
        let mode = Mode::Train(Some(Classifier::dropout_key(1, 0, 1, i)));
        let made = stepper.step(&mut optimizer, RATE, &Noise(i), targets, weights, mode).unwrap();
        assert!(!made.skipped, "step {i} in {compute:?}");
        made.loss.loss
    };
    (0..steps).map(step).collect()
}

/// Small: AdamW takes whole steps from gradients that are all rounding, and at 1e-3 two right
/// computations of these steps are 2 % apart after twenty.
const RATE: f64 = 1e-4;

#[test]
fn twenty_steps() {
    let Some(gpu) = gpu() else { return };
    let whole = Plan::of_chunk(42, 42);
    let expected = losses(&Device::Cpu, DType::F32, "f32", whole, 20);
    let near = |got: &[f64], tolerance: f64, what: &str| {
        let far = got.iter().zip(&expected).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
        println!("twenty steps {what}: {far:.1e}");
        assert!(far < tolerance, "{what}: {got:?}, on the CPU {expected:?}");
    };
    let first = losses(&gpu, DType::F32, "f32", whole, 20);
    near(&first, 1e-2, "f32");
    near(&losses(&gpu, DType::F32, "f32", Plan::of_chunk(16, 42), 5), 1e-2, "f32 in chunks");
    near(&losses(&gpu, DType::BF16, "bf16", whole, 20), 5e-2, "bf16");
    near(&losses(&gpu, DType::F16, "f16", whole, 20), 5e-2, "f16");
    let again = losses(&gpu, DType::F32, "f32", whole, 3);
    assert_eq!(again, first[..3], "the same again, to the bit");
}

#[test]
fn two_devices() {
    let Some(first) = gpu() else { return };
    let Ok(second) = device::choose("cuda:1", Precision::F32) else {
        return eprintln!("skipped: there is one GPU");
    };
    let whole = Plan::of_chunk(42, 42);
    let on = |device: &Device| losses(device, DType::F32, "f32", whole, 2);
    assert_eq!(on(&first), on(&second.device), "to the bit");
}

/// What the stand-in driver (tests/driver) lets a test ask of it.
struct StandIn {
    library: libloading::os::unix::Library,
}

impl StandIn {
    /// None where the driver is a real one.
    fn find() -> Option<Self> {
        let library = libloading::os::unix::Library::this();
        // SAFETY: nothing is called here.
        let found = unsafe { library.get::<unsafe extern "C" fn(i64)>(b"driver_refuse").is_ok() };
        found.then_some(Self { library })
    }
    /// The n-th allocation from now is refused.
    fn refuse(&self, n: i64) {
        // SAFETY: the driver's function of this type.
        unsafe { self.library.get::<unsafe extern "C" fn(i64)>(b"driver_refuse").unwrap()(n) }
    }
    /// The n-th product from now fails with a status of cuBLAS.
    fn fail_product(&self, n: i64, status: i32) {
        type Fail = unsafe extern "C" fn(i64, i32);
        // SAFETY: as above.
        unsafe { self.library.get::<Fail>(b"driver_fail_product").unwrap()(n, status) }
    }
    /// Leaves so many bytes of memory free.
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
    let config = small_config(&[]);
    let model = Classifier::new(&Spec::new(&config), 1, 0, DType::F32, &gpu).unwrap();
    let arena = Arena::default();
    let sizes = || model.parameters.trainable.iter().map(|p| p.var.elem_count());
    let stepper =
        Stepper { device: &gpu, ..Stepper::on_cpu(&model, Plan::of_chunk(28, 28), &arena) };
    let own: Vec<f32> = (0..28).map(|i| f32::from(u8::from(i == 3))).collect();
    let (targets, weights) = (Targets { own: &own, mixed: None }, Weights::from(&config.train));
    // A learning rate of 0: every step starts from the same weights.
    let step = || {
        let mut optimizer = AdamW::new(&config.train, sizes());
        stepper.step(&mut optimizer, 0.0, &Noise(1), targets, weights, Mode::Train(None))
    };
    let whole = step().unwrap();
    assert_eq!(whole.plan.chunk, 28);
    let disturbances: [(&str, &dyn Fn()); 7] = [
        ("an early allocation", &|| driver.refuse(60)),
        ("a late allocation", &|| driver.refuse(400)),
        ("a product, NOT_INITIALIZED", &|| driver.fail_product(1, 1)),
        ("a product, ALLOC_FAILED", &|| driver.fail_product(5, 3)),
        ("a product, EXECUTION_FAILED", &|| driver.fail_product(5, 13)),
        ("a product, INTERNAL_ERROR", &|| driver.fail_product(5, 14)),
        ("the whole", &|| driver.leave(24 << 20)),
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
    let expected = values(&stepper.predict(&Noise(1), 2).unwrap().0);
    driver.refuse(100);
    let got = values(&stepper.predict(&Noise(1), 2).unwrap().0);
    assert!(apart(&got, &expected) < 1e-5);
    // Nothing helps: said as what it is.
    driver.leave(100 << 10);
    let error = step().map(drop).expect_err("an error");
    driver.leave(8 << 30);
    assert!(error.is_out_of_memory(), "{error}");
}
