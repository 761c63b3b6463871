//! Compares the hand-written LSTMs with candle's graph over the recurrence, which has its own test.

use super::*;
use crate::net::lstm::Lstm;
use crate::net::parameters::Builder;
use candle_core::{DType, Device, Tensor, Var};
use rand::Rng;

const LAYERS: Layers = Layers { steps: 7, features: 6, hidden: 5 };

/// Random weights, features of `b` studies, and gradients of both outputs.
fn setting(b: usize) -> (Builder, [Lstm; 2], Vec<f64>, [Vec<f64>; 2]) {
    let mut rng = crate::rng::Key::new(5, crate::rng::Purpose::Init).rng();
    let mut random = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f64>>();
    let mut builder = Builder::new(0, 0, DType::F64, &Device::Cpu);
    let mut new = |name| Lstm::new(&mut builder, name, LAYERS.features, LAYERS.hidden).unwrap();
    let lstms = [new("lstm"), new("lstm2")];
    let width = 2 * LAYERS.hidden;
    let x = random(b * LAYERS.steps * LAYERS.features);
    (builder, lstms, x, [random(b * LAYERS.steps * width), random(b * width)])
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn same(name: &str, a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len(), "{name}");
    let far = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(far < 1e-12, "{name}: {far}");
}

/// Computes the output and the gradients of the features and of each weight.
fn by_hand(
    builder: &Builder,
    pool: &BufferPool<f64>,
    x: &[f64],
    grads: &[Vec<f64>; 2],
) -> (Vec<f64>, Vec<f64>, Vec<f64>, Vec<Vec<f64>>) {
    let views = Views::new(&builder.parameters.trainable);
    let cpu = Cpu { layers: LAYERS, weights: views.slices::<f64>().unwrap(), pool };
    let ([all, first], kept) = LAYERS.forward(&cpu, x).unwrap();
    let mut sums: Vec<_> = views.lengths().into_iter().map(|n| pool.take(n)).collect();
    let dx = LAYERS.backward(&cpu, kept, [&grads[0], &grads[1]], &mut sums[..]).unwrap();
    (all, first, dx, sums)
}

#[test]
fn outputs_and_gradients_are_those_of_autograd() {
    for b in [1, 3] {
        let (builder, lstms, x, grads) = setting(b);
        let shape = (b, LAYERS.steps, LAYERS.features);
        let leaf = Var::from_tensor(&Tensor::from_vec(x.clone(), shape, &Device::Cpu).unwrap());
        let leaf = leaf.unwrap();
        let out = lstms.each_ref().map(|lstm| lstm.forward(leaf.as_tensor(), true).unwrap());
        let outs = [out[0].clone(), out[1].narrow(1, 0, 1).unwrap().contiguous().unwrap()];
        let dot = |i: usize| {
            let g = Tensor::from_vec(grads[i].clone(), outs[i].shape(), &Device::Cpu).unwrap();
            (&outs[i] * g).unwrap().sum_all().unwrap()
        };
        let store = (dot(0) + dot(1)).unwrap().backward().unwrap();

        let pool = BufferPool::default();
        // Run again, in the first run's buffers.
        for _ in 0..2 {
            let (all, first, dx, sums) = by_hand(&builder, &pool, &x, &grads);
            same("lstm", &all, &flat(&outs[0]));
            same("lstm2 at 0", &first, &flat(&outs[1]));
            same("features", &dx, &flat(store.get(&leaf).unwrap()));
            for (p, sum) in builder.parameters.trainable.iter().zip(&sums) {
                same(&p.name, sum, &flat(store.get(&p.var).unwrap()));
            }
            [all, first, dx].into_iter().chain(sums).for_each(|buffer| pool.give(buffer));
        }
    }
}

#[test]
fn the_same_bits_whatever_the_threads() {
    let (builder, _, x, grads) = setting(30);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| by_hand(&builder, &BufferPool::default(), &x, &grads))
    };
    assert_eq!(run(1), run(3));
}
