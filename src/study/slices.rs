//! The crops on disk: `{data.dir}/{StudyInstanceUID}_{1..7}_{0..14}.npy`.

use super::{Error, Source, Study, first_of};
use crate::config::{CHANNELS, VERTEBRAE};
use ndarray::{ArrayView3, ShapeBuilder};
use ndarray_npy::npy::header::{Header, Layout};
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::PathBuf;

/// Problems told in one message of the check.
const SHOWN: usize = 10;
/// A NumPy header of such a file; more is read only where it is longer.
const HEADER: usize = 128;

/// A folder of `.npy` files, each uint8 `[size, size, 6]`.
#[derive(Debug, Clone)]
pub struct NpyFolder {
    /// `data.dir`.
    pub dir: PathBuf,
    /// Height and width of every slice, pixels.
    pub size: usize,
    /// Slices of each vertebra.
    pub slices_per_vertebra: usize,
}

impl NpyFolder {
    /// The file of one slice. `vertebra`: 0..7 for C1..C7, 1..=7 in the name.
    pub fn path(&self, study: &Study, vertebra: usize, slice: usize) -> PathBuf {
        self.dir.join(format!("{}_{}_{slice}.npy", study.uid, vertebra + 1))
    }

    /// Looks at every file of `studies` before training: that it is there, its type, shape and
    /// length, without its pixels; in parallel.
    ///
    /// Errors: a `data.dir` that cannot be read; else one message with the number of files that
    /// cannot be used and the first ten of them.
    pub fn check(&self, studies: &[Study]) -> Result<(), Error> {
        std::fs::read_dir(&self.dir)
            .map_err(|source| Error::DataDir { dir: self.dir.clone(), source })?;
        let per_study = VERTEBRAE * self.slices_per_vertebra;
        let files = studies.len() * per_study;
        let errors: Vec<Error> = (0..files)
            .into_par_iter()
            .filter_map(|i| {
                let (study, place) = (&studies[i / per_study], i % per_study);
                let (vertebra, slice) =
                    (place / self.slices_per_vertebra, place % self.slices_per_vertebra);
                self.open(study, vertebra, slice).err()
            })
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        Err(Error::Slices {
            dir: self.dir.clone(),
            total: errors.len(),
            files,
            shown: first_of(&errors, SHOWN),
        })
    }

    /// Opens one file, checks all but its pixels, and stands at the first of them.
    fn open(
        &self,
        study: &Study,
        vertebra: usize,
        slice: usize,
    ) -> Result<(BufReader<File>, Layout), Error> {
        let path = self.path(study, vertebra, slice);
        self.open_path(&path).map_err(|problem| Error::Slice {
            study: study.uid.clone(),
            vertebra,
            slice,
            path,
            problem,
        })
    }

    fn open_path(&self, path: &PathBuf) -> Result<(BufReader<File>, Layout), String> {
        let file = File::open(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => "is missing".to_string(),
            _ => format!("cannot be opened: {e}"),
        })?;
        let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
        let length = file.metadata().map_err(unreadable)?.len();
        let mut reader = BufReader::with_capacity(HEADER, file);
        let header = Header::from_reader(&mut reader).map_err(|e| {
            // The parser draws a picture below its first line.
            let e = e.to_string();
            format!("is not a NumPy file: {}", e.lines().next().unwrap_or_default().trim())
        })?;
        let start = reader.stream_position().map_err(unreadable)?;

        let expected = [self.size, self.size, CHANNELS];
        let descriptor = header.type_descriptor.to_string();
        let uint8 = matches!(descriptor.trim_matches('\''), "|u1" | "<u1" | ">u1" | "=u1" | "u1");
        if !uint8 || header.shape != expected {
            let hint = match header.shape[..] {
                [h, w, CHANNELS] if uint8 && h == w && h % 32 == 0 => {
                    format!("; set data.image_size = {h} for crops of that size")
                }
                _ => String::new(),
            };
            let kind = if uint8 { "uint8".into() } else { format!("of type {descriptor}") };
            return Err(format!("is {kind} {:?}, expected uint8 {expected:?}{hint}", header.shape));
        }
        let bytes = (self.size * self.size * CHANNELS) as u64;
        match length.saturating_sub(start) {
            n if n < bytes => {
                Err(format!("is truncated: {n} of {bytes} bytes of pixels are there"))
            }
            n if n > bytes => Err(format!("has {} bytes too many behind its pixels", n - bytes)),
            _ => Ok((reader, header.layout)),
        }
    }
}

