//! A thousand draws of each transform: checks that it does not panic, and properties of the result.

use super::*;
use crate::augment::neighbours::Border;

const SETS: u64 = 1000;

fn image(size: usize) -> Vec<u8> {
    (0..size * size * CHANNELS).map(|i| (i * 7 + i / 41 * 13 + i * i % 97) as u8).collect()
}

/// Applies `transform` with each of `SETS` draws to an image, and to one whose channels are
/// constant. `holds` gets (parameters, image, result).
fn each<T: Transform>(transform: T, holds: impl Fn(&T::Params, &[u8], &[u8]) -> bool) {
    for size in [64, 224] {
        let image = image(size);
        let mut scratch = Scratch::default();
        let mut result = image.clone();
        for set in 0..SETS {
            let params = transform.params(size, &mut generator(set));
            result.copy_from_slice(&image);
            let mut canvas = Canvas::new(&mut result, size, &mut scratch);
            T::apply(&params, &mut canvas);
            canvas.finish();
            assert!(holds(&params, &image, &result), "set {set} at {size}");
        }
    }
}

/// Smallest and largest value of each channel.
fn ranges(image: &[u8]) -> [(u8, u8); CHANNELS] {
    let mut ranges = [(255, 0); CHANNELS];
    for pixel in image.as_chunks::<CHANNELS>().0 {
        for (range, &v) in ranges.iter_mut().zip(pixel) {
            *range = (range.0.min(v), range.1.max(v));
        }
    }
    ranges
}

/// Whether each channel's values stay in its range, as those of means do.
fn within(image: &[u8], result: &[u8]) -> bool {
    let (image, result) = (ranges(image), ranges(result));
    image.iter().zip(&result).all(|(i, r)| i.0 <= r.0 && r.1 <= i.1)
}

#[test]
fn shift_scale_rotate() {
    let seed = ShiftScaleRotate { shift_limit: 0.3, scale_limit: 0.3, rotate_limit: 45.0 };
    each(seed, |a, image, result| {
        let limits = a.angle.abs() <= 45.0 && (0.7..=1.3).contains(&a.scale);
        limits && a.dx.abs() <= 0.3 && a.dy.abs() <= 0.3 && within(image, result)
    });
    let most = ShiftScaleRotate { shift_limit: 1.0, scale_limit: 0.95, rotate_limit: 180.0 };
    each(most, |_, image, result| within(image, result));
}

#[test]
fn distortions() {
    each(OpticalDistortion { limit: 1.0 }, |k, image, result| {
        k.abs() <= 1.0 && within(image, result)
    });
    for steps in [5, 1, 64] {
        each(GridDistortion { steps, limit: 1.0 }, |grid, image, result| {
            let mut factors = grid.columns.iter().chain(&grid.rows);
            factors.all(|f| (0.0..=2.0).contains(f)) && within(image, result)
        });
    }
}

#[test]
fn blurs() {
    each(MotionBlur, |_, image, result| within(image, result));
    each(MedianBlur, |_, image, result| within(image, result));
    each(GaussianBlur, |_, image, result| within(image, result));
}

#[test]
fn flips_and_transpose_keep_every_value_and_undo_themselves() {
    fn twice<T: Transform<Params = ()>>(transform: T) {
        each(transform, |_, image, result| {
            let size = (image.len() / CHANNELS).isqrt();
            ranges(image) == ranges(result)
                && image != result
                && applied::<T>(&(), result, size) == image
        });
    }
    twice(HorizontalFlip);
    twice(VerticalFlip);
    twice(Transpose);
}

#[test]
fn brightness() {
    for limit in [0.1, 1.0] {
        each(RandomBrightness { limit }, |beta, image, result| {
            // albumentations' formula, value by value.
            let add = (beta * 255.0) as f32;
            beta.abs() <= limit
                && image
                    .iter()
                    .zip(result)
                    .all(|(&v, &r)| r == (f32::from(v) + add).clamp(0.0, 255.0) as u8)
        });
    }
}

