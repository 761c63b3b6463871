//! A single slice for display: raw, and as augmented for training.

use super::batch::{Recipe, SliceIndex};
use super::{Error, SliceSource, Study};
use crate::augment::Scratch;
use crate::config::Config;

/// Reads the slice at `place` from `source`: uint8 `[size, size, 6]`.
///
/// Errors: when the slice cannot be read.
pub fn raw(
    config: &Config,
    source: &dyn SliceSource,
    study: &Study,
    place: SliceIndex,
) -> Result<Vec<u8>, Error> {
    image(&Recipe::valid(config), source, study, place)
}

/// Returns the slice at `place` as augmented for fold `fold` in `epoch` (from 1), before mixup: uint8
/// `[size, size, 6]`, identical to the pixels of the loader's batch.
///
/// Errors: when the slice cannot be read.
pub fn augmented(
    config: &Config,
    source: &dyn SliceSource,
    study: &Study,
    place: SliceIndex,
    fold: usize,
    epoch: usize,
) -> Result<Vec<u8>, Error> {
    image(&Recipe::train(config, fold, epoch), source, study, place)
}

fn image(
    recipe: &Recipe,
    source: &dyn SliceSource,
    study: &Study,
    place: SliceIndex,
) -> Result<Vec<u8>, Error> {
    let mut image = vec![0; recipe.image_bytes()];
    let read =
        |vertebra, slice, out: &mut [u8]| source.slice(study, vertebra, slice, out).map(|()| true);
    recipe.images(study, &[place], &mut image, &mut Scratch::default(), read)?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Set;
    use crate::study::{Loader, Phantom};
    use std::sync::Arc;

    #[test]
    fn a_look_is_what_the_loader_gives() {
        let sets = ["data.image_size=32", "train.batch_size=2", "data.slices_per_vertebra=3"];
        let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
        let table = Phantom::table(3, 3, 0);
        let (train, valid) = table.split(1);
        let source: Arc<dyn SliceSource> = Arc::new(Phantom::new(32, 3, 0));
        let mut changed = 0;
        for epoch in [1, 2] {
            let mut loader = Loader::train(source.clone(), train.clone().into(), &config, 1, epoch);
            let batch = loader.next().unwrap().unwrap();
            for (i, &place) in batch.places.iter().enumerate() {
                let uid = &batch.studies[i / batch.images_per_study];
                let study = train.iter().find(|s| s.uid == *uid).unwrap();
                let got = augmented(&config, &*source, study, place, 1, epoch).unwrap();
                assert!(got == *batch.image(i), "epoch {epoch}: {i}");
                changed += usize::from(got != raw(&config, &*source, study, place).unwrap());
            }
        }
        assert!(changed > 40, "{changed} of 84 slices were augmented");

        let valid: Arc<[Study]> = valid.into();
        let batch = Loader::valid(source.clone(), valid.clone(), &config).next().unwrap().unwrap();
        for (i, &place) in batch.places.iter().enumerate() {
            let got = raw(&config, &*source, &valid[0], place).unwrap();
            assert!(got == *batch.image(i), "{i}");
        }
    }
}