impl Source for NpyFolder {
    fn slice(
        &self,
        study: &Study,
        vertebra: usize,
        slice: usize,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let (mut reader, layout) = self.open(study, vertebra, slice)?;
        reader.read_exact(out).map_err(|e| Error::Slice {
            study: study.uid.clone(),
            vertebra,
            slice,
            path: self.path(study, vertebra, slice),
            problem: format!("cannot be read: {e}"),
        })?;
        if layout.is_fortran() {
            let stored = out.to_vec();
            let shape = (self.size, self.size, CHANNELS).f();
            let view = ArrayView3::from_shape(shape, &stored).expect("as long as its shape");
            for (to, from) in out.iter_mut().zip(view.iter()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, ArrayD, IxDyn};
    use ndarray_npy::write_npy;

    const SIZE: usize = 32;

    fn folder(dir: &std::path::Path) -> (NpyFolder, Study) {
        let folder = NpyFolder { dir: dir.into(), size: SIZE, slices_per_vertebra: 2 };
        (folder, Study { uid: "1.2.3".into(), labels: [0; VERTEBRAE], fold: 0 })
    }

    fn image() -> Array3<u8> {
        Array3::from_shape_fn((SIZE, SIZE, CHANNELS), |(y, x, c)| (y * 7 + x * 3 + c * 41) as u8)
    }

    #[test]
    fn c_and_fortran_order_read_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, study) = folder(dir.path());
        let image = image();
        write_npy(folder.path(&study, 0, 0), &image).unwrap();
        let mut fortran = Array3::zeros((SIZE, SIZE, CHANNELS).f());
        fortran.assign(&image);
        write_npy(folder.path(&study, 0, 1), &fortran).unwrap();
        let mut out = vec![0; SIZE * SIZE * CHANNELS];
        for slice in 0..2 {
            out.fill(0);
            folder.slice(&study, 0, slice, &mut out).unwrap();
            assert_eq!(out, image.as_slice().unwrap(), "slice {slice}");
        }
    }

    #[test]
    fn every_bad_file_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, study) = folder(dir.path());
        for (v, s) in (0..VERTEBRAE).flat_map(|v| [(v, 0), (v, 1)]) {
            write_npy(folder.path(&study, v, s), &image()).unwrap();
        }
        folder.check(std::slice::from_ref(&study)).unwrap();

        write_npy(folder.path(&study, 0, 0), &ArrayD::<u8>::zeros(IxDyn(&[64, 64, 6]))).unwrap();
        write_npy(folder.path(&study, 1, 1), &ArrayD::<f32>::zeros(IxDyn(&[32, 32, 6]))).unwrap();
        let good = std::fs::read(folder.path(&study, 2, 0)).unwrap();
        std::fs::write(folder.path(&study, 2, 0), &good[..good.len() - 5]).unwrap();
        std::fs::write(folder.path(&study, 3, 0), [&good[..], &[0; 3]].concat()).unwrap();
        std::fs::remove_file(folder.path(&study, 4, 1)).unwrap();
        std::fs::write(folder.path(&study, 5, 0), "no npy at all").unwrap();
        std::fs::write(folder.path(&study, 6, 0), [&good[..10], &[b'?'; 118]].concat()).unwrap();

        let e = folder.check(std::slice::from_ref(&study)).unwrap_err().to_string();
        for words in [
            "7 of 14 slice files",
            "study 1.2.3 C1 slice 0",
            "uint8 [64, 64, 6], expected uint8 [32, 32, 6]; set data.image_size = 64",
            "1.2.3_2_1.npy is of type '<f4' [32, 32, 6]",
            "C3 slice 0",
            "truncated: 6139 of 6144",
            "3 bytes too many",
            "1.2.3_5_1.npy is missing",
            "1.2.3_6_0.npy is not a NumPy file",
            "1.2.3_7_0.npy is not a NumPy file",
        ] {
            assert!(e.contains(words), "{e:?} lacks {words:?}");
        }
        assert!(!e.contains('\n'), "{e:?}");
        let mut out = vec![0; SIZE * SIZE * CHANNELS];
        assert!(folder.slice(&study, 2, 0, &mut out).is_err());
    }

    #[test]
    fn a_missing_folder_names_its_key() {
        let (folder, study) = folder(std::path::Path::new("nowhere"));
        let e = folder.check(&[study]).unwrap_err().to_string();
        assert!(e.contains("data.dir = nowhere"), "{e}");
    }

    #[test]
    fn many_missing_files_are_counted_and_ten_shown() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, study) = folder(dir.path());
        let e = folder.check(&[study]).unwrap_err().to_string();
        assert!(e.contains("14 of 14") && e.contains("and 4 more"), "{e}");
        assert_eq!(e.matches("is missing").count(), 10);
    }
}
