//! Tests of the loader with sources that mark their slices, fail, panic or sleep.

use super::*;
use crate::config::Set;
use crate::study::{NpyFolder, study_order};
use std::collections::HashMap;
use std::time::Instant;

const WINDOW: usize = 3;
const BATCH: usize = 3;

/// Slices whose pixels encode their identity; some fail or panic.
#[derive(Default)]
struct Marked {
    broken: &'static [&'static str],
    /// Number of failures before a slice of `broken` can be read; 0 = it always fails.
    heals_after: usize,
    panics: Option<&'static str>,
    slow: bool,
    /// Attempts to read each slice.
    tries: Mutex<HashMap<(String, usize, usize), usize>>,
}

impl Marked {
    fn broken(broken: &'static [&'static str]) -> Arc<Self> {
        Arc::new(Self { broken, ..Self::default() })
    }

    /// Number of slices read of the studies whose UIDs begin with `start`.
    fn reads(&self, start: &str) -> usize {
        let tries = self.tries.lock().unwrap();
        tries.iter().filter(|((uid, ..), _)| uid.starts_with(start)).map(|(_, n)| n).sum()
    }
}

fn mark(uid: &str, vertebra: usize, slice: usize) -> u8 {
    (crate::rng::hash(uid) % 149) as u8 + (vertebra * 15 + slice) as u8
}

impl SliceSource for Marked {
    fn slice(&self, s: &Study, at: SliceIndex, out: &mut [u8]) -> Result<(), Error> {
        let (v, i) = (usize::from(at.vertebra), usize::from(at.slice));
        if self.slow {
            std::thread::sleep(Duration::from_millis(5));
        }
        let tried = {
            let mut tries = self.tries.lock().unwrap();
            let tried = tries.entry((s.uid.to_string(), v, i)).or_default();
            *tried += 1;
            *tried
        };
        let heals = self.heals_after > 0 && tried > self.heals_after;
        if self.broken.contains(&s.uid.as_ref()) && !heals {
            let gone = NpyFolder { dir: "gone".into(), size: 32, slices_per_vertebra: 15 };
            return gone.slice(s, at, out);
        }
        assert_ne!(self.panics, Some(s.uid.as_ref()), "told to");
        out.fill(mark(&s.uid, v, i));
        Ok(())
    }
}

fn named(start: &str, n: usize) -> Arc<[Study]> {
    let labels = |i: usize| std::array::from_fn(|v| u8::from((i + v).is_multiple_of(3)));
    (0..n)
        .map(|i| Study { uid: format!("{start}{i}").into(), labels: labels(i), fold: 0 })
        .collect()
}

fn studies(n: usize) -> Arc<[Study]> {
    named("s", n)
}

fn config(sets: &[&str]) -> Config {
    let base = ["data.image_size=32", "train.batch_size=3", "augment.preset=light"];
    let sets: Vec<_> = base.iter().chain(sets).map(|s| Set::new(*s)).collect();
    Config::load(None, false, &sets).unwrap()
}

/// A validation of `n` studies with short delays between attempts.
fn valid(source: Arc<Marked>, n: usize, config: &Config) -> Loader {
    let plan = Plan::new(config, 0, Arc::default(), studies(n), vec![Pass::Valid]);
    Loader::start(source, plan, &[1; 2])
}

/// The first training epoch of `n` studies with short delays between attempts.
fn train(source: Arc<Marked>, n: usize, config: &Config) -> Loader {
    let plan = Plan::new(config, 0, studies(n), Arc::default(), vec![Pass::Train { epoch: 1 }]);
    Loader::start(source, plan, &[1; 2])
}

/// Returns the batches of the current phase.
fn phase(loader: &mut Loader) -> Vec<Batch> {
    loader.by_ref().map(|b| b.unwrap()).collect()
}

fn all(mut loader: Loader) -> Vec<Batch> {
    phase(&mut loader)
}

/// Waits until `so` returns true.
fn wait_for(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: not so");
        std::thread::sleep(Duration::from_millis(1));
    }
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
fn a_batch_is_what_its_keys_make_it() {
    let config = config(&["train.mixup=1.0", "train.vertebra_shuffle=0.5", "data.workers=7"]);
    let (studies, source) = (studies(8), Arc::new(Marked::default()));
    let batches = all(Loader::train(source.clone(), studies.clone(), &config, 2, 5));
    let recipe = crate::study::batch::Recipe::train(&config, 2, 5);
    let order = study_order(config.seed, 2, 5, 8);
    for (number, batch) in batches.iter().enumerate() {
        assert_eq!(batch.mixup, recipe.mixup(number, BATCH));
        for row in 0..BATCH {
            let study = &studies[order[number * BATCH + row]];
            assert_eq!(batch.studies[row], study.uid);
            let places = recipe.places(study);
            assert_eq!(batch.places[row * 105..(row + 1) * 105], places);
            let image = |&place: &SliceIndex| recipe.image(&*source, study, place).unwrap();
            let images: Vec<u8> = places.iter().flat_map(image).collect();
            assert!(*batch.images[row] == *images, "batch {number} row {row}");
        }
    }
}

