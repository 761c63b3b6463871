//! `rsna-tui augment`: draws a study as training sees it.

use super::out::{Destination, check_folder, make_folder};
use crate::{
    cli,
    config::Config,
    contact_sheet::{self, ContactSheet},
    print::CommandOutput,
    session,
    study::{Study, Table},
};
use eyre::{Result, bail, eyre};
use std::ops::Range;

/// Epochs per sheet.
const EPOCHS: usize = 4;
/// Number of UIDs suggested if one is not found.
const NAMED: usize = 3;
/// Maximum size of a sheet, in bytes.
const LARGEST: usize = 1 << 30;

/// Draws and writes the sheet, and describes its contents.
pub fn augment(args: &cli::Augment) -> Result<CommandOutput> {
    let config =
        Config::load(session::file_or_default(args.config.as_deref()), false, &args.sets())?;
    let (table, source) = session::data(&config)?;
    let study = find(&table, args.study.as_deref(), &config)?;
    let fold = fold(args.fold, study, &config)?;
    let epochs = epochs(args.epoch, config.train.epochs)?;
    if !(1..=config.images_per_study()).contains(&args.n) {
        let most = config.images_per_study();
        bail!("--n {}: expected 1 to {most}, the slices of a study", args.n);
    }
    let places = contact_sheet::places(args.n, config.data.slices_per_vertebra);
    let sheet = ContactSheet { config: &config, study, fold, epochs: epochs.clone(), places };
    let (width, height) = sheet.size();
    if width * height * 3 > LARGEST {
        bail!("--n {}: the sheet would have {width} × {height} pixels; lower --n", args.n);
    }
    let path = args.out.join(file_name(&study.uid));
    if path.symlink_metadata().is_ok() {
        bail!("{} is already there; remove it or give another folder with --out", path.display());
    }
    source.check(std::slice::from_ref(study))?;
    let png = sheet.png(&*source)?;
    check_folder(&args.out, "augment")?;
    make_folder(&args.out)?;
    Destination::of(&path, true, false)?.write(&png)?;
    let to = epochs.end - 1;
    let said = format!(
        "wrote {} ({width} × {height}): {} of {} slices of {}, raw and as fold {fold} trains on \
         them with seed {} in epoch{}; channels 0 to 2 as red, green and blue, beside the mask",
        path.display(),
        args.n,
        config.images_per_study(),
        study.uid,
        config.seed,
        if to == epochs.start { format!(" {to}") } else { format!("s {} to {to}", epochs.start) },
    );
    Ok(said.into())
}

/// Finds the study `uid`. The error suggests existing ones.
fn find<'a>(table: &'a Table, uid: Option<&str>, config: &Config) -> Result<&'a Study> {
    let studies = &table.studies;
    let place = match config.is_phantom() {
        true => "data.dir = phantom".to_string(),
        false => format!("the table {}", config.data.table.display()),
    };
    let Some(uid) = uid else {
        let (n, plural) = (studies.len(), if studies.len() == 1 { "y" } else { "ies" });
        let first = named(studies.iter());
        bail!(
            "--study is missing: {place} has {n} stud{plural}, the first {first}; give one with --study UID"
        );
    };
    studies.iter().find(|s| &*s.uid == uid).ok_or_else(|| {
        let mut near: Vec<&Study> = studies.iter().collect();
        // A mistyped or truncated UID shares its start and end with the intended one.
        near.sort_by_key(|s| std::cmp::Reverse(shared(&s.uid, uid)));
        let near = named(near.into_iter());
        eyre!("--study {uid}: {place} has no such study; the nearest are {near}")
    })
}

/// Lists the first UIDs.
fn named<'a>(studies: impl Iterator<Item = &'a Study>) -> String {
    studies.take(NAMED).map(|s| &*s.uid).collect::<Vec<_>>().join(", ")
}

/// Counts the letters that two names share at the start and the end.
fn shared(a: &str, b: &str) -> usize {
    let run = |pairs: &mut dyn Iterator<Item = (u8, u8)>| pairs.take_while(|(a, b)| a == b).count();
    run(&mut a.bytes().zip(b.bytes())) + run(&mut a.bytes().rev().zip(b.bytes().rev()))
}

/// Returns the fold whose augmentation is shown: the requested one, or the first that trains on the
/// study.
fn fold(asked: Option<usize>, study: &Study, config: &Config) -> Result<usize> {
    match asked {
        Some(fold) if fold == study.fold => bail!(
            "--fold {fold}: this fold validates on study {}, so it never augments it; \
             give another fold",
            study.uid
        ),
        Some(fold) => Ok(fold),
        None => config.train.folds.iter().copied().find(|f| *f != study.fold).ok_or_else(|| {
            eyre!(
                "train.folds = {:?}: no fold among them trains on study {}, which is of fold {}; \
                 give another one with --fold",
                config.train.folds,
                study.uid,
                study.fold
            )
        }),
    }
}

/// Returns the epochs shown, from `first` on, up to training's last.
fn epochs(first: usize, last: usize) -> Result<Range<usize>> {
    if !(1..=last).contains(&first) {
        bail!("--epoch {first}: expected 1 to train.epochs = {last}");
    }
    Ok(first..(first + EPOCHS).min(last + 1))
}

/// Makes the file name `{uid}.png`, without characters that could lead out of the folder.
fn file_name(uid: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = uid.chars().map(|c| if safe(c) { c } else { '_' }).collect();
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}.png"),
        None => format!("{name}.png"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_becomes_a_file_in_the_folder() {
        assert_eq!(file_name("1.2.826.0"), "1.2.826.0.png");
        assert_eq!(file_name("../a/b\\c d\0é"), "_._a_b_c_d__.png");
        assert_eq!(file_name(".."), "_..png");
        assert_eq!(file_name(""), ".png");
    }

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        let uids = ["1.2.826.0.1.10051", "1.2.826.0.1.10921", "1.2.826.0.1.1363"];
        let nearest = |typed: &str| *uids.iter().max_by_key(|uid| shared(uid, typed)).unwrap();
        assert_eq!(nearest("1.2.826.0.1.10821"), uids[1]);
        assert_eq!(nearest("1363"), uids[2]);
        assert_eq!(nearest("1.2.826.0.1.1005"), uids[0]);
    }

    #[test]
    fn no_more_epochs_than_training_has() {
        assert_eq!(epochs(1, 50).unwrap(), 1..5);
        assert_eq!(epochs(2, 3).unwrap(), 2..4);
        assert_eq!(epochs(7, 7).unwrap(), 7..8);
        assert!(epochs(0, 7).is_err() && epochs(8, 7).is_err());
    }
}
