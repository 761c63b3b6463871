//! Figures of merit on the host.

use super::loss::{bce_with_logits, weight};

/// Area under the ROC curve by ranks (Mann–Whitney U), ties counted half; `None` where a class
/// is missing or a score is NaN.
pub fn roc_auc(scores: &[f32], targets: &[f32]) -> Option<f64> {
    if scores.iter().any(|s| s.is_nan()) {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let positives = targets.iter().filter(|&&t| t > 0.5).count() as f64;
    let negatives = targets.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let mut rank_sum = 0.0;
    let mut i = 0;
    while i < order.len() {
        let ties = order[i..].iter().take_while(|&&k| scores[k] == scores[order[i]]).count();
        let mean_rank = i as f64 + (ties as f64 + 1.0) / 2.0;
        let tied_positives = order[i..i + ties].iter().filter(|&&k| targets[k] > 0.5).count();
        rank_sum += mean_rank * tied_positives as f64;
        i += ties;
    }
    Some((rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

/// Weighted slice loss of each vertebra, summed up over batches.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VertebraLoss {
    loss: [f64; 7],
    weight: [f64; 7],
}

impl VertebraLoss {
    /// Adds slices: `vertebrae` 0..7, each counted `share` (1 unless mixed up).
    pub fn add(
        &mut self,
        logits: &[f32],
        targets: &[f32],
        vertebrae: impl Iterator<Item = usize>,
        positive: f64,
        share: f64,
    ) {
        for ((&x, &y), v) in logits.iter().zip(targets).zip(vertebrae) {
            let w = share * weight(y, positive);
            self.loss[v] += w * bce_with_logits(f64::from(x), f64::from(y));
            self.weight[v] += w;
        }
    }

    /// Mean loss of C1..C7; `None` where there was no slice.
    pub fn means(&self) -> [Option<f64>; 7] {
        std::array::from_fn(|v| (self.weight[v] > 0.0).then(|| self.loss[v] / self.weight[v]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_by_hand() {
        let t = [0.0, 0.0, 1.0, 1.0];
        assert_eq!(roc_auc(&[0.1, 0.4, 0.35, 0.8], &t), Some(0.75));
        assert_eq!(roc_auc(&[0.0, 0.0, 0.0, 0.0], &t), Some(0.5));
        assert_eq!(roc_auc(&[1.0, 2.0, 3.0, 4.0], &t), Some(1.0));
        assert_eq!(roc_auc(&[1.0, 2.0], &[1.0, 1.0]), None);
        assert_eq!(roc_auc(&[f32::NAN, 2.0], &[0.0, 1.0]), None);
    }

    #[test]
    fn vertebra_losses_are_weighted_means() {
        let mut v = VertebraLoss::default();
        v.add(&[0.0, 0.0, 3.0], &[1.0, 0.0, 1.0], [0, 0, 6].into_iter(), 2.0, 1.0);
        let means = v.means();
        assert!((means[0].unwrap() - std::f64::consts::LN_2).abs() < 1e-12);
        assert!((means[6].unwrap() - bce_with_logits(3.0, 1.0)).abs() < 1e-12);
        assert_eq!(means[3], None);
    }
}