#[test]
fn training_drops_the_short_batch_and_validation_keeps_it() {
    let source = Arc::new(Marked::default());
    let train = all(Loader::train(source.clone(), studies(8), &config(&[]), 0, 1));
    assert_eq!(train.len(), 2);
    assert!(train.iter().all(|b| b.len() == 3));
    let config = config(&["train.mixup=1.0"]);
    let valid = all(Loader::valid(source.clone(), studies(8), &config));
    assert_eq!(valid.len(), 3);
    let uids: Vec<String> = valid.iter().flat_map(|b| &b.studies).map(|u| u.to_string()).collect();
    assert_eq!(uids, (0..8).map(|i| format!("s{i}")).collect::<Vec<_>>());
    assert_eq!(valid[2].len(), 2);
    assert!(valid.iter().all(|b| b.mixup.is_none()));
    assert_eq!(valid[2].images.iter().map(|i| i.len()).sum::<usize>(), 2 * 105 * 32 * 32 * 6);
    assert_eq!(all(Loader::train(source, studies(2), &config, 0, 1)), []);
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
            assert_eq!(batch.image(i)[0], mark(uid, v, s));
            let study = studies.iter().find(|s| s.uid == *uid).unwrap();
            assert_eq!(batch.targets[i], f32::from(study.labels[v]));
        }
        let straight = batch.places.iter().is_sorted_by_key(|p| (p.vertebra, p.slice));
        assert!(!straight);
    }
}

#[test]
fn the_phases_of_a_fold_come_in_order() {
    for workers in [1, 2, 7] {
        let sets =
            [&format!("data.workers={workers}"), "train.epochs=3", "train.slice_shuffle=0.5"];
        let (config, source) = (config(&sets), Arc::new(Marked::default()));
        let (train, valid) = (named("t", 7), named("v", 4));
        let mut loader =
            Loader::fold(source.clone(), train.clone(), valid.clone(), &config, 1, (2, 0));
        for epoch in 2..=3 {
            let want = all(Loader::train(source.clone(), train.clone(), &config, 1, epoch));
            assert_eq!(want.len(), 2);
            assert!(phase(&mut loader) == want, "epoch {epoch} with {workers} workers");
            let want = all(Loader::valid(source.clone(), valid.clone(), &config));
            assert!(phase(&mut loader) == want, "validation {epoch} with {workers} workers");
        }
        assert!(loader.next().is_none() && loader.next().is_none());
    }
}

#[test]
fn a_fold_goes_on_in_mid_epoch() {
    let config = config(&["data.workers=3", "train.epochs=3", "train.mixup=1"]);
    let (source, train, valid) = (Arc::new(Marked::default()), named("t", 10), named("v", 4));
    let begin = |epoch, done| {
        Loader::fold(source.clone(), train.clone(), valid.clone(), &config, 0, (epoch, done))
    };
    for done in 0..=3 {
        let (mut whole, mut rest) = (begin(2, 0), begin(2, done));
        assert_eq!(rest.taken(), done);
        let want = phase(&mut whole).split_off(done);
        assert!(phase(&mut rest) == want, "{done} batches done");
        for what in ["validation", "epoch 3", "last validation"] {
            assert!(phase(&mut rest) == phase(&mut whole), "{what}, {done} batches done");
        }
        assert!(rest.next().is_none());
    }
}

#[test]
fn the_next_phase_is_begun_before_this_one_ends() {
    let config = config(&["data.workers=2", "data.prefetch=2", "train.epochs=2"]);
    let source = Arc::new(Marked::default());
    let mut loader = Loader::fold(source.clone(), named("t", 6), named("v", 6), &config, 0, (1, 0));
    let (study, batch) = (105, 105 * BATCH);
    let first = loader.next().unwrap().unwrap();
    // The last training batch and the whole validation, but no more.
    wait_for("the validation is read", || source.reads("v") == 2 * batch);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(source.reads(""), 4 * batch);
    drop(first);
    loader.next().unwrap().unwrap();
    assert!(loader.next().is_none());
    loader.next().unwrap().unwrap();
    // One validation batch is ready; the next epoch's two batches are read.
    wait_for("the next epoch is read", || source.reads("t") == 4 * batch);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(source.reads(""), 6 * batch);
    assert!(source.reads("t0") >= study);
}

