//! The loader with sources that mark, fail, panic or sleep.

use super::*;
use crate::config::Set;
use crate::study::NpyFolder;
use std::time::{Duration, Instant};

/// Slices that say in each pixel which they are; fails or panics where told to.
#[derive(Default)]
struct Marked {
    broken: Option<&'static str>,
    panics: Option<&'static str>,
    slow: bool,
}

fn mark(uid: &str, vertebra: usize, slice: usize) -> u8 {
    (crate::rng::hash(uid) % 149) as u8 + (vertebra * 15 + slice) as u8
}

impl Source for Marked {
    fn slice(&self, s: &Study, v: usize, i: usize, out: &mut [u8]) -> Result<(), Error> {
        if self.slow {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.broken == Some(s.uid.as_ref()) {
            let gone = NpyFolder { dir: "gone".into(), size: 32, slices_per_vertebra: 15 };
            return gone.slice(s, v, i, out);
        }
        assert_ne!(self.panics, Some(s.uid.as_ref()), "told to");
        out.fill(mark(&s.uid, v, i));
        Ok(())
    }
}

fn studies(n: usize) -> Arc<[Study]> {
    let labels = |i: usize| std::array::from_fn(|v| u8::from((i + v).is_multiple_of(3)));
    (0..n).map(|i| Study { uid: format!("s{i}").into(), labels: labels(i), fold: 0 }).collect()
}

fn config(sets: &[&str]) -> Config {
    let mut sets: Vec<_> = sets.iter().map(|s| Set::new(*s)).collect();
    sets.extend(["data.image_size=32", "train.batch_size=3"].map(Set::new));
    Config::load(None, false, &sets).unwrap()
}

fn all(loader: Loader) -> Vec<Batch> {
    loader.map(|b| b.unwrap()).collect()
}

#[test]
fn the_same_batches_whatever_the_workers() {
    let run = |workers: usize, prefetch: usize, epoch: usize| {
        let config = config(&[
            &format!("data.workers={workers}"),
            &format!("data.prefetch={prefetch}"),
            "train.vertebra_shuffle=0.5",
            "train.slice_shuffle=0.5",
        ]);
        all(Loader::train(Arc::new(Marked::default()), studies(11), &config, 0, epoch))
    };
    let one = run(1, 2, 1);
    assert!(one == run(2, 1, 1) && one == run(7, 3, 1));
    assert!(one != run(1, 2, 2));
}

#[test]
fn training_drops_the_short_batch_and_validation_keeps_it() {
    let source = Arc::new(Marked::default());
    let train = Loader::train(source.clone(), studies(8), &config(&[]), 0, 1);
    assert_eq!(train.len(), 2);
    let train = all(train);
    assert!(train.iter().all(|b| b.len() == 3));
    let valid = Loader::valid(source.clone(), studies(8), &config(&["train.mixup=1.0"]));
    assert_eq!(valid.len(), 3);
    let valid = all(valid);
    let uids: Vec<String> = valid.iter().flat_map(|b| &b.studies).map(|u| u.to_string()).collect();
    assert_eq!(uids, (0..8).map(|i| format!("s{i}")).collect::<Vec<_>>());
    assert_eq!(valid[2].len(), 2);
    assert!(valid.iter().all(|b| b.mixup.is_none()));
    assert_eq!(valid[2].images.len(), 2 * 105 * 32 * 32 * 6);
    assert_eq!(all(Loader::train(source, studies(2), &config(&[]), 0, 1)), []);
}

#[test]
fn pixels_targets_and_places_move_together() {
    let config =
        config(&["train.vertebra_shuffle=1.0", "train.slice_shuffle=1.0", "augment.preset=none"]);
    let studies = studies(6);
    for batch in all(Loader::train(Arc::new(Marked::default()), studies.clone(), &config, 1, 4)) {
        for (i, place) in batch.places.iter().enumerate() {
            let uid = &batch.studies[i / 105];
            let (v, s) = (usize::from(place.vertebra), usize::from(place.slice));
            assert_eq!(batch.images[i * 32 * 32 * 6], mark(uid, v, s));
            let study = studies.iter().find(|s| s.uid == *uid).unwrap();
            assert_eq!(batch.targets[i], f32::from(study.labels[v]));
        }
        let straight = batch.places.iter().is_sorted_by_key(|p| (p.vertebra, p.slice));
        assert!(!straight);
    }
}

#[test]
fn an_error_comes_in_its_turn_and_ends_the_epoch() {
    let source = Arc::new(Marked { broken: Some("s4"), ..Marked::default() });
    let mut loader = Loader::valid(source, studies(9), &config(&["data.workers=4"]));
    assert!(loader.next().unwrap().is_ok());
    let e = loader.next().unwrap().unwrap_err().to_string();
    assert!(e.contains("study s4 C1 slice 0") && e.contains("s4_1_0.npy"), "{e}");
    assert!(loader.next().is_none());
}

#[test]
fn a_panic_becomes_an_error() {
    let source = Arc::new(Marked { panics: Some("s1"), ..Marked::default() });
    let mut loader = Loader::valid(source, studies(6), &config(&["data.workers=2"]));
    let e = loader.next().unwrap().unwrap_err().to_string();
    assert!(e.contains("s1") && e.contains("told to"), "{e}");
    assert!(loader.next().is_none());
}

#[test]
fn dropping_in_mid_epoch_stops_at_once() {
    for (take, workers) in [(0, 1), (1, 3), (0, 7)] {
        let source = Arc::new(Marked { slow: true, ..Marked::default() });
        let config = config(&[&format!("data.workers={workers}"), "data.prefetch=1"]);
        let mut loader = Loader::valid(source, studies(30), &config);
        for _ in 0..take {
            loader.next().unwrap().unwrap();
        }
        let start = Instant::now();
        drop(loader);
        assert!(start.elapsed() < Duration::from_millis(250), "{:?}", start.elapsed());
    }
    // A full window: workers asleep.
    let loader = Loader::valid(Arc::new(Marked::default()), studies(30), &config(&[]));
    std::thread::sleep(Duration::from_millis(50));
    drop(loader);
}

#[test]
fn no_more_batches_than_the_window_are_begun() {
    let config = config(&["data.workers=7", "data.prefetch=2"]);
    let mut loader = Loader::valid(Arc::new(Marked::default()), studies(60), &config);
    loader.next().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(60));
    assert!(loader.job.lock().begun.len() <= 3);
}
