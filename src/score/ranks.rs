//! Figures that depend on the order of the scores alone.

use super::aggregate::finite;

/// Slack for the share of negatives that a specificity stands for: 0.9 is no exact number.
const ROUNDING: f64 = 1e-9;

/// Scores in falling order, ties together.
#[derive(Debug, Clone)]
pub struct Ranked {
    /// Index of a score and whether it is positive.
    order: Vec<(u32, bool)>,
    /// Where each group of equal scores ends.
    ends: Vec<usize>,
    /// Whether a score is NaN: nothing can be said of the order then.
    any_nan: bool,
}

/// Of one sweep through the scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Area under the ROC curve: of a positive and a negative, how often the positive scores higher,
    /// ties counted half (Mann–Whitney U).
    pub auc: f64,
    /// Σ (Rₙ − Rₙ₋₁)·Pₙ over the thresholds, as scikit-learn's `average_precision_score`.
    pub average_precision: f64,
    /// The highest sensitivity of a threshold with at least the specificity asked for.
    pub sensitivity: f64,
}

impl Ranked {
    /// `scores` and whether each is positive. With a NaN among them there are no figures.
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

    /// Weights of all positives and all negatives; `None` where a class is missing or a score is
    /// NaN.
    fn totals(&self, weights: &[u32]) -> Option<(f64, f64)> {
        let of = |class| {
            let these = self.order.iter().filter(|o| o.1 == class);
            these.map(|o| u64::from(weights[o.0 as usize])).sum::<u64>() as f64
        };
        let (p, n) = (of(true), of(false));
        (!self.any_nan && p > 0.0 && n > 0.0).then_some((p, n))
    }

    /// The figures where each score counts `weights` times; `None` where a class is missing or a
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

    /// The ROC curve: (1 − specificity, sensitivity) at each threshold, from (0, 0) to (1, 1);
    /// `None` where a class is missing or a score is NaN.
    pub fn roc(&self) -> Option<Vec<(f64, f64)>> {
        let ones = vec![1; self.order.len()];
        let (p, n) = self.totals(&ones)?;
        let mut curve = vec![(0.0, 0.0)];
        self.sweep(&ones, |tp, fp| curve.push((fp / n, tp / p)));
        Some(curve)
    }
}

/// Area under the ROC curve of logits; `None` where a class is missing or one is not finite.
pub fn roc_auc(logits: impl IntoIterator<Item = f32>, labels: &[bool]) -> Option<f64> {
    let scores: Vec<f64> = logits.into_iter().map(|x| finite(f64::from(x))).collect();
    let ones = vec![1; labels.len()];
    Ranked::new(&scores, labels).figures(&ones, 0.0).map(|figures| figures.auc)
}
