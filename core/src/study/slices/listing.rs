//! Lists the studies in a folder of crops by their file names.

use super::NpyFolder;
use crate::config::VERTEBRAE;
use crate::study::{Error, Study};
use std::collections::{BTreeMap, BTreeSet};

/// Contents of a folder of crops.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The studies in the order of their names; labels and folds 0.
    pub studies: Vec<Study>,
    /// Studies whose file names are not UTF-8, with non-ASCII bytes written as `\xNN`: a table cannot
    /// name them.
    pub not_utf8: BTreeSet<String>,
    /// Other `.npy` files, escaped in the same way: their names are not
    /// `{StudyInstanceUID}_{1..7}_{slice}.npy`, and they belong to no listed study.
    pub strange: BTreeSet<String>,
}

impl NpyFolder {
    /// Lists the studies of which the folder has at least one file. Ignores files whose names begin with a
    /// dot: macOS leaves a `._NAME` beside each file that it copies.
    ///
    /// Errors: when the folder cannot be read or contains no study.
    pub fn list(&self) -> Result<Listing, Error> {
        let failed = |source| Error::DataDir { dir: self.dir.clone(), source };
        let mut uids = BTreeSet::new();
        let mut not_utf8 = BTreeSet::new();
        // Study of each file, by file name.
        let mut strange = BTreeMap::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let (bytes, text) = (name.as_encoded_bytes(), name.to_string_lossy());
            if text.starts_with('.') || !text.to_ascii_lowercase().ends_with(".npy") {
                continue;
            }
            let crop = crop(&text);
            match crop.filter(|&(_, slice)| slice < self.slices_per_vertebra) {
                Some((uid, _)) if name.to_str().is_none() => {
                    let end = bytes.len() - (text.len() - uid.len());
                    not_utf8.insert(bytes[..end].escape_ascii().to_string());
                }
                // A study has a hundred files.
                Some((uid, _)) if uids.contains(uid) => {}
                Some((uid, _)) => {
                    uids.insert(uid.to_string());
                }
                None => {
                    let uid = crop.map(|(uid, _)| uid.to_string());
                    strange.insert(bytes.escape_ascii().to_string(), uid);
                }
            }
        }
        if uids.is_empty() && not_utf8.is_empty() {
            return Err(Error::NoCrops { dir: self.dir.clone() });
        }
        strange.retain(|_, uid| !uid.as_ref().is_some_and(|uid| uids.contains(uid)));
        let study = |uid: String| Study { uid: uid.into(), labels: [0; VERTEBRAE], fold: 0 };
        let studies = uids.into_iter().map(study).collect();
        Ok(Listing { studies, not_utf8, strange: strange.into_keys().collect() })
    }
}

/// Splits `{uid}_{1..7}_{slice}.npy` into uid and slice.
fn crop(name: &str) -> Option<(&str, usize)> {
    let mut parts = name.strip_suffix(".npy")?.rsplitn(3, '_');
    let slice = parts.next()?.parse().ok()?;
    let vertebra: usize = parts.next()?.parse().ok()?;
    let uid = parts.next().filter(|uid| (1..=VERTEBRAE).contains(&vertebra) && !uid.is_empty());
    Some((uid?, slice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn every_npy_file_is_of_a_study_or_told() {
        let dir = tempfile::tempdir().unwrap();
        let folder = NpyFolder { dir: dir.path().into(), size: 32, slices_per_vertebra: 15 };
        let put = |name: &OsStr| std::fs::write(dir.path().join(name), "x").unwrap();
        assert!(matches!(folder.list(), Err(Error::NoCrops { .. })));
        for name in [
            "1.2_1_0.npy",
            "1.2_7_14.npy",
            // A slice beyond those that are read.
            "1.2_7_15.npy",
            "a_b_3_2.npy",
            "._1.2_1_0.npy",
            "._9.9_1_0.npy",
            ".hidden_1_0.npy",
            ".DS_Store",
            "train.csv",
            "4.5_8_0.npy",
            "4.6_1_99.npy",
            "4.7_1_0.NPY",
            "4.8-1-0.npy",
            "_1_0.npy",
        ] {
            put(OsStr::new(name));
        }
        let mut not_utf8 = Vec::new();
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            put(OsStr::from_bytes(b"6.\xFF_1_0.npy"));
            put(OsStr::from_bytes(b"6.\xFF_1_1.npy"));
            put(OsStr::from_bytes(b"6.\xFE_1_1.npy"));
            not_utf8.extend(["6.\\xfe", "6.\\xff"].map(String::from));
        }
        let listing = folder.list().unwrap();
        let uids: Vec<&str> = listing.studies.iter().map(|study| &*study.uid).collect();
        assert_eq!(uids, ["1.2", "a_b"]);
        assert_eq!(listing.not_utf8, BTreeSet::from_iter(not_utf8));
        let strange = ["4.5_8_0.npy", "4.6_1_99.npy", "4.7_1_0.NPY", "4.8-1-0.npy", "_1_0.npy"];
        assert_eq!(listing.strange, strange.map(String::from).into());
    }
}
