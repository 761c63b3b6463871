//! The figures that the Curves view can draw.

use super::*;

/// The figure in the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Figure {
    /// The losses for training and for selecting `best`.
    #[default]
    Loss,
    /// Both heads' losses, comparable between training and validation.
    Heads,
    /// The learning rate.
    Rate,
    /// L2 norm of the gradients.
    Gradient,
    /// Areas under the ROC curves.
    Auc,
    /// The competition's metric.
    Competition,
}

impl Figure {
    pub(super) const ALL: [Self; 6] =
        [Self::Loss, Self::Heads, Self::Rate, Self::Gradient, Self::Auc, Self::Competition];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Heads => "loss by head",
            Self::Rate => "learning rate",
            Self::Gradient => "gradient norm",
            Self::Auc => "ROC AUC",
            Self::Competition => "competition metric",
        }
    }

    pub(super) fn label(self) -> fn(f64) -> String {
        match self {
            Self::Rate => format::learning_rate,
            _ => format::short_loss,
        }
    }
}