#[test]
fn the_window_holds_across_phases_and_buffers_are_used_again() {
    for workers in [1, 7] {
        let sets = [&format!("data.workers={workers}"), "data.prefetch=2", "train.epochs=4"];
        let mut loader = Loader::fold(
            Arc::new(Marked::default()),
            named("t", 10),
            named("v", 5),
            &config(&sets),
            0,
            (1, 0),
        );
        let mut batches = 0;
        for _ in 0..8 {
            while let Some(batch) = loader.next() {
                // The trainer holds a batch; give the workers time to fill the window.
                let batch = batch.unwrap();
                std::thread::sleep(Duration::from_millis(2));
                assert!(loader.job.lock().begun.len() <= WINDOW);
                batches += batch.len().min(1);
            }
        }
        assert_eq!(batches, 4 * (3 + 2));
        let made = loader.job.pool.free();
        assert!(made <= (WINDOW + 1) * BATCH, "{made} buffers");
    }
}

#[test]
fn a_slice_is_tried_again() {
    let source = Arc::new(Marked { broken: &["s1"], heals_after: 2, ..Marked::default() });
    let healthy = all(valid(Arc::new(Marked::default()), 3, &config(&[])));
    assert!(all(valid(source.clone(), 3, &config(&[]))) == healthy);
    assert_eq!(source.reads("s1"), 3 * 105);
}

#[test]
fn a_study_that_was_given_up_is_tried_once_a_phase() {
    let config = config(&["data.on_error=skip", "data.workers=1"]);
    let source = Marked::broken(&["s1"]);
    let plan = Plan::new(&config, 0, Arc::default(), studies(3), vec![Pass::Valid; 3]);
    let mut loader = Loader::start(source.clone(), plan, &[1; 2]);
    for _ in 0..3 {
        assert_eq!(phase(&mut loader)[0].len(), 2);
    }
    assert_eq!(source.reads("s1"), 3 + 1 + 1);
    assert_eq!(loader.take_skipped().len(), 3);
}

#[test]
fn an_error_comes_in_its_turn_and_ends_the_epoch() {
    let source = Marked::broken(&["s4", "s5"]);
    let mut loader = valid(source, 9, &config(&["data.workers=4"]));
    assert!(loader.next().unwrap().is_ok());
    let e = loader.next().unwrap().unwrap_err().to_string();
    assert!(e.contains("study s4 C1 slice 0") && e.contains("s4_1_0.npy is missing"), "{e}");
    assert!(e.contains("tried 3 times") && e.contains("data.on_error"), "{e}");
    assert!(loader.next().is_none() && loader.next().is_none());
    assert_eq!(loader.take_skipped(), []);
}

#[test]
fn a_panic_becomes_an_error() {
    for on_error in ["stop", "skip"] {
        let source = Arc::new(Marked { panics: Some("s1"), ..Marked::default() });
        let config = config(&["data.workers=2", &format!("data.on_error={on_error}")]);
        let mut loader = valid(source, 6, &config);
        let e = loader.next().unwrap().unwrap_err().to_string();
        assert!(e.contains("s1") && e.contains("told to"), "{e}");
        assert!(loader.next().is_none());
    }
}

#[test]
fn a_validation_goes_on_without_what_cannot_be_read() {
    let config = config(&["data.on_error=skip", "data.workers=4"]);
    let healthy = all(valid(Arc::new(Marked::default()), 8, &config));
    // One study of the first batch, all of the second.
    let source = Marked::broken(&["s1", "s3", "s4", "s5"]);
    let mut loader = valid(source, 8, &config);
    let first = loader.next().unwrap().unwrap();
    assert_eq!(first.studies, ["s0".into(), "s2".into()]);
    assert!(first.image(105) == healthy[0].image(210) && first.images.len() == 2);
    assert_eq!(first.targets[105..], healthy[0].targets[210..]);
    let skipped = loader.take_skipped();
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].reason.contains("s1_1_0.npy is missing"), "{skipped:?}");
    let last = loader.next().unwrap().unwrap();
    assert!(last == healthy[2]);
    let lost: Vec<_> = loader.take_skipped().into_iter().map(|s| s.study).collect();
    assert_eq!(lost, ["s3".into(), "s4".into(), "s5".into()]);
    assert!(loader.next().is_none());
}

