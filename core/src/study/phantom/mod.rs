//! Phantom studies: drawn axial sections of neck vertebrae with simple fractures. For the demo and
//! the tests; they have no medical meaning.

mod anatomy;
mod level;
mod lookalike;
mod volume;

use super::{Checked, Error, SliceIndex, SliceSource, Study, Table};
use crate::config::{CHANNELS, Difficulty, VERTEBRAE};
use crate::rng::{Key, Purpose, hash};
use level::Level;
use ndarray::ArrayView3;
use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use volume::Volume;

/// Share of studies with a fracture of C1..C7 in the competition.
const PREVALENCE: [f64; VERTEBRAE] = [0.07, 0.14, 0.04, 0.05, 0.08, 0.14, 0.19];
/// Maximum bytes of drawn vertebrae in the cache; older ones are drawn again when needed.
const CACHE: usize = 1 << 30;

/// A source of drawn slices, which depend only on seed, study, vertebra and label.
pub struct Phantom {
    size: usize,
    slices_per_vertebra: usize,
    seed: u64,
    level: &'static Level,
    cache: Mutex<Cache>,
}

/// Key of a cached vertebra: the study's hash, the vertebra, and whether it is fractured.
type Drawn = (u64, usize, bool);

#[derive(Default)]
struct Cache {
    volumes: HashMap<Drawn, Arc<OnceLock<Volume>>>,
    /// Keys from oldest to newest.
    order: VecDeque<Drawn>,
}

impl Phantom {
    /// Creates a source whose fractures are easy to see. `size`: height and width in pixels;
    /// `slices_per_vertebra`: 15 in the competition's crops.
    pub fn new(size: usize, slices_per_vertebra: usize, seed: u64) -> Self {
        let level = Level::of(Difficulty::Easy);
        Self { size, slices_per_vertebra, seed, level, cache: Mutex::default() }
    }

    /// Changes how hard fractures are to see; labels, shapes and places stay the same.
    pub fn of_difficulty(self, difficulty: Difficulty) -> Self {
        Self { level: Level::of(difficulty), ..self }
    }

    /// Makes a table of `n` studies `phantom.0000`, … in `folds` folds of about equal size.
    ///
    /// Each level is fractured about as often as in the competition, and at least once. The fractures are
    /// dealt out to the folds in turn, and to only half of each fold's studies. So even with few studies,
    /// every fold has studies with and without fractures.
    pub fn table(n: usize, folds: usize, seed: u64) -> Table {
        let folds = folds.clamp(1, n.max(1));
        let mut rng = Key::new(seed, Purpose::Phantom).rng();
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut rng);
        let mut studies: Vec<Study> = (0..n)
            .map(|i| Study { uid: format!("phantom.{i:04}").into(), labels: [0; 7], fold: 0 })
            .collect();
        for (i, &study) in order.iter().enumerate() {
            studies[study].fold = i % folds;
        }
        // Half of each fold's studies may be fractured, at least one.
        let fractured: Vec<Vec<usize>> = (0..folds)
            .map(|fold| {
                let of: Vec<usize> = order.iter().copied().skip(fold).step_by(folds).collect();
                of[..of.len().div_ceil(2)].to_vec()
            })
            .collect();
        let room: usize = fractured.iter().map(Vec::len).sum();
        let mut turn = 0;
        for (level, share) in PREVALENCE.iter().enumerate() {
            let count = ((n as f64 * share).round() as usize).max(1).min(room);
            let mut dealt = 0;
            while dealt < count {
                let free =
                    fractured[turn % folds].iter().filter(|s| studies[**s].labels[level] == 0);
                // Pick the study with the fewest fractures, so that all get one before any gets two.
                let next = free
                    .min_by_key(|s| (studies[**s].labels.iter().sum::<u8>(), rng.random::<u32>()));
                if let Some(&study) = next {
                    studies[study].labels[level] = 1;
                    dealt += 1;
                }
                turn += 1;
            }
        }
        Table { studies }
    }

    /// Writes `n` studies to `OUT/crops/*.npy`, each uint8 `[size, size, 6]`, and their table to
    /// `OUT/train_seg.csv`.
    ///
    /// Errors: when `out` exists and is not empty, the sizes cannot be drawn, or a file cannot be
    /// written.
    pub fn write(&self, out: &Path, n: usize, folds: usize) -> Result<Table, Error> {
        let must = |ok: bool, what, value, expected| match ok {
            true => Ok(()),
            false => Err(Error::Phantom { what, value, expected }),
        };
        must((32..=512).contains(&self.size), "size", self.size, "32 to 512 pixels")?;
        must((1..=100_000).contains(&n), "studies", n, "1 to 100000")?;
        must((1..=n).contains(&folds), "folds", folds, "1 to the number of studies")?;
        let failed = |path: &Path, reason: String| Error::Write { path: path.into(), reason };
        match std::fs::read_dir(out) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(Error::Occupied { path: out.into() });
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(out, e.to_string())),
        }
        let crops = out.join("crops");
        std::fs::create_dir_all(&crops).map_err(|e| failed(&crops, e.to_string()))?;

        let table = Self::table(n, folds, self.seed);
        let shape = (self.size, self.size, CHANNELS);
        (0..n * VERTEBRAE).into_par_iter().try_for_each(|i| {
            let (study, vertebra) = (&table.studies[i / VERTEBRAE], i % VERTEBRAE);
            let volume = self.draw(study, vertebra);
            let mut image = vec![0; self.size * self.size * CHANNELS];
            for slice in 0..self.slices_per_vertebra {
                volume.slice(slice, &mut image);
                let path = crops.join(format!("{}_{}_{slice}.npy", study.uid, vertebra + 1));
                let view = ArrayView3::from_shape(shape, &image).expect("as long as its shape");
                ndarray_npy::write_npy(&path, &view).map_err(|e| failed(&path, e.to_string()))?;
            }
            Ok(())
        })?;
        table.write(&out.join("train_seg.csv"))?;
        Ok(table)
    }

    fn draw(&self, study: &Study, vertebra: usize) -> Volume {
        let key = Key::new(self.seed, Purpose::Phantom).study(hash(&study.uid));
        let what = (vertebra, study.labels[vertebra] == 1);
        // The table uses the stream of slice 0 of study 0; a study's hash is never 0.
        let mut rng = key.slice(vertebra).rng();
        Volume::draw(self.size, self.slices_per_vertebra, self.level, what, &mut rng)
    }

    /// Returns the vertebra's entry in the cache, and adds it if necessary.
    fn cached(&self, drawn: Drawn) -> Arc<OnceLock<Volume>> {
        let most = (CACHE / Volume::bytes(self.size, self.slices_per_vertebra)).max(1);
        let mut guard = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = &mut *guard;
        if let Some(volume) = cache.volumes.get(&drawn) {
            return volume.clone();
        }
        if cache.order.len() >= most
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.volumes.remove(&oldest);
        }
        cache.order.push_back(drawn);
        cache.volumes.entry(drawn).or_default().clone()
    }
}

