//! Descriptions of crops without image content.

use super::format;
use crate::run::event::{Constant, ConstantStudy};
use std::collections::BTreeMap;

/// Maximum number of studies kept, whatever a journal contains.
const MOST: usize = 20_000;
/// Studies named in a log line.
const NAMED: usize = 5;

/// Crops without image content that a run has reported.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Constants {
    /// Slices of each vertebra.
    slices_per_vertebra: usize,
    /// Constant slices of C1..C7, by study.
    studies: BTreeMap<String, [usize; 7]>,
}

impl Constants {
    /// Takes in a report. A resumed run may report a study again.
    pub fn add(&mut self, constant: &Constant) {
        self.slices_per_vertebra = constant.slices_per_vertebra;
        for study in &constant.studies {
            if self.studies.len() < MOST || self.studies.contains_key(&study.study) {
                self.studies.insert(study.study.clone(), study.slices);
            }
        }
    }

    /// Whether none was reported.
    pub fn is_empty(&self) -> bool {
        self.studies.is_empty()
    }

    /// Number of constant slices of a study's C1..C7.
    pub fn of(&self, study: &str) -> Option<&[usize; 7]> {
        self.studies.get(study)
    }

    /// Describes the totals.
    pub fn heading(&self) -> String {
        heading(self.studies.values(), self.slices_per_vertebra)
    }

    /// Each study with a description of its constant crops, sorted by study name.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&str, String)> {
        let n = self.slices_per_vertebra;
        self.studies.iter().map(move |(study, slices)| (study.as_str(), crops(slices, n)))
    }
}

/// Formats a report as a log line.
pub fn line(constant: &Constant) -> String {
    let n = constant.slices_per_vertebra;
    let heading = heading(constant.studies.iter().map(|study| &study.slices), n);
    let named = constant.studies.iter().take(NAMED);
    let mut named: Vec<String> = named.map(|study| row(study, n)).collect();
    if constant.studies.len() > NAMED {
        named.push(format!("and {} more", constant.studies.len() - NAMED));
    }
    format!("{heading}: {}; they are trained on all the same", named.join("; "))
}

/// Describes a study's constant crops: `1.2.3 C1, 4 slices of C7`.
pub fn row(study: &ConstantStudy, slices_per_vertebra: usize) -> String {
    let crops = crops(&study.slices, slices_per_vertebra);
    format!("{} {crops}", format::sanitized(&study.study))
}

/// Describes the totals: `crops without a picture, every pixel the same: 3 whole vertebrae and 4
/// other slices, in 2 studies`.
pub fn heading<'a>(
    studies: impl Iterator<Item = &'a [usize; 7]> + Clone,
    slices_per_vertebra: usize,
) -> String {
    let all = || studies.clone().flatten().copied().filter(|&n| n > 0);
    let whole = all().filter(|&n| n >= slices_per_vertebra).count();
    let single: usize = all().filter(|&n| n < slices_per_vertebra).sum();
    let count =
        |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let mut counts = Vec::new();
    if whole > 0 {
        counts.push(count(whole, "whole vertebra", "whole vertebrae"));
    }
    if single > 0 {
        counts.push(count(single, "single slice", "single slices"));
    }
    let studies = count(studies.count(), "study", "studies");
    format!("crops without a picture (every pixel the same): {} in {studies}", counts.join(" and "))
}

/// Describes a study's constant crops: `C1, C2, 3 slices of C7`.
pub fn crops(slices: &[usize; 7], slices_per_vertebra: usize) -> String {
    let constant = (1..).zip(slices).filter(|&(_, &n)| n > 0);
    let words = constant.map(|(vertebra, &n)| match n {
        n if n >= slices_per_vertebra => format!("C{vertebra}"),
        1 => format!("1 slice of C{vertebra}"),
        n => format!("{n} slices of C{vertebra}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_counted_and_named() {
        let study = |i: usize, slices| ConstantStudy { study: format!("s{i}"), slices };
        let mut constant = Constant {
            at: Default::default(),
            slices_per_vertebra: 15,
            studies: vec![study(1, [15, 0, 1, 0, 0, 0, 15]), study(0, [0, 0, 0, 4, 0, 0, 0])],
        };
        let said = line(&constant);
        assert_eq!(
            said,
            "crops without a picture (every pixel the same): 2 whole vertebrae and 5 single slices \
             in 2 studies: s1 C1, 1 slice of C3, C7; s0 4 slices of C4; they are trained on all the \
             same"
        );
        let mut constants = Constants::default();
        constants.add(&constant);
        constants.add(&constant);
        let rows: Vec<_> = constants.rows().collect();
        assert_eq!(rows[0], ("s0", "4 slices of C4".into()));
        assert_eq!((rows.len(), constants.of("s1").unwrap()[6]), (2, 15));
        constant.studies = (0..9).map(|i| study(i, [15, 0, 0, 0, 0, 0, 0])).collect();
        let said = line(&constant);
        assert!(said.contains("9 whole vertebrae in 9 studies: s0 C1;"), "{said}");
        assert!(said.contains("s4 C1; and 4 more;"), "{said}");
    }
}
