//! Finds constant crops on disk and reads as little as possible.

use super::npy::{Header, header};
use super::{NpyFolder, open, unreadable};
use crate::config::{CHANNELS, VERTEBRAE};
use crate::study::constant::{Constant, is_constant};
use crate::study::{Error, Study};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Number of pixels read before reading the whole file.
const BLOCK: usize = 680;

impl NpyFolder {
    /// Returns those of `studies` that have constant slices, in their order. Runs in parallel, and reads
    /// only 4 kB of a slice that is not constant.
    ///
    /// Errors: when a file cannot be used.
    pub fn constant(&self, studies: &[Study]) -> Result<Vec<Constant>, Error> {
        let each: Result<Vec<bool>, Error> =
            self.each_file(studies, is_constant_file).into_iter().collect();
        let per_study = each?;
        let per_study = per_study.chunks(VERTEBRAE * self.slices_per_vertebra);
        let of_study = |(study, slices): (&Study, &[bool])| {
            let mut counts = [0; VERTEBRAE];
            for (count, slices) in counts.iter_mut().zip(slices.chunks(self.slices_per_vertebra)) {
                *count = slices.iter().filter(|&&constant| constant).count();
            }
            Constant { study: study.uid.clone(), slices: counts }
        };
        let all = studies.iter().zip(per_study).map(of_study);
        Ok(all.filter(|constant| constant.slices != [0; VERTEBRAE]).collect())
    }
}

/// Whether the slice in a file is constant. Errors: the problem, as the rest of a sentence.
fn is_constant_file(path: &Path) -> Result<bool, String> {
    let (mut file, length) = open(path)?;
    let Header { height, width, fortran, start } = header(&mut file, length)?;
    let pixels = height * width;
    let mut read = |at: usize, bytes: usize| -> Result<Vec<u8>, String> {
        let mut out = vec![0; bytes];
        file.seek(SeekFrom::Start(start + at as u64)).map_err(unreadable)?;
        file.read_exact(&mut out).map_err(unreadable)?;
        Ok(out)
    };
    if fortran {
        // The planes are stored one after the other, the mask last.
        for plane in 0..CHANNELS - 1 {
            let plane = read(plane * pixels, pixels)?;
            if plane.iter().any(|pixel| *pixel != plane[0]) {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let middle = pixels / 2;
    let block = read(middle * CHANNELS, BLOCK.min(pixels - middle) * CHANNELS)?;
    Ok(is_constant(&block) && is_constant(&read(0, pixels * CHANNELS)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, ShapeBuilder};
    use ndarray_npy::write_npy;

    #[test]
    fn constant_files_are_found_in_either_order() {
        let dir = tempfile::tempdir().unwrap();
        let folder = NpyFolder { dir: dir.path().into(), size: 32, slices_per_vertebra: 2 };
        let study = |uid: &str| Study { uid: uid.into(), labels: [0; VERTEBRAE], fold: 0 };
        let studies = [study("a"), study("b"), study("c")];
        let (height, width) = (48, 20);
        let write = |study: &Study, vertebra, slice, image: &dyn Fn(usize, usize, usize) -> u8| {
            let path = folder.path(study, vertebra, slice);
            let pixel = |(y, x, c): (usize, usize, usize)| image(y, x, c);
            match slice {
                0 => write_npy(path, &Array3::from_shape_fn((height, width, CHANNELS), pixel)),
                _ => write_npy(path, &Array3::from_shape_fn((height, width, CHANNELS).f(), pixel)),
            }
            .unwrap();
        };
        let picture = |y: usize, x: usize, c: usize| (y * 7 + x * 3 + c) as u8;
        for study in &studies {
            for vertebra in 0..VERTEBRAE {
                (0..2).for_each(|slice| write(study, vertebra, slice, &picture));
            }
        }
        assert_eq!(folder.constant(&studies).unwrap(), []);
        for slice in 0..2 {
            // A vertebra outside the scan; a mask without a picture; one bright pixel.
            write(&studies[0], 6, slice, &|_, _, _| 1);
            write(&studies[0], 2, slice, &|y, _, c| if c < 5 { c as u8 } else { y as u8 });
            write(&studies[1], 0, slice, &|y, x, c| u8::from((y, x, c) == (47, 19, 4)));
        }
        write(&studies[2], 3, 1, &|_, _, _| 0);
        let found = folder.constant(&studies).unwrap();
        let counts: Vec<_> = found.iter().map(|c| (&*c.study, c.slices)).collect();
        assert_eq!(counts, [("a", [0, 0, 2, 0, 0, 0, 2]), ("c", [0, 0, 0, 1, 0, 0, 0])]);
        std::fs::remove_file(folder.path(&studies[1], 4, 1)).unwrap();
        let error = folder.constant(&studies).unwrap_err().to_string();
        assert!(error.contains("study b C5 slice 1"), "{error}");
    }
}
