//! The loss over a fold's steps: raw and smoothed in training, each epoch's in validation, and
//! what a constant guess would cost.

use super::theme;
use crate::run::event::FoldState;
use crate::view::{Fold, format};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType};

type Points = Vec<(f64, f64)>;

/// The fold, and of what else there is to say as much as a pane of `width` has room for.
fn title(fold: &Fold, looking: bool, width: u16) -> String {
    let mut title = format!("loss · fold {}", fold.plan.fold);
    let seed = fold.seed.map(|seed| format!(" · seed {seed}"));
    let place = (fold.state == FoldState::Paused)
        .then(|| format!(" · epoch {} step {}", fold.at.epoch, fold.at.step));
    let back = looking.then(|| " · → back to training".into());
    // The frame's corners and a space to either side.
    let room = usize::from(width.saturating_sub(4));
    for part in [seed, place, back].into_iter().flatten() {
        if title.chars().count() + part.chars().count() <= room {
            title += &part;
        }
    }
    title
}

/// Draws the curves of `fold`; `looking`: whether another fold than the trained one is shown.
pub fn draw(frame: &mut Frame, area: Rect, fold: Option<&Fold>, looking: bool) {
    let title = fold.map_or("loss".into(), |fold| title(fold, looking, area.width));
    let block = theme::pane(&title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some(fold) = fold else { return };
    let [top, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
    let baseline = fold.plan.baseline;
    let smooth = fold.curve.smooth.points();
    let valid = &fold.curve.valid;
    let raw = fold.curve.raw.points();
    if smooth.is_empty() && valid.is_empty() {
        frame.render_widget(legend(fold, 0, top.width), top);
        frame.render_widget(Line::styled("no step yet", theme::FAINT).centered(), rest);
        return;
    }
    let (low, high) = range(&raw, &smooth, valid, baseline);
    let [low, high] = [low, high].map(|y| y.clamp(-theme::HIGHEST, theme::HIGHEST));
    let spikes: Points = raw.iter().filter(|p| p.1 > high).map(|p| (p.0, high)).collect();
    frame.render_widget(legend(fold, spikes.len(), top.width), top);

    let last_x = [smooth.last(), valid.last()].into_iter().flatten().map(|p| p.0);
    let x_high = (last_x.fold(0.0, f64::max) * 1.02).max(10.0);
    let within = |points: &[(f64, f64)]| -> Points {
        points.iter().map(|&(x, y)| (x, y.clamp(low, high))).collect()
    };
    // Points beyond the range are drawn as spikes at the top, not as if they lay within.
    let raw: Points = raw.into_iter().filter(|p| p.1 <= high).collect();
    let (smooth, valid) = (within(&smooth), within(valid));
    let columns = 2 * rest.width as usize;
    let dashes: Points = (0..columns)
        .filter(|i| i % 6 < 3)
        .map(|i| (x_high * i as f64 / columns as f64, baseline))
        .collect();
    let dataset = |points, marker, graph: GraphType, style: Style| {
        Dataset::default().data(points).marker(marker).graph_type(graph).style(style)
    };
    let datasets = vec![
        dataset(&raw, Marker::Braille, GraphType::Scatter, theme::FAINT),
        dataset(&dashes, Marker::Braille, GraphType::Scatter, theme::BASELINE),
        dataset(&smooth, Marker::Braille, GraphType::Line, theme::TRAIN),
        dataset(&valid, Marker::Braille, GraphType::Line, theme::VALID),
        dataset(&valid, Marker::Dot, GraphType::Scatter, theme::VALID),
        dataset(&spikes, Marker::Custom('▲'), GraphType::Scatter, theme::ALARM),
    ];
    let steps = fold.plan.steps.max(1) as f64;
    let end = match x_high > steps {
        true => format!("{:.1} epochs", x_high / steps),
        false => format!("step {x_high:.0}"),
    };
    let chart = Chart::new(datasets)
        .legend_position(None)
        .x_axis(
            Axis::default()
                .bounds([0.0, x_high])
                .labels(["step 0".to_string(), end])
                .style(theme::FAINT),
        )
        .y_axis(
            Axis::default()
                .bounds([low, high])
                .labels([low, (low + high) / 2.0, high].map(format::short_loss))
                .style(theme::FAINT),
        );
    frame.render_widget(chart, rest);
}

/// What the lines are and their newest values, as much as fits.
fn legend(fold: &Fold, spikes: usize, width: u16) -> Line<'static> {
    let train = format::maybe_loss(fold.curve.train_now());
    let valid = match (fold.valid_so_far, fold.last_epoch()) {
        (Some(so_far), _) => format!("{}…", format::loss(so_far)),
        (None, last) => format::maybe_loss(last.map(|e| e.valid_loss)),
    };
    let baseline = format::loss(fold.plan.baseline);
    let figures = vec![
        Span::styled(format!("━ train {train}"), theme::TRAIN),
        Span::styled(format!(" • valid {valid}"), theme::VALID),
    ];
    let mut more = Vec::new();
    if spikes > 0 {
        more.push(Span::styled(format!(" ▲ {spikes} above"), theme::ALARM));
    }
    more.push(Span::styled(" ⠂ each step", theme::FAINT));
    let mut line = Line::from(figures);
    let long = Span::styled(format!(" ┅ baseline {baseline}"), theme::BASELINE);
    line.push_span(match line.width() + long.width() <= width as usize {
        true => long,
        false => {
            Span::styled(format!(" ┅ {}", format::short_loss(fold.plan.baseline)), theme::BASELINE)
        }
    });
    for span in more {
        if line.width() + span.width() <= width as usize {
            line.push_span(span);
        }
    }
    line
}

/// The range of losses shown: all that matters for judging, but not a first step or a spike so
/// high that the rest would be a flat line.
fn range(
    raw: &[(f64, f64)],
    smooth: &[(f64, f64)],
    valid: &[(f64, f64)],
    baseline: f64,
) -> (f64, f64) {
    let mut losses: Vec<f64> = raw.iter().map(|p| p.1).collect();
    losses.sort_by(f64::total_cmp);
    let at =
        |share: f64| losses.get((share * losses.len().saturating_sub(1) as f64) as usize).copied();
    let median = at(0.5).unwrap_or(baseline);
    let must = smooth.last().into_iter().chain(valid.last()).map(|p| p.1);
    let must = must.chain([baseline]).filter(|x| x.is_finite());
    let robust = (1.25 * at(0.98).unwrap_or(median)).max(1.5 * median);
    let top = losses.last().copied().unwrap_or(median).min(robust);
    let valid_top = valid.iter().map(|p| p.1).fold(0.0, f64::max).min(3.0 * median.max(baseline));
    let high = must.clone().fold(top.max(valid_top), f64::max);
    let low = must.chain(at(0.0)).chain(valid.iter().map(|p| p.1)).fold(high, f64::min);
    let margin = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
    ((low - margin).max(0.0).min(low), high + margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(losses: &[f64]) -> Points {
        losses.iter().enumerate().map(|(i, &y)| (i as f64, y)).collect()
    }

    #[test]
    fn a_huge_first_step_does_not_flatten_the_rest() {
        let raw = points(&[900.0, 0.9, 0.8, 0.7, 0.6, 0.6]);
        let smooth = points(&[0.6]);
        let (low, high) = range(&raw, &smooth, &[], 0.65);
        assert!(low > 0.5 && high < 2.0, "{low} {high}");
    }

    #[test]
    fn a_descent_is_shown_whole() {
        let losses: Vec<f64> = (0..400).map(|i| 0.2 + 0.8 * (-(i as f64) / 80.0).exp()).collect();
        let raw = points(&losses);
        let (low, high) = range(&raw, &raw, &[], 0.5);
        assert!(low < 0.21 && high > 0.9, "{low} {high}");
    }

    #[test]
    fn a_range_is_never_empty() {
        for (raw, base) in [(points(&[0.5]), 0.5), (points(&[]), 0.0), (points(&[0.0]), 0.0)] {
            let (low, high) = range(&raw, &raw, &[], base);
            assert!(low < high && low.is_finite() && high.is_finite(), "{low} {high}");
        }
    }
}
