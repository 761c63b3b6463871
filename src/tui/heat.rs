//! Heat map cells that show a value by bar height and colour.

use crate::view::Fold;
use ratatui::style::{Color, Style};
use ratatui::text::Span;

/// Range of the values; the lowest is the best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Creates the range of `figures`, with values clipped at `worst`, so that one bad epoch does
    /// not flatten all others.
    pub fn of(figures: impl Iterator<Item = f64>, worst: f64) -> Self {
        let (low, high) = figures
            .filter(|y| y.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), y| (l.min(y), h.max(y)));
        let high = if worst.is_finite() && worst > low { high.min(worst) } else { high };
        Self { low, high }
    }

    /// Creates the range of all epochs of `folds`, clipped at twice the loss of a constant guess.
    pub fn of_folds(folds: &[Fold]) -> Self {
        let baseline = folds.iter().map(|f| f.plan.baseline).fold(0.0, f64::max);
        Self::of(folds.iter().flat_map(Fold::done).map(|e| e.valid_loss), 2.0 * baseline)
    }

    /// Position of `figure` in the range, 0 (best) to 1; `None` if all values are equal.
    fn share(self, figure: f64) -> Option<f64> {
        let span = self.high - self.low;
        (span > 0.0).then(|| ((figure - self.low) / span).clamp(0.0, 1.0))
    }

    /// Bar for a value; `!` if it is not finite.
    pub fn bar(self, figure: f64) -> char {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        match (figure.is_finite(), self.share(figure)) {
            (false, _) => '!',
            (true, None) => BARS[3],
            (true, Some(share)) => BARS[(share * 7.0).round() as usize],
        }
    }

    /// Draws a value in `width` cells.
    pub fn cells(self, figure: f64, width: usize) -> Span<'static> {
        let style = match figure.is_finite() {
            true => Style::new().fg(color(self.share(figure).unwrap_or(0.5))),
            false => super::theme::ALARM,
        };
        Span::styled(self.bar(figure).to_string().repeat(width), style)
    }
}

/// Colour scale from good (0) over grey to bad (1): bluish green to vermilion, which colour-blind
/// readers can distinguish.
fn color(share: f64) -> Color {
    const STOPS: [[f64; 3]; 3] =
        [[26.0, 178.0, 136.0], [150.0, 150.0, 150.0], [224.0, 106.0, 36.0]];
    let at = share.clamp(0.0, 1.0) * 2.0;
    let (from, within) = if at < 1.0 { (0, at) } else { (1, at - 1.0) };
    let mix = |c: usize| (STOPS[from][c] + within * (STOPS[from + 1][c] - STOPS[from][c])) as u8;
    Color::Rgb(mix(0), mix(1), mix(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_low_and_green_and_the_worst_high_and_red() {
        let scale = Scale::of([0.2, 0.4, 5.0, f64::NAN].into_iter(), 1.0);
        assert_eq!([0.2, 0.6, 1.0, 5.0, f64::NAN].map(|y| scale.bar(y)), ['▁', '▄', '█', '█', '!']);
        assert_eq!(color(0.0), Color::Rgb(26, 178, 136));
        assert_eq!(color(1.0), Color::Rgb(224, 106, 36));
        let alike = Scale::of([0.5, 0.5].into_iter(), f64::NAN);
        assert_eq!(alike.bar(0.5), '▄');
        assert_eq!(Scale::of(std::iter::empty(), 1.0).bar(0.5), '▄');
    }
}
