//! AdamW and the images kernel: bit-identical with the CPU.

use super::harness::Arg::{Float, Int, Long, Null, Of};
use super::harness::{Buffer, Type, compiler, random, run, run_with};
use candle_core::{DType, Device};
use rand::Rng;
use rsna_tui::config::{self, Config};
use rsna_tui::net::ops::launch::{self, Launch};
use rsna_tui::net::{
    description::{Init, Layout, Weight},
    parameters::Builder,
};
use rsna_tui::rng::{Key, Purpose};
use rsna_tui::train::{adamw::AdamW, step::WeightGradients};

const LR: f64 = 3e-4;

/// Lengths: one more than a piece, several pieces, multiples of four and others.
const SIZES: [usize; 5] = [launch::PIECE + 1, 80, 7, 2 * launch::PIECE + 12, 1];

fn floats(n: usize, seed: u64, scale: f64) -> Vec<f32> {
    random(n, seed).iter().map(|x| (x * scale) as f32).collect()
}

/// The number of pieces, and sizes and pieces on the device.
fn table() -> (usize, Buffer, Buffer) {
    let pieces = launch::pieces(SIZES);
    let sizes = SIZES.map(|n| n as i64);
    (pieces.len(), Buffer::new(&sizes), Buffer::new(&pieces))
}

/// The constants of `Update` for a step, computed as in `AdamW::step`.
fn constants(train: &config::Train, t: f64) -> [f32; 7] {
    let [beta1, beta2] = train.betas;
    [
        1.0 - LR * train.weight_decay,
        1.0 - beta1,
        beta2,
        1.0 - beta2,
        LR / (1.0 - beta1.powf(t)),
        (1.0 - beta2.powf(t)).sqrt(),
        train.eps,
    ]
    .map(|x| x as f32)
}

#[test]
fn adamw() {
    if !compiler() {
        return;
    }
    const SCALE: f32 = 1.0 / 1024.0;
    let train = Config::load(None, false, &[]).unwrap().train;
    let mut builder = Builder::new(0, 0, DType::F32, &Device::Cpu);
    for (i, n) in SIZES.into_iter().enumerate() {
        let (name, layout, init) = (format!("{i}"), Layout::Plain, Init::Normal(0.5));
        builder.weight(&Weight { name, shape: vec![n], layout, init }).unwrap();
    }
    let parameters = builder.parameters.trainable;
    let values = |i: usize| parameters[i].var.to_vec1::<f32>().unwrap();
    let mut optimizer = AdamW::new(&train, SIZES.into_iter());
    // The second one is off the alignment of vectors.
    let p: Vec<Buffer> =
        (0..SIZES.len()).map(|i| Buffer::shifted(&values(i), usize::from(i == 1))).collect();
    let zeros = || SIZES.iter().map(|&n| Buffer::new(&vec![0f32; n])).collect::<Vec<_>>();
    let (m, v) = (zeros(), zeros());
    let (pieces, sizes, list) = table();
    for step in 1..=3 {
        // Small and large gradients.
        let scaled: Vec<Vec<f32>> = SIZES
            .iter()
            .enumerate()
            .map(|(i, &n)| floats(n, step * 10 + i as u64, 10f64.powi(i as i32)))
            .collect();
        let own = |g: &Vec<f32>| g.iter().map(|g| g * SCALE).collect::<Vec<f32>>();
        let gradients: Vec<Vec<f32>> = scaled.iter().map(own).collect();
        optimizer.step(&parameters, &WeightGradients::Host(gradients.clone()), LR).unwrap();

        let g: Vec<Buffer> = scaled.iter().map(|g| Buffer::new(g)).collect();
        let grads: Vec<u64> = g.iter().map(|b| b.address() as u64).collect();
        let updated: Vec<[u64; 3]> =
            (0..SIZES.len()).map(|i| [&p[i], &m[i], &v[i]].map(|b| b.address() as u64)).collect();
        let (grads, updated) = (Buffer::new(&grads), Buffer::new(&updated));
        let written: Vec<&Buffer> = p.iter().chain(&m).chain(&v).chain(&g).collect();
        let mut args = vec![Of(&grads), Of(&updated), Of(&sizes), Of(&list)];
        args.extend(constants(&train, step as f64).map(Float));
        args.push(Float(SCALE));
        run_with(launch::adamw(pieces), Type::F32, &args, &written);

        for (i, moments) in optimizer.moments.iter().enumerate() {
            assert_eq!(p[i].to::<f32>(), values(i), "parameter {i}, step {step}");
            assert_eq!(m[i].to::<f32>(), moments.first, "first moment {i}, step {step}");
            assert_eq!(v[i].to::<f32>(), moments.second, "second moment {i}, step {step}");
        }
    }
}

