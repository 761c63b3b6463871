//! Compares the distributions of 100,000 draws with the notebook's.

use super::*;
use std::collections::HashMap;

const DRAWS: usize = 100_000;

/// Kolmogorov–Smirnov test against uniform(low, high); below 1.95 / √n for 99.9 % of all streams.
fn assert_uniform(what: &str, mut draws: Vec<f64>, low: f64, high: f64) {
    draws.sort_by(f64::total_cmp);
    let n = draws.len() as f64;
    let far = draws.iter().enumerate().map(|(i, x)| {
        let cdf = ((x - low) / (high - low)).clamp(0.0, 1.0);
        (cdf - i as f64 / n).abs().max((cdf - (i as f64 + 1.0) / n).abs())
    });
    let far = far.fold(0.0, f64::max);
    assert!(far < 1.95 / n.sqrt(), "{what}: D = {far} of {n} draws");
    assert!(low <= draws[0] && draws[draws.len() - 1] <= high, "{what}");
}

/// Pearson's chi-square test; its limit at 99.9 % is Wilson and Hilferty's approximation.
fn assert_frequencies(what: &str, counts: &[(f64, f64)]) {
    let chi: f64 = counts.iter().map(|(got, want)| (got - want).powi(2) / want).sum();
    let free = counts.len() as f64 - 1.0;
    let a = 2.0 / (9.0 * free);
    let limit = free * (1.0 - a + 3.0902 * a.sqrt()).powi(3);
    assert!(chi < limit, "{what}: chi-square {chi} of {free} degrees, limit {limit}");
}

fn draws<T: Transform>(transform: T, stream: u64) -> Vec<T::Params> {
    let mut rng = generator(stream);
    (0..DRAWS).map(|_| transform.params(224, &mut rng)).collect()
}

#[test]
fn continuous_parameters_are_uniform() {
    assert_uniform("beta", draws(RandomBrightness { limit: 0.1 }, 1), -0.1, 0.1);
    assert_uniform("k", draws(OpticalDistortion { limit: 1.0 }, 2), -1.0, 1.0);
    let seed = ShiftScaleRotate { shift_limit: 0.3, scale_limit: 0.3, rotate_limit: 45.0 };
    let affine = draws(seed, 3);
    assert_uniform("angle", affine.iter().map(|a| a.angle).collect(), -45.0, 45.0);
    assert_uniform("scale", affine.iter().map(|a| a.scale).collect(), 0.7, 1.3);
    assert_uniform("dx", affine.iter().map(|a| a.dx).collect(), -0.3, 0.3);
    assert_uniform("dy", affine.iter().map(|a| a.dy).collect(), -0.3, 0.3);
    let grids = draws(GridDistortion { steps: 5, limit: 1.0 }, 4);
    for i in 0..6 {
        assert_uniform("column", grids.iter().map(|g| g.columns[i]).collect(), 0.0, 2.0);
        assert_uniform("row", grids.iter().map(|g| g.rows[i]).collect(), 0.0, 2.0);
    }
}

#[test]
fn motion_kernels_come_as_often_as_albumentations_draws_them() {
    let Some(json) = crate::study::golden::read("aug.json") else { return };
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let mut counts: HashMap<String, f64> = HashMap::new();
    for line in draws(MotionBlur, 5) {
        *counts.entry(kernel(line)).or_default() += 1.0;
    }
    let want = json["motion_kernels"].as_object().unwrap();
    assert_eq!(counts.len(), want.len());
    let frequencies: Vec<_> =
        want.iter().map(|(k, p)| (counts[k], p.as_f64().unwrap() * DRAWS as f64)).collect();
    assert_frequencies("motion kernels", &frequencies);
}

#[test]
fn holes_are_centred_anywhere() {
    let holes = draws(Cutout { share: 0.5 }, 6);
    let want = |i: usize| match i {
        // Clipped at the start: centres 0..=56.
        0 => 57.0,
        _ => 1.0,
    };
    for axis in [|h: &cutout::Hole| h.x.start, |h: &cutout::Hole| h.y.start] {
        let mut counts = vec![0.0; 169];
        holes.iter().for_each(|h| counts[axis(h)] += 1.0);
        let expected = |i| want(i) / 225.0 * DRAWS as f64;
        let counts: Vec<_> =
            counts.into_iter().enumerate().map(|(i, n)| (n, expected(i))).collect();
        assert_frequencies("holes", &counts);
    }
}

#[test]
fn noise_is_normal_with_a_uniform_variance() {
    // With a single variance: the integer parts of 301,056 normal draws.
    let sigma = 6f64.sqrt();
    let noise = GaussNoise { variance: [6.0, 6.0] }.params(224, &mut generator(7));
    let cdf = |x: f64| 0.5 * libm::erfc(-x / sigma / std::f64::consts::SQRT_2);
    let mut frequencies = Vec::new();
    for n in -9i8..=9 {
        let got = noise.iter().filter(|v| **v == n).count() as f64;
        let p = cdf(f64::from(n) + 1.0) - cdf(f64::from(n));
        frequencies.push((got, p * noise.len() as f64));
    }
    let (got, want) = frequencies.iter().fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
    let all = noise.len() as f64;
    frequencies.push((all - got, all - want));
    assert_frequencies("noise", &frequencies);

    // With a range: the variance of each draw, which 6,144 values give to 2 %, accurate enough here.
    let noise = GaussNoise { variance: [3.0, 9.0] };
    let variances = (0..2000).map(|i| {
        let values = noise.params(32, &mut generator(1000 + i));
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let square = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        // Rounding down adds the variance of the fractional part.
        (square - 1.0 / 12.0).clamp(3.0, 9.0)
    });
    assert_uniform("variance", variances.collect(), 3.0, 9.0);
}

