//! Metrics that depend only on the order of the scores.

use super::aggregate::finite;

/// Tolerance for the share of negatives at a given specificity: 0.9 has no exact representation.
const ROUNDING: f64 = 1e-9;

/// Scores in descending order, with ties grouped.
#[derive(Debug, Clone)]
pub struct Ranked {
    /// Index of each score, and whether it is positive.
    order: Vec<(u32, bool)>,
    /// End of each group of equal scores.
    ends: Vec<usize>,
    /// Whether a score is NaN, which makes the order meaningless.
    any_nan: bool,
}

/// Metrics computed in one sweep through the scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Area under the ROC curve: the probability that a positive scores higher than a negative, ties
    /// counted half (Mann–Whitney U).
    pub auc: f64,
    /// Σ (Rₙ − Rₙ₋₁)·Pₙ over the thresholds, like scikit-learn's `average_precision_score`.
    pub average_precision: f64,
    /// Maximum sensitivity over the thresholds with at least the requested specificity.
    pub sensitivity: f64,
}

impl Ranked {
    /// Ranks `scores`; `labels`: whether each is positive. If one of them is NaN, there are no metrics.
    pub fn new(scores: &[f64], labels: &[bool]) -> Self {
        let mut order: Vec<(u32, bool)> = (0..).zip(labels.iter().copied()).collect();
        let score = |i: u32| scores[i as usize];
        order.sort_by(|a, b| score(b.0).total_cmp(&score(a.0)));
        let last_of_group =
            |&i: &usize| order.get(i).is_none_or(|next| score(next.0) != score(order[i - 1].0));
        let ends = (1..=order.len()).filter(last_of_group).collect();
        Self { order, ends, any_nan: scores.iter().any(|s| s.is_nan()) }
    }

    /// Calls `each` with the weights of positives and negatives at or above each threshold.
    fn sweep(&self, weights: &[u32], mut each: impl FnMut(f64, f64)) {
        let (mut positives, mut negatives, mut start) = (0u64, 0u64, 0);
        for &end in &self.ends {
            for &(i, positive) in &self.order[start..end] {
                let weight = u64::from(weights[i as usize]);
                if positive { positives += weight } else { negatives += weight }
            }
            start = end;
            each(positives as f64, negatives as f64);
        }
    }

    /// Returns the weights of all positives and all negatives; `None` if a class is missing or a score is
    /// NaN.
    fn totals(&self, weights: &[u32]) -> Option<(f64, f64)> {
        let of = |class| {
            let these = self.order.iter().filter(|o| o.1 == class);
            these.map(|o| u64::from(weights[o.0 as usize])).sum::<u64>() as f64
        };
        let (p, n) = (of(true), of(false));
        (!self.any_nan && p > 0.0 && n > 0.0).then_some((p, n))
    }

    /// Computes the metrics with each score counted `weights` times; `None` if a class is missing or a
    /// score is NaN.
    pub fn figures(&self, weights: &[u32], specificity: f64) -> Option<Figures> {
        let (p, n) = self.totals(weights)?;
        let allowed = (1.0 - specificity) * n + ROUNDING;
        let (mut area, mut precision, mut sensitivity) = (0.0, 0.0, 0.0);
        let (mut tp0, mut fp0) = (0.0, 0.0);
        self.sweep(weights, |tp, fp| {
            area += (fp - fp0) * (tp + tp0) / 2.0;
            if tp > tp0 {
                precision += (tp - tp0) * tp / (tp + fp);
            }
            if fp <= allowed {
                sensitivity = tp / p;
            }
            (tp0, fp0) = (tp, fp);
        });
        Some(Figures { auc: area / (p * n), average_precision: precision / p, sensitivity })
    }

    /// Returns the ROC curve: (1 − specificity, sensitivity) at each threshold, from (0, 0) to (1, 1);
    /// `None` if a class is missing or a score is NaN.
    pub fn roc(&self) -> Option<Vec<(f64, f64)>> {
        let ones = vec![1; self.order.len()];
        let (p, n) = self.totals(&ones)?;
        let mut curve = vec![(0.0, 0.0)];
        self.sweep(&ones, |tp, fp| curve.push((fp / n, tp / p)));
        Some(curve)
    }
}

/// Area under the ROC curve of logits; `None` if a class is missing or a logit is not finite.
pub fn roc_auc(logits: impl IntoIterator<Item = f32>, labels: &[bool]) -> Option<f64> {
    let scores: Vec<f64> = logits.into_iter().map(|x| finite(f64::from(x))).collect();
    let ones = vec![1; labels.len()];
    Ranked::new(&scores, labels).figures(&ones, 0.0).map(|figures| figures.auc)
}