#[test]
fn a_training_batch_is_mixed_over_what_is_left_and_needs_two_studies() {
    let config = config(&["data.on_error=skip", "data.workers=4", "train.mixup=1.0"]);
    let order = study_order(config.seed, 0, 1, 9);
    let healthy = all(train(Arc::new(Marked::default()), 9, &config));
    let name = |i: usize| -> &'static str { format!("s{}", order[i]).leak() };
    // Two studies of the first batch, one of the last.
    let broken = vec![name(0), name(2), name(7)].leak();
    let mut loader = train(Marked::broken(broken), 9, &config);
    let left = phase(&mut loader);
    assert_eq!(left.len(), 2, "one study is no batch");
    assert!(left[0] == healthy[1], "a full batch is what it would have been");
    assert_eq!(left[1].studies, [name(6).into(), name(8).into()]);
    let mixup = left[1].mixup.as_ref().unwrap();
    let mut partner = mixup.partner.clone();
    partner.sort_unstable();
    assert_eq!(partner, [0, 1]);
    assert_eq!(left[1].targets_mixed().unwrap().len(), 210);
    left[1].images_f32(0..210, &mut vec![0.0; 210 * 32 * 32 * 6]);
    assert_eq!(loader.take_skipped().len(), 3);
}

#[test]
fn a_phase_of_which_nothing_is_left_is_an_error() {
    let config = config(&["data.on_error=skip", "train.epochs=2"]);
    let source = Marked::broken(&["v0", "v1"]);
    let passes = vec![Pass::Train { epoch: 1 }, Pass::Valid, Pass::Train { epoch: 2 }];
    let plan = Plan::new(&config, 0, named("t", 3), named("v", 2), passes);
    let mut loader = Loader::start(source, plan, &[]);
    assert_eq!(phase(&mut loader).len(), 1);
    let e = loader.next().unwrap().unwrap_err().to_string();
    assert!(e.contains("no batch of the validation could be made"), "{e}");
    assert!(e.contains("v0_1_0.npy is missing"), "{e}");
    assert_eq!(loader.take_skipped().len(), 2);
    assert!(loader.next().is_none());
}

#[test]
fn dropping_in_mid_phase_stops_at_once() {
    for (take, workers) in [(0, 1), (1, 3), (0, 7)] {
        let source = Arc::new(Marked { slow: true, ..Marked::default() });
        let config = config(&[&format!("data.workers={workers}"), "data.prefetch=1"]);
        let mut loader = Loader::valid(source.clone(), studies(30), &config);
        for _ in 0..take {
            loader.next().unwrap().unwrap();
        }
        drop(loader);
        assert!(source.reads("") < 30 * 105 / 2, "{} slices were read", source.reads(""));
    }
    // The window is full, so the workers sleep.
    let loader = Loader::valid(Arc::new(Marked::default()), studies(30), &config(&[]));
    std::thread::sleep(Duration::from_millis(50));
    drop(loader);
}

#[test]
fn dropping_between_two_tries_stops_at_once() {
    let source = Marked::broken(&["s0", "s1"]);
    let plan =
        Plan::new(&config(&["data.workers=2"]), 0, Arc::default(), studies(6), vec![Pass::Valid]);
    let loader = Loader::start(source.clone(), plan, &[60_000]);
    wait_for("both were tried", || source.reads("") == 2);
    std::thread::sleep(Duration::from_millis(10));
    let start = Instant::now();
    drop(loader);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(source.reads(""), 2);
}

#[test]
fn studies_without_a_picture_are_told_once_whatever_the_workers() {
    // Marked slices are constant, augmented ones are not.
    let config = |workers: usize| {
        config(&[&format!("data.workers={workers}"), "train.epochs=2", "augment.preset=seed"])
    };
    let run = |workers: usize| {
        let (train, valid) = (named("t", 7), named("v", 2));
        let source = Arc::new(Marked::default());
        let mut loader = Loader::fold(source, train, valid, &config(workers), 0, (1, 0));
        let mut constants = Vec::new();
        let mut passes = Vec::new();
        for _ in 0..4 {
            phase(&mut loader);
            let found = loader.take_constant();
            passes.push(found.len());
            constants.extend(found);
        }
        // Each epoch leaves out one of the seven studies, not always the same.
        assert_eq!((passes[0], passes[1], passes[3]), (6, 2, 0));
        constants
    };
    let constants = run(1);
    assert_eq!(constants, run(5));
    let names: HashSet<_> = constants.iter().map(|constant| constant.study.clone()).collect();
    assert_eq!(names.len(), constants.len());
    assert!(constants.iter().all(|constant| constant.slices == [15; 7]));
    let source = Arc::new(crate::study::Phantom::new(32, 15, 0));
    let mut loader = Loader::valid(source, studies(2), &config(1));
    assert_eq!((phase(&mut loader).len(), loader.take_constant()), (1, vec![]));
}
