//! Artificial crops for the benchmarks.

use rsna_tui::study::Study;
use std::path::Path;
use std::sync::Arc;

/// Height and width in pixels.
pub const SIZE: usize = 224;

/// An image, uint8 `[SIZE, SIZE, 6]`; different for each `salt`.
pub fn image(salt: usize) -> Vec<u8> {
    (0..SIZE * SIZE * 6).map(|i| (i * 7 + i / 41 * 13 + i * i % 97 + salt) as u8).collect()
}

/// Writes `n` studies of 105 crops into `dir`.
pub fn write(dir: &Path, n: usize) -> Arc<[Study]> {
    let study = |i: usize| Study { uid: format!("study{i}").into(), labels: [0; 7], fold: 0 };
    let studies: Arc<[Study]> = (0..n).map(study).collect();
    for (i, study) in studies.iter().enumerate() {
        for place in 0..105 {
            let shape = (SIZE, SIZE, 6);
            let pixels = ndarray::Array3::from_shape_vec(shape, image(i * 105 + place));
            let path = dir.join(format!("{}_{}_{}.npy", study.uid, place / 15 + 1, place % 15));
            ndarray_npy::write_npy(path, &pixels.expect("as long as its shape")).expect("written");
        }
    }
    studies
}
