//! Compares the hand-written encoder with candle's autograd over our ops.

use super::layers::{inner_values, tape_values};
use super::*;
use crate::net::{Spec, Stem, convnext::ConvNeXt, parameters::Builder};
use candle_core::{DType, Device, Tensor};
use rand::Rng;

/// Kind of stem, and side of the images.
type Kind = (Stem, usize);

const PATCH: Kind = (Stem::Patch, 64);
const OVERLAP: Kind = (Stem::Overlap { middle: 7 }, 64);
/// Splits the rows of windows into several pieces in both convolutions, the last one shorter.
const LARGE: Kind = (Stem::Overlap { middle: 3 }, 160);

fn spec(kind: Kind) -> Spec {
    Spec {
        name: "test",
        stem: kind.0,
        depths: [1, 2, 1, 1],
        dims: [5, 10, 19, 24],
        conv_mlp: true,
        in_channels: 6,
        images: 7,
        lstm_hidden: 4,
        head_hidden: 4,
        dropout: 0.0,
    }
}

/// Images, a gradient of the features, and a network whose weights all have a magnitude of about 1.
fn setting(kind: Kind, n: usize) -> (Vec<f64>, Vec<f64>, ConvNeXt, Builder) {
    let mut rng = crate::rng::Key::new(3, crate::rng::Purpose::Init).rng();
    let mut random = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f64>>();
    let spec = spec(kind);
    let mut builder = Builder::new(0, 0, DType::F64, &Device::Cpu);
    let net = ConvNeXt::new(&mut builder, &spec).unwrap();
    for p in &builder.parameters.trainable {
        let values = random(p.var.elem_count());
        p.var.set(&Tensor::from_vec(values, p.var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    (random(n * kind.1 * kind.1 * 6), random(n * spec.dims[3]), net, builder)
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference relative to the largest value.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let far = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    far / b.iter().fold(1e-9, |m: f64, v| m.max(v.abs()))
}

/// Computes features and gradients by hand; with `cut`, encodes the images in two ranges.
fn by_hand(
    kind: Kind,
    images: &[f64],
    grad: &[f64],
    builder: &Builder,
    threads: usize,
    cut: Option<usize>,
) -> (Vec<f64>, Vec<f64>) {
    let (spec, size) = (spec(kind), kind.1);
    let width = spec.dims[3];
    let encoder = Layers::new(&spec, size, threads);
    let views = views(&builder.parameters.trainable, encoder.weights());
    let net = net::<f64>(&views, encoder.weights()).unwrap();
    let bytes = size * size * 6;
    let fill = |range: std::ops::Range<usize>, out: &mut [f64]| {
        out.copy_from_slice(&images[range.start * bytes..range.end * bytes]);
    };
    let n = grad.len() / width;
    let (pool, scratch) = (BufferPool::default(), Scratch::default());
    let arena = (&pool, &scratch);
    let (mut features, mut sums) = (Vec::new(), encoder.empty(&pool));
    let cut = cut.unwrap_or(n);
    for range in [0..cut, cut..n].into_iter().filter(|r| !r.is_empty()) {
        // Keep the inner values of all groups but the last.
        let retention = Retention { inputs: range.len(), inner: range.len() - 1 };
        let (part, tapes) = encoder.forward(&net, &fill, range.clone(), retention, arena);
        features.extend(part);
        let grad = &grad[range.start * width..range.end * width];
        encoder.backward(&net, &fill, tapes, grad, (&mut sums, range.start == 0), arena);
    }
    encoder.finish(&net, &mut sums);
    (features, sums.concat())
}

#[test]
fn features_and_gradients_are_those_of_autograd() {
    agree(PATCH, 5, &[(1, None), (2, None), (3, Some(2))]);
    // All threads on each image, with inner values kept and without.
    agree(PATCH, 1, &[(2, None)]);
    agree(PATCH, 5, &[(8, None), (3, Some(1))]);
    // Several groups per thread.
    agree(PATCH, 70, &[(1, None)]);
}

#[test]
fn and_so_they_are_with_an_overlapping_stem() {
    agree(OVERLAP, 5, &[(1, None), (3, Some(2)), (8, None)]);
    agree(OVERLAP, 40, &[(1, None)]);
    agree(LARGE, 2, &[(1, None), (4, Some(1))]);
}

/// Compares `n` images by hand with autograd, for each number of threads and each cut.
fn agree(kind: Kind, n: usize, ways: &[(usize, Option<usize>)]) {
    let (images, grad, net, builder) = setting(kind, n);
    let x = Tensor::from_vec(images.clone(), (n, kind.1, kind.1, 6), &Device::Cpu).unwrap();
    let features = net.forward(&x, true).unwrap();
    let g = Tensor::from_vec(grad.clone(), features.shape(), &Device::Cpu).unwrap();
    let store = (&features * g).unwrap().sum_all().unwrap().backward().unwrap();
    for &(threads, cut) in ways {
        let (ours, sums) = by_hand(kind, &images, &grad, &builder, threads, cut);
        assert!(apart(&ours, &flat(&features)) < 1e-12);
        let mut at = 0;
        for p in &builder.parameters.trainable {
            let want = flat(store.get(&p.var).unwrap());
            let got = &sums[at..at + want.len()];
            at += want.len();
            let error = apart(got, &want);
            assert!(error < 1e-10, "{threads} threads, {}: {error}", p.name);
        }
        assert_eq!(at, sums.len());
    }
}

#[test]
fn the_same_bits_for_the_same_threads() {
    let (images, grad, _, builder) = setting(OVERLAP, 9);
    let run = |threads| by_hand(OVERLAP, &images, &grad, &builder, threads, None);
    assert_eq!(run(2), run(2));
    assert_eq!(run(12), run(12));
    assert!(apart(&run(1).1, &run(3).1) < 1e-13);
    assert!(apart(&run(1).1, &run(12).1) < 1e-13);
}

#[test]
fn a_tape_is_as_long_as_it_says() {
    let (images, _, _, builder) = setting(OVERLAP, 2);
    let (spec, size) = (spec(OVERLAP), OVERLAP.1);
    let encoder = Layers::new(&spec, size, 1);
    let views = views(&builder.parameters.trainable, encoder.weights());
    let fill = |_: std::ops::Range<usize>, out: &mut [f64]| out.copy_from_slice(&images);
    let net = net::<f64>(&views, encoder.weights()).unwrap();
    let (pool, scratch) = (BufferPool::default(), Scratch::default());
    let arena = (&pool, &scratch);
    let values = |inputs, inner| {
        let retention = Retention { inputs, inner };
        encoder.forward(&net, &fill, 0..2, retention, arena).1.values()
    };
    assert_eq!(values(2, 0), 2 * tape_values(&spec, size));
    assert_eq!(values(2, 2), 2 * (tape_values(&spec, size) + inner_values(&spec, size)));
    // The only group has two images, more than may be kept.
    assert_eq!(values(1, 1), 0);
}

/// The second step reuses the first one's buffers and returns them all.
#[test]
fn a_step_after_the_first_allocates_nothing() {
    let (images, grad, _, builder) = setting(OVERLAP, 5);
    let (spec, size) = (spec(OVERLAP), OVERLAP.1);
    let encoder = Layers::new(&spec, size, 1);
    let views = views(&builder.parameters.trainable, encoder.weights());
    let net = net::<f64>(&views, encoder.weights()).unwrap();
    let (pool, scratch) = (BufferPool::default(), Scratch::default());
    let arena = (&pool, &scratch);
    let fill = |_: std::ops::Range<usize>, out: &mut [f64]| out.copy_from_slice(&images);
    let step = || {
        let mut sums = encoder.empty(&pool);
        let retention = Retention { inputs: 5, inner: 5 };
        let (_, tapes) = encoder.forward(&net, &fill, 0..5, retention, arena);
        encoder.backward(&net, &fill, tapes, &grad, (&mut sums, true), arena);
        encoder.finish(&net, &mut sums);
        let copy = sums.concat();
        sums.into_iter().for_each(|sum| pool.give(sum));
        (copy, pool.values())
    };
    assert!(step() == step());
}