#[test]
fn noise() {
    each(GaussNoise { variance: [3.0, 9.0] }, |noise, image, result| {
        let sums = image.iter().zip(noise).map(|(&v, &n)| i16::from(v) + i16::from(n));
        noise.iter().all(|n| n.abs() < 30)
            && sums.zip(result).all(|(sum, &r)| i16::from(r) == sum.clamp(0, 255))
    });
    for variance in [[0.0, 0.0], [100.0, 100.0]] {
        each(GaussNoise { variance }, |noise, image, result| {
            noise.len() == image.len() && (variance[1] > 0.0 || image == result)
        });
    }
}

#[test]
fn cutouts() {
    for share in [0.5, 0.0, 1.0] {
        each(Cutout { share }, |hole, image, result| {
            let size = (image.len() / CHANNELS).isqrt();
            let side = (size as f64 * share) as usize;
            // If clipped at the top or left, it keeps its side.
            let fits = |r: &std::ops::Range<usize>| {
                r.end <= size && (r.len() == side || r.end == size && r.len() < side)
            };
            let kept = |i: usize| {
                let (x, y) = (i / CHANNELS % size, i / CHANNELS / size);
                let want = if hole.x.contains(&x) && hole.y.contains(&y) { 0 } else { image[i] };
                result[i] == want
            };
            fits(&hole.x) && fits(&hole.y) && (0..image.len()).all(kept)
        });
    }
}

/// Compares the filters, which work on whole rows, with their definitions pixel by pixel.
#[test]
fn filters_are_what_they_say() {
    let size = 33;
    let image = image(size);
    let at = |x: i32, y: i32, c: usize, border: Border| {
        let clamp = |i: i32| match border {
            Border::Mirror if i < 0 => -i as usize,
            Border::Mirror => (i as usize).min(2 * (size - 1) - i as usize),
            Border::Repeat => i.clamp(0, size as i32 - 1) as usize,
        };
        image[(clamp(y) * size + clamp(x)) * CHANNELS + c]
    };
    let nine = |i: usize, border: Border| -> [u8; 9] {
        let (x, y) = ((i / CHANNELS % size) as i32, (i / CHANNELS / size) as i32);
        let c = i % CHANNELS;
        std::array::from_fn(|j| at(x + j as i32 % 3 - 1, y + j as i32 / 3 - 1, c, border))
    };
    for (i, got) in applied::<MedianBlur>(&(), &image, size).into_iter().enumerate() {
        let mut nine = nine(i, Border::Repeat);
        nine.sort_unstable();
        assert_eq!(got, nine[4], "median {i}");
    }
    for (i, got) in applied::<GaussianBlur>(&(), &image, size).into_iter().enumerate() {
        let weights = [1, 2, 1, 2, 4, 2, 1, 2, 1];
        let nine = nine(i, Border::Mirror);
        let sum: u32 = nine.iter().zip(weights).map(|(&v, w)| u32::from(v) * w).sum();
        assert_eq!(u32::from(got), (sum + 8) / 16, "gauss {i}");
    }
    let line = Line::between((2, 0), (0, 1));
    for (i, got) in applied::<MotionBlur>(&line, &image, size).into_iter().enumerate() {
        let nine = nine(i, Border::Mirror).map(f32::from);
        let mean = (nine[2] + nine[3] + nine[4]) / 3.0;
        assert_eq!(f32::from(got), mean.round_ties_even(), "motion {i}");
    }
    let line = Line::between((1, 1), (2, 1));
    for (i, got) in applied::<MotionBlur>(&line, &image, size).into_iter().enumerate() {
        let nine = nine(i, Border::Mirror).map(f32::from);
        assert_eq!(f32::from(got), ((nine[4] + nine[5]) / 2.0).round_ties_even(), "motion {i}");
    }
}

#[test]
fn resize_of_any_shape() {
    for (height, width, size) in [(1, 1, 32), (31, 65, 64), (256, 200, 224), (64, 64, 32)] {
        let flat = vec![77; height * width * CHANNELS];
        let mut out = vec![0; size * size * CHANNELS];
        resize::resize(&flat, height, width, &mut out, size);
        assert!(out.iter().all(|&v| v == 77), "{height}x{width} to {size}");
        let image: Vec<u8> = image(256)[..height * width * CHANNELS].to_vec();
        resize::resize(&image, height, width, &mut out, size);
        assert!(within(&image, &out), "{height}x{width} to {size}");
    }
}