#[test]
fn stages_and_their_members_come_as_often_as_asked() {
    // The image does not matter: a size of 32 keeps the noise short.
    let pipeline = Pipeline::new(&config(&[]));
    let mut counts: HashMap<&str, f64> = HashMap::new();
    let mut rng = generator(8);
    for _ in 0..DRAWS {
        let drawn = pipeline.draw(8, &mut rng);
        drawn.iter().for_each(|d| *counts.entry(d.name).or_default() += 1.0);
    }
    let n = DRAWS as f64;
    for (name, p) in [
        ("HorizontalFlip", 0.5),
        ("VerticalFlip", 0.5),
        ("Transpose", 0.5),
        ("RandomBrightness", 0.7),
        ("ShiftScaleRotate", 0.7),
        ("MotionBlur", 0.125),
        ("MedianBlur", 0.125),
        ("GaussianBlur", 0.125),
        ("GaussNoise", 0.125),
        ("OpticalDistortion", 0.25),
        ("GridDistortion", 0.25),
        ("Cutout", 0.5),
    ] {
        let got = counts.remove(name).unwrap_or_default();
        assert_frequencies(name, &[(got, p * n), (n - got, (1.0 - p) * n)]);
    }
    assert!(counts.is_empty(), "{counts:?}");
}

#[test]
fn order_and_weights() {
    let names = |sets: &[&str]| -> Vec<&'static str> {
        let drawn = Pipeline::new(&config(sets)).draw(8, &mut generator(9));
        drawn.into_iter().map(|d| d.name).collect()
    };
    assert_eq!(names(&["preset=none"]), [""; 0]);
    let all = ["horizontal_flip", "vertical_flip", "transpose", "brightness", "cutout"];
    let mut sets: Vec<String> = all.iter().map(|key| format!("{key}=1.0")).collect();
    sets.extend(["shift_scale_rotate=1.0", "blur_or_noise=1.0", "distortion=1.0"].map(Into::into));
    sets.extend(["motion", "gaussian", "median"].map(|b| format!("{b}_blur_weight=0")));
    sets.push("optical_distortion_weight=0".into());
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    assert_eq!(
        names(&sets),
        [
            "HorizontalFlip",
            "VerticalFlip",
            "Transpose",
            "RandomBrightness",
            "ShiftScaleRotate",
            "GaussNoise",
            "GridDistortion",
            "Cutout"
        ]
    );
    // Weights 1 : 3.
    let sets = ["distortion=1", "optical_distortion_weight=3"];
    let pipeline = Pipeline::new(&config(&sets));
    let mut rng = generator(10);
    let optical = (0..DRAWS)
        .flat_map(|_| pipeline.draw(8, &mut rng))
        .filter(|d| d.name == "OpticalDistortion")
        .count() as f64;
    let n = DRAWS as f64;
    assert_frequencies("weights", &[(optical, 0.75 * n), (n - optical, 0.25 * n)]);
}

#[test]
fn a_stage_with_its_own_stream_changes_no_draw_of_the_others() {
    static OWN: Stage = Stage::new("cutout", &[cutout::CUTOUT]);
    let image: Vec<u8> = (0..64 * 64 * CHANNELS).map(|i| (i * 7 % 251) as u8).collect();
    let drawn = |stages: Vec<&'static Stage>, sets: &[&str], stream: u64| {
        let mut rng = generator(stream);
        let drawn = Pipeline::of(stages, &config(sets)).draw(64, &mut rng);
        let (mut image, mut scratch) = (image.clone(), Scratch::default());
        let mut canvas = Canvas::new(&mut image, 64, &mut scratch);
        let mut names: Vec<_> = drawn.iter().map(|d| d.name).collect();
        drawn.into_iter().filter(|d| d.name != "Cutout").for_each(|d| (d.apply)(&mut canvas));
        canvas.finish();
        names.retain(|name| *name == "Cutout");
        (image, names.len())
    };
    // All stages but the notebook's cutout.
    let others = || STAGES.iter().filter(|stage| stage.probability != OWN.probability);
    let with_own = || [&OWN].into_iter().chain(others()).collect::<Vec<_>>();
    let mut cutouts = 0;
    for stream in 0..50 {
        let (without, _) = drawn(others().collect(), &[], stream);
        let (off, none) = drawn(with_own(), &["cutout=0"], stream);
        let (on, some) = drawn(with_own(), &["cutout=0.5"], stream);
        assert!(without == off && without == on && none == 0, "{stream}");
        cutouts += some;
    }
    assert!((10..40).contains(&cutouts), "{cutouts}");
}
