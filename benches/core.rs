//! The network's operations one by one, as a criterion group. The passes made of them are timed by
//! `compute.rs`.
//!
//! `cargo bench --bench core` prints times; `-- norm` only those whose name contains that.

#![allow(missing_docs)] // of the function that criterion makes

use candle_core::{Device, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use rsna_tui::net::graph;
use std::{hint::black_box, time::Duration};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn tensor(shape: &[usize]) -> Tensor {
    let values = (0..shape.iter().product()).map(|i: usize| (i * 7919 % 1009) as f32 / 1008.0);
    Tensor::from_vec(values.collect(), shape, &Device::Cpu).expect("its shape")
}

/// Each operation forward, and forward and backward, on a feature map of the second stage.
fn op(c: &mut Criterion) {
    let map = Var::from_tensor(&tensor(&[8, 28, 28, 160])).expect("a leaf");
    let x = map.as_tensor();
    let (width, taps) = (tensor(&[160]), tensor(&[49, 160]));
    let gates = Var::from_tensor(&tensor(&[4, 105, 8, 1024])).expect("a leaf");
    let w_hh = tensor(&[4, 1024, 256]);
    let w_hh = (w_hh * 0.05).expect("a product");
    type Run<'a> = Box<dyn Fn() -> candle_core::Result<Tensor> + 'a>;
    let ops: [(&str, Run); 5] = [
        ("depthwise 7x7", Box::new(|| graph::depthwise7(x, &taps, &width))),
        ("layer norm", Box::new(|| graph::layer_norm(x, &width, &width))),
        ("bias + gelu", Box::new(|| graph::bias_gelu(x, &width))),
        ("scale + residual", Box::new(|| graph::scale_residual(x, &width, &width, x))),
        ("lstm recurrence", Box::new(|| graph::lstm_recurrence(gates.as_tensor(), &w_hh))),
    ];
    let mut group = c.benchmark_group("op");
    for (name, run) in &ops {
        group.bench_function(*name, |b| b.iter(|| black_box(run().expect("an op"))));
        group.bench_function(format!("{name}, and back"), |b| {
            b.iter(|| black_box(run().and_then(|y| y.backward()).expect("an op")));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    targets = op
}
criterion_main!(benches);
