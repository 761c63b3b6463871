//! Crops on disk: `{data.dir}/{StudyInstanceUID}_{1..7}_{0..14}.npy`.

use super::{Checked, Error, SliceIndex, SliceSource, Study, first_of};
use crate::augment::resize::resize;
use crate::bounded;
use crate::config::{CHANNELS, VERTEBRAE};
use ndarray::{ArrayView3, ShapeBuilder};
use rayon::prelude::*;
use std::fs::File;
use std::io::{IoSliceMut, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

mod constant;
mod listing;
mod npy;

pub use listing::Listing;
use npy::{HEADER, Header, header, usual};

/// Maximum number of problems in the message of the check.
const SHOWN: usize = 10;

/// Bytes of each of two samples that the check before training reads from a file for the study's
/// fingerprint: one from the middle, where the vertebra is, because two crops may well have equal
/// corners, and one from another place.
const SAMPLE: u64 = 4096;

/// A folder of `.npy` files, each uint8 `[H, W, 6]`; other sizes are resized.
#[derive(Debug, Clone)]
pub struct NpyFolder {
    /// `data.dir`.
    pub dir: PathBuf,
    /// Height and width of every returned slice in pixels.
    pub size: usize,
    /// Number of slices per vertebra.
    pub slices_per_vertebra: usize,
}

impl NpyFolder {
    /// Returns the path of a slice's file. `vertebra`: 0..7 for C1..C7, 1..=7 in the name.
    pub fn path(&self, study: &Study, vertebra: usize, slice: usize) -> PathBuf {
        self.dir.join(format!("{}_{}_{slice}.npy", study.uid, vertebra + 1))
    }

    /// Calls `inspect` for every file of `studies`, in parallel; results are in the order of the studies.
    fn each_file<T: Send>(
        &self,
        studies: &[Study],
        inspect: impl Fn(&Path) -> Result<T, String> + Sync,
    ) -> Vec<Result<T, Error>> {
        let per_study = VERTEBRAE * self.slices_per_vertebra;
        (0..studies.len() * per_study)
            .into_par_iter()
            .map(|i| {
                let study = &studies[i / per_study];
                let at = SliceIndex::of(i % per_study, self.slices_per_vertebra);
                let path = self.path(study, at.vertebra.into(), at.slice.into());
                let study = study.uid.clone();
                inspect(&path).map_err(|problem| Error::Slice { study, at, path, problem })
            })
            .collect()
    }
}

/// Reads a file of `length` bytes into `out`, uint8 `[size, size, 6]` in C order. Allocates at most the
/// bytes of a crop of 4096×4096 pixels, and only if the file is that long.
///
/// Errors: the problem, as the rest of a sentence.
pub fn decode(
    file: &mut (impl Read + Seek),
    length: u64,
    size: usize,
    out: &mut [u8],
) -> Result<(), String> {
    let mut head = [0; HEADER];
    // Fast path for files written by `numpy.save`: reads header and pixels in one call, straight to
    // their place. All other files are read again below, which reports problems.
    if length == (HEADER + out.len()) as u64
        && read_both(file, &mut head, out).is_ok()
        && usual(&head) == Some((size, size))
    {
        return Ok(());
    }
    file.rewind().map_err(unreadable)?;
    let Header { height, width, fortran, start } = header(file, length)?;
    file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
    let mut stored = vec![0; height * width * CHANNELS];
    file.read_exact(&mut stored).map_err(unreadable)?;
    if fortran {
        let shape = (height, width, CHANNELS).f();
        let view = ArrayView3::from_shape(shape, &stored).expect("as long as its shape");
        stored = view.iter().copied().collect();
    }
    resize(&stored, height, width, out, size);
    Ok(())
}

/// Result of the check of a file before training.
struct Inspected {
    height: usize,
    width: usize,
    /// CRC-32 of the file's length, its shape and order, and the two samples of its pixels.
    sum: u32,
}

/// Checks a file without reading all its pixels. Errors: the problem, as the rest of a sentence.
fn inspect(path: &Path) -> Result<Inspected, String> {
    let (mut file, length) = open(path)?;
    let Header { height, width, fortran, start } = header(&mut file, length)?;
    let mut sum = crc32fast::Hasher::new();
    for figure in [length, height as u64, width as u64, u64::from(fortran)] {
        sum.update(&figure.to_le_bytes());
    }
    let beyond = (length - start).saturating_sub(SAMPLE);
    // A different place in each file, so that the files of a study together cover all places.
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let elsewhere = u64::from(crc32fast::hash(name)) % (beyond + 1);
    let mut sample = Vec::with_capacity(SAMPLE as usize);
    for skipped in [beyond / 2, elsewhere] {
        file.seek(SeekFrom::Start(start + skipped)).map_err(unreadable)?;
        sample.clear();
        Read::by_ref(&mut file).take(SAMPLE).read_to_end(&mut sample).map_err(unreadable)?;
        sum.update(&sample);
    }
    Ok(Inspected { height, width, sum: sum.finalize() })
}

/// Opens a file and returns it with its length in bytes.
fn open(path: &Path) -> Result<(File, u64), String> {
    let file = bounded::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "is missing".to_string(),
        _ => unreadable(e),
    })?;
    let length = file.metadata().map_err(unreadable)?.len();
    Ok((file, length))
}