#[test]
fn squares_of_gradients() {
    if !compiler() {
        return;
    }
    let (pieces, sizes, list) = table();
    for broken in [None, Some(f32::INFINITY), Some(f32::NAN)] {
        let mut gradients: Vec<Vec<f32>> =
            SIZES.iter().enumerate().map(|(i, &n)| floats(n, i as u64, 1e3)).collect();
        if let Some(x) = broken {
            gradients[3][launch::PIECE + 5] = x;
        }
        let g: Vec<Buffer> = gradients.iter().map(|g| Buffer::new(g)).collect();
        let pointers: Vec<u64> = g.iter().map(|b| b.address() as u64).collect();
        let (pointers, out) = (Buffer::new(&pointers), Buffer::unwritten::<f64>(pieces));
        let args = [Of(&pointers), Of(&sizes), Of(&list), Of(&out)];
        run(launch::grad_squares(pieces), Type::F32, &args);
        let exact = gradients.iter().flat_map(|g| g.chunks(launch::PIECE));
        let exact = exact.map(|g| g.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>());
        for (exact, got) in exact.zip(out.to::<f64>()) {
            match exact.is_finite() {
                true => assert!((exact - got).abs() <= 1e-12 * exact, "{got}, not {exact}"),
                false => assert!(!got.is_finite()),
            }
        }
    }
}

#[test]
fn images() {
    if !compiler() {
        return;
    }
    let mut rng = Key::new(0, Purpose::Init).rng();
    // All pairs of bytes, and a number that is no multiple of four.
    let (own, partner): (Vec<u8>, Vec<u8>) =
        (0..=u16::MAX).map(|i| i.to_be_bytes()).map(|[a, b]| (a, b)).unzip();
    let lambda: f64 = rng.random();
    let (share, other) = (lambda as f32, (1.0 - lambda) as f32);
    for n in [own.len(), 4 * 300 + 3, 1] {
        let (own, partner) = (&own[own.len() - n..], &partner[..n]);
        // Computed as in `Batch::images_f32`.
        let level = |x: u8, share: f32| f32::from(x) / 255.0 * share;
        let plain: Vec<f32> = own.iter().map(|&x| level(x, 1.0)).collect();
        let pairs = own.iter().zip(partner);
        let mixed: Vec<f32> = pairs.map(|(&x, &y)| level(x, share) + level(y, other)).collect();
        let (own, partner) = (Buffer::new(own), Buffer::new(partner));
        for ty in Type::ALL {
            for (partner, shares, exact) in
                [(Null, [1.0, 0.0], &plain), (Of(&partner), [share, other], &mixed)]
            {
                let out = ty.unwritten(n);
                let [a, b] = shares.map(Float);
                let first = [Of(&own), partner, a, b, Of(&out), Long(n)];
                let args = [&first[..], &[Int(0), Int(0), Int(0)]].concat();
                // Enough blocks, and too few.
                for launch in [
                    launch::rows("images", 1, n),
                    Launch { grid: [1, 1, 1], ..launch::rows("images", 1, n) },
                ] {
                    run(launch, ty, &args);
                }
                let exact: Vec<f64> = exact.iter().map(|&x| f64::from(x)).collect();
                assert_eq!(ty.values(&out), ty.round(&exact), "{ty:?}, {n}");
            }
        }
    }
}
