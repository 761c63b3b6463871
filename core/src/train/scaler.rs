//! `torch.cuda.amp.GradScaler` with the notebook's settings: with f16 the loss is scaled up before
//! the backward pass, so that small gradients do not vanish, and the gradients are scaled down after it.

/// Scale of the loss, and its adjustment.
///
/// Formulas: <https://pytorch.org/docs/stable/amp.html#gradient-scaling>.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaler {
    /// Factor of the loss.
    pub scale: f64,
    /// Good steps since the scale last changed.
    pub good_steps: u64,
}

/// Factor of the scale after `INTERVAL` consecutive good steps.
const GROWTH: f64 = 2.0;
/// Consecutive good steps before the scale grows.
const INTERVAL: u64 = 2000;
/// Factor of the scale after a gradient that is not finite.
const BACKOFF: f64 = 0.5;

impl Default for Scaler {
    /// PyTorch's initial scale.
    fn default() -> Self {
        Self { scale: 65536.0, good_steps: 0 }
    }
}

impl Scaler {
    /// Updates the scale after a step. `finite`: whether all its gradients were finite.
    pub fn update(&mut self, finite: bool) {
        if !finite {
            *self = Self { scale: self.scale * BACKOFF, good_steps: 0 };
            return;
        }
        self.good_steps += 1;
        if self.good_steps == INTERVAL {
            *self = Self { scale: self.scale * GROWTH, good_steps: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_grows_after_2000_good_steps_in_a_row() {
        let mut scaler = Scaler::default();
        (0..1999).for_each(|_| scaler.update(true));
        scaler.update(false);
        assert_eq!(scaler, Scaler { scale: 32768.0, good_steps: 0 });
        (0..1999).for_each(|_| scaler.update(true));
        assert_eq!(scaler.scale, 32768.0);
        scaler.update(true);
        assert_eq!(scaler, Scaler { scale: 65536.0, good_steps: 0 });
    }
}