fn unreadable(e: std::io::Error) -> String {
    format!("cannot be read: {e}")
}

/// Fills `head` and then `out` from `file`, with a single system call if that returns everything.
fn read_both(file: &mut impl Read, head: &mut [u8], out: &mut [u8]) -> std::io::Result<()> {
    let n = file.read_vectored(&mut [IoSliceMut::new(head), IoSliceMut::new(out)])?;
    let in_head = n.min(head.len());
    file.read_exact(&mut head[in_head..])?;
    file.read_exact(&mut out[n - in_head..])
}

impl SliceSource for NpyFolder {
    fn slice(&self, study: &Study, at: SliceIndex, out: &mut [u8]) -> Result<(), Error> {
        let (path, study) = (self.path(study, at.vertebra.into(), at.slice.into()), &study.uid);
        let read = open(&path).and_then(|(mut file, n)| decode(&mut file, n, self.size, out));
        read.map_err(|problem| Error::Slice { study: study.clone(), at, path, problem })
    }

    /// Checks every file in parallel: existence, type, shape and length.
    ///
    /// Errors: when `data.dir` cannot be read.
    fn check_each(&self, studies: &[Study]) -> Result<Checked, Error> {
        std::fs::read_dir(&self.dir)
            .map_err(|source| Error::DataDir { dir: self.dir.clone(), source })?;
        let mut checked = Checked::default();
        let mut inspected = self.each_file(studies, inspect).into_iter();
        for study in studies {
            let mut fingerprint = crc32fast::hash(study.uid.as_bytes());
            for slice in inspected.by_ref().take(VERTEBRAE * self.slices_per_vertebra) {
                match slice {
                    Ok(Inspected { height, width, sum }) => {
                        checked.resized += usize::from((height, width) != (self.size, self.size));
                        let sums = [fingerprint.to_le_bytes(), sum.to_le_bytes()];
                        fingerprint = crc32fast::hash(sums.as_flattened());
                    }
                    Err(error) => checked.errors.push(error),
                }
            }
            checked.fingerprints.push(fingerprint);
        }
        Ok(checked)
    }

