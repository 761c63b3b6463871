//! Compares with albumentations 1.3.1 over OpenCV 4.10 bit by bit.

use super::super::shift_scale_rotate::Affine;
use super::super::{grid_distortion, grid_distortion::Grid, optical_distortion};
use super::*;
use crate::study::golden;
use safetensors::SafeTensors;
use serde_json::Value;

/// Contents of `aug.safetensors` and `aug.json`.
struct Golden {
    bytes: Vec<u8>,
    json: Value,
}

impl Golden {
    fn read() -> Option<Self> {
        let bytes = golden::read("aug.safetensors")?;
        let json = serde_json::from_slice(&golden::read("aug.json")?).unwrap();
        Some(Self { bytes, json })
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    fn data(&self, name: &str) -> Vec<u8> {
        self.tensors().tensor(name).unwrap().data().to_vec()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.data(name).as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    /// Returns the cases whose names begin with `prefix`, and their parameters.
    fn cases(&self, prefix: &str) -> Vec<(&String, &Value)> {
        let cases = self.json["cases"].as_object().unwrap();
        let cases: Vec<_> = cases.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
        assert!(!cases.is_empty(), "no case {prefix}");
        cases.into_iter().map(|(name, case)| (name, &case["params"])).collect()
    }

    fn check<T: Transform>(&self, case: &str, params: &T::Params) {
        let got = applied::<T>(params, &self.data("img"), 64);
        let want = self.data(case);
        let wrong = got.iter().zip(&want).filter(|(a, b)| a != b).count();
        assert_eq!(wrong, 0, "{case}: {wrong} of {} bytes differ", want.len());
    }
}

fn number(params: &Value, key: &str) -> f64 {
    params[key].as_f64().unwrap()
}

fn numbers(params: &Value, key: &str) -> Vec<f64> {
    params[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn affine(params: &Value) -> Affine {
    Affine {
        angle: number(params, "angle"),
        scale: number(params, "scale"),
        dx: number(params, "dx"),
        dy: number(params, "dy"),
    }
}

fn grid(params: &Value) -> Grid {
    Grid { columns: numbers(params, "xsteps"), rows: numbers(params, "ysteps") }
}

#[test]
fn flips_brightness_and_blurs() {
    let Some(golden) = Golden::read() else { return };
    golden.check::<HorizontalFlip>("hflip", &());
    golden.check::<VerticalFlip>("vflip", &());
    golden.check::<Transpose>("transpose", &());
    golden.check::<MedianBlur>("median3", &());
    golden.check::<GaussianBlur>("gauss3", &());
    for (case, params) in golden.cases("brightness_") {
        golden.check::<RandomBrightness>(case, &number(params, "beta"));
    }
    for (case, params) in golden.cases("cutout_") {
        let at = |key: &str| number(params, key) as usize;
        let hole = cutout::Hole { x: at("x1")..at("x2"), y: at("y1")..at("y2") };
        golden.check::<Cutout>(case, &hole);
    }
}

#[test]
fn warps_and_their_maps() {
    let Some(golden) = Golden::read() else { return };
    for (case, params) in golden.cases("ssr_") {
        golden.check::<ShiftScaleRotate>(case, &affine(params));
    }
    for (case, params) in golden.cases("optical_") {
        let map = optical_distortion::Lens::new(number(params, "k"), 64);
        for (axis, pick) in [("map_x", 0), ("map_y", 1)] {
            let want = golden.floats(&format!("{case}.{axis}"));
            for (i, want) in want.iter().enumerate() {
                let (x, y) = map.source(map.rays[i % 64], map.rays[i / 64]);
                assert_eq!([x, y][pick], *want, "{case} {axis} {i}");
            }
        }
        golden.check::<OpticalDistortion>(case, &number(params, "k"));
    }
    for (case, params) in golden.cases("grid_") {
        let grid = grid(params);
        assert_eq!(
            grid_distortion::axis(&grid.columns, 64),
            golden.floats(&format!("{case}.map_x"))
        );
        assert_eq!(grid_distortion::axis(&grid.rows, 64), golden.floats(&format!("{case}.map_y")));
        golden.check::<GridDistortion>(case, &grid);
    }
}

#[test]
fn noise_is_added_in_f64_and_truncated() {
    let Some(golden) = Golden::read() else { return };
    let noise = golden.data("noise_f64");
    let noise = noise.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b).floor() as i8).collect();
    golden.check::<GaussNoise>("gauss_noise", &noise);
}

#[test]
fn every_line_is_opencvs_and_every_motion_kernel_blurs_as_its() {
    let Some(golden) = Golden::read() else { return };
    let mut lines = std::collections::HashMap::new();
    for entry in golden.json["motion_line_table"].as_array().unwrap() {
        let at = |key: &str| entry[key].as_u64().unwrap() as usize;
        let (a, b) = ((at("x1"), at("y1")), (at("x2"), at("y2")));
        if a != b {
            let line = Line::between(a, b);
            assert_eq!(kernel(line), entry["kernel"].as_str().unwrap(), "{a:?} {b:?}");
            lines.insert(kernel(line), line);
        }
    }
    assert_eq!(lines.len(), 36);
    let image = golden.data("img");
    let all = golden.data("motion_all");
    let order = golden.json["motion_all_order"].as_array().unwrap();
    assert_eq!(order.len(), 36);
    // The file's header says [36, 64, 64, 2], but its bytes are [36, 2, 64, 64], channels 0 and 5.
    for (name, want) in order.iter().zip(all.chunks(2 * 64 * 64)) {
        let name = name.as_str().unwrap();
        let got = applied::<MotionBlur>(&lines[name], &image, 64);
        let channel = |c| got.iter().skip(c).step_by(CHANNELS).copied();
        assert!(channel(0).chain(channel(5)).eq(want.iter().copied()), "{name}");
        let sums = &golden.json["cases"]["motion_all"][name]["ch_sums"];
        for c in 0..6 {
            let sum: u64 = got.iter().skip(c).step_by(6).map(|&v| u64::from(v)).sum();
            assert_eq!(sum, sums[c].as_u64().unwrap(), "{name} channel {c}");
        }
    }
}

#[test]
fn resize_is_opencvs() {
    let Some(golden) = Golden::read() else { return };
    for size in [48, 96] {
        let mut out = vec![0; size * size * CHANNELS];
        resize::resize(&golden.data("img"), 64, 64, &mut out, size);
        assert!(out == golden.data(&format!("resize_{size}")), "{size}");
    }
}

#[test]
fn the_chain() {
    let Some(golden) = Golden::read() else { return };
    let params = |case: &str| &golden.json["cases"][case]["params"];
    let (mut image, mut scratch) = (golden.data("img"), Scratch::default());
    let mut canvas = Canvas::new(&mut image, 64, &mut scratch);
    HorizontalFlip::apply(&(), &mut canvas);
    Transpose::apply(&(), &mut canvas);
    RandomBrightness::apply(&0.0371, &mut canvas);
    ShiftScaleRotate::apply(&affine(params("ssr_3")), &mut canvas);
    GaussianBlur::apply(&(), &mut canvas);
    GridDistortion::apply(&grid(params("grid_r0")), &mut canvas);
    Cutout::apply(&cutout::Hole { x: 40..64, y: 10..42 }, &mut canvas);
    canvas.finish();
    assert!(image == golden.data("chain"));
    // And in the network's input format. (The file has the image's floats in memory order, starting
    // with the first of channel 5.)
    let want = golden.floats("chain_chw_f32_ch5");
    assert!(image[5..][..want.len()].iter().map(|&v| f32::from(v) / 255.0).eq(want));
}

/// The test image of the golden statistics, uint8 `[size, size, 6]`: ramps, edges, black and white
/// specks.
fn pattern(size: usize) -> Vec<u8> {
    let mut image = Vec::with_capacity(size * size * CHANNELS);
    for i in 0..size * size * CHANNELS {
        let (x, y, c) = (i / CHANNELS % size, i / CHANNELS / size, i % CHANNELS);
        let ramp = (x * (3 + c) + y * (5 - c)) / 2 + ((x * y) >> 4);
        let mut v = ramp % 256;
        if (x / 11 + y / 13 + c).is_multiple_of(4) {
            v = 255 - v;
        }
        if (x * 7 + y * 13 + c * 5).is_multiple_of(97) {
            v = 0;
        }
        if (x * 11 + y * 3 + c * 7).is_multiple_of(89) {
            v = 255;
        }
        image.push(v as u8);
    }
    image
}

/// Compares 600 results with Python's 600 as samples, because the draws differ from Python's.
#[test]
fn the_whole_pipeline_has_albumentations_statistics() {
    let Some(golden) = Golden::read() else { return };
    let image = pattern(224);
    let sum: u64 = image.iter().map(|&v| u64::from(v)).sum();
    assert_eq!(sum, golden.json["img224_sum"].as_u64().unwrap());
    let want = |key: &str| golden.json["pipeline_stats_600_on_img224"][key].as_f64().unwrap();

    let pipeline = Pipeline::new(&config(&[]));
    let mut scratch = Scratch::default();
    let (mut sums, mut zeros) = ([0.0; 2], 0);
    let mut means = Vec::new();
    for i in 0..600 {
        let mut out = image.clone();
        pipeline.run(&mut out, 224, &mut scratch, &mut generator(i));
        let sum: u64 = out.iter().map(|&v| u64::from(v)).sum();
        let squares: u64 = out.iter().map(|&v| u64::from(v).pow(2)).sum();
        sums[0] += sum as f64;
        sums[1] += squares as f64;
        zeros += out.iter().filter(|v| **v == 0).count();
        means.push(sum as f64 / out.len() as f64);
    }
    let n = (600 * image.len()) as f64;
    let mean = sums[0] / n;
    let std = (sums[1] / n - mean * mean).sqrt();
    let zero = zeros as f64 / n;
    let spread = (means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 600.0).sqrt();
    // About four standard errors of the difference of two samples.
    for (what, got, want, far) in [
        ("mean", mean, want("mean"), 4.0 * spread * (2f64 / 600.0).sqrt()),
        ("standard deviation", std, want("std"), 3.0),
        ("share of zeros", zero, want("frac_zero"), 0.025),
        ("spread of the means", spread, want("per_image_mean_sd"), 2.2),
    ] {
        assert!((got - want).abs() < far, "{what}: {got}, albumentations {want}");
    }
}
