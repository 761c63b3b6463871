//! Compares every op's gradients with central differences in f64.

use crate::net::graph::*;
use candle_core::{DType, Device, Tensor, Var};
use rand::Rng;

fn random(shape: &[usize], seed: u64) -> Var {
    let mut rng = crate::rng::Key::new(seed, crate::rng::Purpose::Init).rng();
    let n = shape.iter().product();
    let values: Vec<f64> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
    Var::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Compares the gradients of Σ out·r (r fixed, random) with differences, for every element.
fn check(inputs: &[Var], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let out = f(&tensors).unwrap();
    let r = random(out.dims(), 99);
    let loss = |t: &[Tensor]| (f(t).unwrap() * r.as_tensor()).unwrap().sum_all().unwrap();
    let grads = loss(&tensors).backward().unwrap();
    for (k, var) in inputs.iter().enumerate() {
        let grad = grads.get(var).unwrap_or_else(|| panic!("input {k} got no gradient"));
        assert_eq!(grad.dims(), var.dims());
        let grad = grad.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let x = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for i in 0..x.len() {
            let at = |delta: f64| {
                let mut x = x.clone();
                x[i] += delta;
                let mut t = tensors.clone();
                t[k] = Tensor::from_vec(x, var.dims(), &Device::Cpu).unwrap();
                loss(&t).to_scalar::<f64>().unwrap()
            };
            let h = 1e-5;
            let numeric = (at(h) - at(-h)) / (2.0 * h);
            let error = (numeric - grad[i]).abs() / numeric.abs().max(1.0);
            assert!(error < 1e-7, "input {k}[{i}]: {} by hand, {numeric} numeric", grad[i]);
        }
    }
}

/// Compares the f32 path (vector dispatch) with the f64 one.
fn f32_agrees(inputs: &[Var], tolerance: f64, f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let exact: Vec<Tensor> = inputs.iter().map(|v| v.as_detached_tensor()).collect();
    let single: Vec<Tensor> = exact.iter().map(|t| t.to_dtype(DType::F32).unwrap()).collect();
    let a = f(&exact).unwrap();
    let b = f(&single).unwrap().to_dtype(DType::F64).unwrap();
    let worst = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
    assert!(worst < tolerance, "{worst}");
}

#[test]
fn depthwise() {
    // 5 and 19 channels: part of a tile, and a tile and a part; widths around the block of 7.
    for (h, w, c) in [(3, 2, 5), (4, 9, 3), (2, 7, 19)] {
        let inputs = [random(&[2, h, w, c], 1), random(&[49, c], 2), random(&[c], 3)];
        check(&inputs, |t| depthwise7(&t[0], &t[1], &t[2]));
        f32_agrees(&inputs, 1e-5, |t| depthwise7(&t[0], &t[1], &t[2]));
    }
}

#[test]
fn depthwise_is_candles_convolution() {
    let (n, h, w, c) = (2, 9, 11, 20);
    let (x, k, b) = (random(&[n, h, w, c], 1), random(&[49, c], 2), random(&[c], 3));
    let ours = depthwise7(x.as_tensor(), k.as_tensor(), b.as_tensor()).unwrap();
    let nchw = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    let weight = k.t().unwrap().contiguous().unwrap().reshape((c, 1, 7, 7)).unwrap();
    let theirs = nchw.conv2d(&weight, 3, 1, 1, c).unwrap().permute((0, 2, 3, 1)).unwrap();
    let theirs = theirs.broadcast_add(b.as_tensor()).unwrap();
    let worst = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
    assert!(worst.to_scalar::<f64>().unwrap() < 1e-12);
}

#[test]
fn windows_of_a_convolution() {
    for (h, w, c) in [(4, 6, 3), (8, 4, 1)] {
        let inputs = [random(&[2, h, w, c], 1), random(&[5, 9 * c], 2), random(&[5], 3)];
        check(&inputs, |t| linear(&windows(&t[0])?, &t[1], &t[2]));
        let [x, k, b] = &inputs;
        let ours = linear(&windows(x).unwrap(), k.as_tensor(), b.as_tensor()).unwrap();
        let nchw = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let weight = k.reshape((5, 3, 3, c)).unwrap().permute((0, 3, 1, 2)).unwrap();
        let theirs = nchw.conv2d(&weight.contiguous().unwrap(), 1, 2, 1, 1).unwrap();
        let theirs = theirs.permute((0, 2, 3, 1)).unwrap().broadcast_add(b.as_tensor()).unwrap();
        let theirs = theirs.reshape(ours.shape()).unwrap();
        let worst = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
        assert!(worst.to_scalar::<f64>().unwrap() < 1e-12);
    }
}

#[test]
fn layer_norms() {
    for c in [5, 16, 21] {
        let inputs = [random(&[3, c], 1), random(&[c], 2), random(&[c], 3)];
        check(&inputs, |t| layer_norm(&t[0], &t[1], &t[2]));
        f32_agrees(&inputs, 1e-5, |t| layer_norm(&t[0], &t[1], &t[2]));
    }
}

#[test]
fn bias_and_gelu() {
    let inputs = [random(&[4, 9], 1), random(&[9], 2)];
    check(&inputs, |t| bias_gelu(&(&t[0] * 3.0)?, &t[1]));
    f32_agrees(&inputs, 1e-6, |t| bias_gelu(&(&t[0] * 3.0)?, &t[1]));
}

#[test]
fn linear_layer() {
    let inputs = [random(&[4, 3], 1), random(&[5, 3], 2), random(&[5], 3)];
    check(&inputs, |t| linear(&t[0], &t[1], &t[2]));
}

#[test]
fn bias_layer_scale_and_residual() {
    let inputs = [random(&[4, 5], 1), random(&[5], 2), random(&[5], 3), random(&[4, 5], 4)];
    check(&inputs, |t| scale_residual(&t[0], &t[1], &t[2], &t[3]));
    f32_agrees(&inputs, 1e-6, |t| scale_residual(&t[0], &t[1], &t[2], &t[3]));
}

#[test]
fn lstm() {
    // D, T, B, H; a single step has no product with the previous state.
    for (d, t, b, h) in [(2, 4, 2, 3), (4, 3, 1, 2), (2, 1, 2, 2)] {
        let inputs = [random(&[d, t, b, 4 * h], 1), random(&[d, 4 * h, h], 2)];
        check(&inputs, |t| lstm_recurrence(&t[0], &t[1]));
        f32_agrees(&inputs, 1e-6, |t| lstm_recurrence(&t[0], &t[1]));
    }
}