impl SliceSource for Phantom {
    fn slice(&self, study: &Study, at: SliceIndex, out: &mut [u8]) -> Result<(), Error> {
        let vertebra = usize::from(at.vertebra);
        let drawn = (hash(&study.uid), vertebra, study.labels[vertebra] == 1);
        // Draw outside the cache's lock, so that other vertebrae need not wait.
        self.cached(drawn).get_or_init(|| self.draw(study, vertebra)).slice(at.slice.into(), out);
        Ok(())
    }

    /// There is nothing to check: a fingerprint covers the inputs that the study is drawn from.
    fn check_each(&self, studies: &[Study]) -> Result<Checked, Error> {
        let Self { size: _, slices_per_vertebra, seed, level, cache: _ } = self;
        let drawn_from =
            |study: &Study| format!("{} {slices_per_vertebra} {seed} {level:?}", study.uid);
        let sum = |study: &Study| crc32fast::hash(drawn_from(study).as_bytes());
        Ok(Checked { fingerprints: studies.iter().map(sum).collect(), ..Checked::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::{NpyFolder, prevalence};

    fn slice(phantom: &Phantom, study: &Study, vertebra: usize, slice: usize) -> Vec<u8> {
        let mut out = vec![0; phantom.size * phantom.size * CHANNELS];
        phantom.slice(study, SliceIndex::of(vertebra * 15 + slice, 15), &mut out).unwrap();
        out
    }

    fn study(labels: [u8; 7]) -> Study {
        Study { uid: "phantom.0001".into(), labels, fold: 0 }
    }

    #[test]
    fn the_same_key_draws_the_same_and_another_another() {
        let draw = |seed, labels, vertebra| {
            slice(&Phantom::new(32, 15, seed), &study(labels), vertebra, 7)
        };
        let a = draw(1, [0; 7], 3);
        assert_eq!(a, draw(1, [0; 7], 3));
        assert_ne!(a, draw(2, [0; 7], 3));
        assert_ne!(a, draw(1, [0; 7], 4));
        assert_ne!(a, draw(1, [1; 7], 3));
        assert_eq!(a, draw(1, [1, 1, 1, 0, 1, 1, 1], 3));
    }

    #[test]
    fn channels_are_planes_of_one_volume() {
        let phantom = Phantom::new(32, 15, 0);
        let study = study([0; 7]);
        let channel =
            |i: usize, c: usize| slice(&phantom, &study, 2, i).into_iter().skip(c).step_by(6);
        for i in 0..14 {
            assert!(channel(i, 3).eq(channel(i + 1, 2)), "slice {i}");
        }
        let mask: Vec<u8> = channel(7, 5).collect();
        assert!(mask.iter().all(|m| [0, 255].contains(m)));
        let share = mask.iter().filter(|m| **m > 0).count() as f64 / mask.len() as f64;
        assert!((0.08..0.5).contains(&share), "{share}");
    }

    #[test]
    fn fractures_are_dark_gaps_in_most_slices() {
        let phantom = Phantom::new(64, 15, 5);
        let dark = |labels, v, s| {
            let image = slice(&phantom, &study(labels), v, s);
            let pixels = image.as_chunks::<6>().0;
            pixels.iter().filter(|p| p[2] < 62).count()
        };
        for v in 0..7 {
            let seen = |labels| (0..15).filter(|&s| dark(labels, v, s) >= 12).count();
            assert_eq!(seen([0; 7]), 0, "C{} whole", v + 1);
            assert!(seen([1; 7]) >= 12, "C{} fractured: {}", v + 1, seen([1; 7]));
        }
    }

    #[test]
    fn a_difficulty_changes_what_is_seen_and_not_what_is_there() {
        let draw = |difficulty, labels: [u8; 7], v| {
            slice(&Phantom::new(32, 5, 4).of_difficulty(difficulty), &study(labels), v, 2)
        };
        let all = [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard];
        for v in 0..7 {
            for labels in [[0; 7], [1; 7]] {
                let [easy, medium, hard] = all.map(|difficulty| draw(difficulty, labels, v));
                assert_eq!(easy, slice(&Phantom::new(32, 5, 4), &study(labels), v, 2));
                assert_eq!(hard, draw(Difficulty::Hard, labels, v));
                assert!(easy != medium && medium != hard);
                let mask = |image: &[u8]| image.iter().skip(5).step_by(6).copied().collect();
                let masks: [Vec<u8>; 3] = [mask(&easy), mask(&medium), mask(&hard)];
                // A fragment slides less far; nothing else moves.
                let moved = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a != b).count();
                let most = if labels[v] == 0 { 0 } else { 40 };
                assert!(masks[1..].iter().all(|mask| moved(&masks[0], mask) <= most));
            }
        }
    }

    /// Probability that a fractured vertebra has more black pixels than an intact one; ties count half.
    fn auc_of_black_pixels(difficulty: Difficulty) -> f64 {
        let phantom = Phantom::new(64, 3, 7).of_difficulty(difficulty);
        let black = |labels, i: usize| {
            let study = Study { uid: format!("phantom.{i:04}").into(), labels, fold: 0 };
            let image = slice(&phantom, &study, i % 7, 1);
            image.as_chunks::<6>().0.iter().filter(|p| p[2] < 62).count()
        };
        let of = |labels| (0..28).map(|i| black(labels, i)).collect::<Vec<_>>();
        let (fractured, whole) = (of([1; 7]), of([0; 7]));
        let pairs = fractured.iter().flat_map(|f| whole.iter().map(move |w| f.cmp(w)));
        let won: f64 = pairs.map(|order| (order as i8 + 1) as f64 / 2.0).sum();
        won / (fractured.len() * whole.len()) as f64
    }

    #[test]
    fn counting_black_pixels_finds_easy_fractures_and_hardly_a_hard_one() {
        assert_eq!(auc_of_black_pixels(Difficulty::Easy), 1.0);
        let [medium, hard] = [Difficulty::Medium, Difficulty::Hard].map(auc_of_black_pixels);
        assert!((0.9..1.0).contains(&medium), "{medium}");
        assert!((0.45..0.8).contains(&hard), "{hard}");
    }

    #[test]
    fn labels_come_as_often_as_in_the_competition() {
        for (n, folds) in [(16, 2), (48, 5), (96, 4), (500, 5)] {
            let table = Phantom::table(n, folds, 3);
            assert_eq!(table, Phantom::table(n, folds, 3));
            assert_ne!(table, Phantom::table(n, folds, 4));
            for (level, share) in PREVALENCE.iter().enumerate() {
                let count = table.studies.iter().filter(|s| s.labels[level] == 1).count();
                assert!(count >= 1 && (count as f64 - n as f64 * share).abs() <= 1.0);
            }
            for fold in 0..folds {
                let (_, valid) = table.split(fold);
                assert!(valid.len().abs_diff(n / folds) <= 1);
                let (slices, fractured) = prevalence(&valid);
                assert!(slices > 0.0 && (0.2..0.8).contains(&fractured), "{fractured}");
            }
        }
        assert_eq!(Phantom::table(0, 3, 0).studies, []);
        assert_eq!(Phantom::table(1, 3, 0).studies.len(), 1);
    }

    #[test]
    fn what_is_written_reads_back_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new");
        let phantom = Phantom::new(32, 3, 9);
        let table = phantom.write(&out, 2, 2).unwrap();
        assert_eq!(Table::read(&out.join("train_seg.csv")).unwrap(), table);
        let folder = NpyFolder { dir: out.join("crops"), size: 32, slices_per_vertebra: 3 };
        folder.check(&table.studies).unwrap();
        let mut read = vec![0; 32 * 32 * 6];
        folder.slice(&table.studies[1], SliceIndex { vertebra: 6, slice: 2 }, &mut read).unwrap();
        assert_eq!(read, slice(&phantom, &table.studies[1], 6, 2));

        let e = phantom.write(&out, 2, 2).unwrap_err().to_string();
        assert!(e.contains("not empty") && e.contains("new"), "{e}");
        let e = Phantom::new(16, 3, 9).write(&out, 2, 2).unwrap_err().to_string();
        assert!(e.contains("size = 16"), "{e}");
    }
}