    fn check(&self, studies: &[Study]) -> Result<Checked, Error> {
        let checked = self.check_each(studies)?;
        if checked.errors.is_empty() {
            return Ok(checked);
        }
        Err(Error::Slices {
            dir: self.dir.clone(),
            total: checked.errors.len(),
            files: studies.len() * VERTEBRAE * self.slices_per_vertebra,
            shown: first_of(&checked.errors, SHOWN),
        })
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
            folder.slice(&study, SliceIndex { vertebra: 0, slice }, &mut out).unwrap();
            assert_eq!(out, image.as_slice().unwrap(), "slice {slice}");
        }
    }

    #[test]
    fn headers_in_other_words_are_read_too() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, study) = folder(dir.path());
        let image = image();
        let pixels = image.as_slice().unwrap();
        let file = |text: &str, length: usize| {
            let mut head = b"\x93NUMPY\x01\x00".to_vec();
            head.extend(((length - 10) as u16).to_le_bytes());
            head.extend(text.as_bytes());
            head.resize(length - 1, b' ');
            head.push(b'\n');
            [&head[..], pixels].concat()
        };
        let numpy = "{'descr': '|u1', 'fortran_order': False, 'shape': (32, 32, 6), }";
        let swapped = "{'shape': (32, 32, 6), 'fortran_order': False, 'descr': '<u1'}";
        let mut out = vec![0; pixels.len()];
        for (text, length) in [(numpy, 128), (numpy, 192), (numpy, 80), (swapped, 128)] {
            let file = file(text, length);
            let fast = file[..HEADER].try_into().ok().and_then(usual);
            assert_eq!(fast, (text == numpy && length == 128).then_some((32, 32)));
            std::fs::write(folder.path(&study, 0, 0), &file).unwrap();
            out.fill(0);
            folder.slice(&study, SliceIndex { vertebra: 0, slice: 0 }, &mut out).unwrap();
            assert!(out == pixels, "{text} of {length} bytes");
        }
    }

    #[test]
    fn a_hostile_header_costs_a_message() {
        let file = |version: u8, length: u32, text: &str| {
            let mut file = b"\x93NUMPY".to_vec();
            file.extend([version, 0]);
            file.extend(&length.to_le_bytes()[..if version == 1 { 2 } else { 4 }]);
            file.extend(text.as_bytes());
            file
        };
        let started = std::time::Instant::now();
        for (bytes, words) in [
            // A backtracking parser takes time exponential in the depth, and a stack as deep.
            (file(1, 60_000, &"{".repeat(60_000)), "its header is not {'descr'"),
            (file(1, 60_000, &"{'descr': ((((".repeat(4286)), "its header is not {'descr'"),
            (file(2, u32::MAX, ""), "its header has 4294967295 bytes, more than 65536"),
            (file(2, 60_000, "{"), "its header is cut short"),
            (file(9, 0, ""), "unknown version 9.0"),
            (
                file(
                    1,
                    78,
                    "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 2, 6)}   ",
                ),
                "its header is not",
            ),
            (
                file(1, 65, "{'descr': '|u1', 'fortran_order': False, 'shape': (4096, 4096, 6)}"),
                "its header is not",
            ),
            (
                file(1, 66, "{'descr': '|u1', 'fortran_order': False, 'shape': (4096, 4096, 6)}"),
                "is truncated: 0 of 100663296 bytes",
            ),
            (
                file(
                    3,
                    73,
                    "{'descr': '|u1', 'fortran_order': True, 'shape': (1L, 2L, 6L, 1, 1,), }\n ",
                ),
                "is uint8 [1, 2, 6, 1, 1]",
            ),
        ] {
            let mut out = vec![0; SIZE * SIZE * CHANNELS];
            let length = bytes.len() as u64;
            let e = decode(&mut std::io::Cursor::new(bytes), length, SIZE, &mut out).unwrap_err();
            assert!(e.contains(words) && e.len() < 300, "{e:?} lacks {words:?}");
        }
        assert!(started.elapsed().as_secs() < 60);
    }

    #[test]
    fn crops_of_another_size_are_resized() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, study) = folder(dir.path());
        // The first has the length of a crop of the right size.
        for (height, width) in [(16, 64), (64, 64), (48, 20)] {
            let image = Array3::from_shape_fn((height, width, CHANNELS), |(y, x, c)| {
                (y * 7 + x * 3 + c * 41) as u8
            });
            write_npy(folder.path(&study, 0, 0), &image).unwrap();
            let mut fortran = Array3::zeros((height, width, CHANNELS).f());
            fortran.assign(&image);
            write_npy(folder.path(&study, 0, 1), &fortran).unwrap();
            let mut want = vec![0; SIZE * SIZE * CHANNELS];
            resize(image.as_slice().unwrap(), height, width, &mut want, SIZE);
            for slice in 0..2 {
                let mut out = vec![0; want.len()];
                folder.slice(&study, SliceIndex { vertebra: 0, slice }, &mut out).unwrap();
                assert!(out == want, "{height} x {width}, slice {slice}");
            }
        }
    }

    #[test]
    fn every_bad_file_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, study) = folder(dir.path());
        for (v, s) in (0..VERTEBRAE).flat_map(|v| [(v, 0), (v, 1)]) {
            write_npy(folder.path(&study, v, s), &image()).unwrap();
        }
        assert_eq!(folder.check(std::slice::from_ref(&study)).unwrap().resized, 0);
        write_npy(folder.path(&study, 0, 0), &ArrayD::<u8>::zeros(IxDyn(&[64, 32, 6]))).unwrap();
        assert_eq!(folder.check(std::slice::from_ref(&study)).unwrap().resized, 1);

        write_npy(folder.path(&study, 0, 0), &ArrayD::<u8>::zeros(IxDyn(&[5000, 1, 6]))).unwrap();
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
            "is uint8 [5000, 1, 6], expected uint8 [H, W, 6], H and W from 1 to 4096",
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
        assert!(folder.slice(&study, SliceIndex { vertebra: 2, slice: 0 }, &mut out).is_err());
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
