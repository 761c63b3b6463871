//! Learning rate over the whole run, with the current position.

use crate::axis::HIGHEST;
use crate::tui::theme;
use crate::view::{State, format};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType};

/// Draws the schedule: x = epochs of all folds, one fold after the other.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let Some(plan) = state.plan.as_ref().filter(|p| !p.learning_rates.is_empty()) else {
        frame.render_widget(theme::pane("learning rate"), area);
        return;
    };
    if state.shared {
        return draw_shared(frame, area, state, &plan.learning_rates);
    }
    let epochs = plan.learning_rates.len();
    let at = state.position();
    let within = at.epoch.saturating_sub(1).min(epochs - 1);
    let planned = plan.learning_rates[within];
    let now = match &state.step {
        Some(step) if step.at.epoch == at.epoch && step.at.fold == at.fold => step.learning_rate,
        _ => planned,
    };
    let block = theme::pane(&format!("learning rate {}", format::learning_rate(now)));
    let all = epochs * state.folds.len().max(1);
    let part = state.fold().map_or(0.0, |f| match f.epochs_done() == at.epoch {
        true => 1.0,
        false => at.step as f64 / f.plan.steps.max(1) as f64,
    });
    let x_now = (state.current * epochs + within) as f64 + part;
    let high = plan.learning_rates.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let high = high.min(HIGHEST);
    // The rate is constant within an epoch, so the line is a staircase.
    let line: Vec<(f64, f64)> = (0..all)
        .flat_map(|i| {
            let rate = plan.learning_rates[i % epochs].min(HIGHEST);
            [(i as f64, rate), ((i + 1) as f64, rate)]
        })
        .collect();
    let upright = [(x_now, 0.0), (x_now, high)];
    let marker = [(x_now, now)];
    let data = |data, marker, graph_type, style| {
        Dataset::default().data(data).marker(marker).graph_type(graph_type).style(style)
    };
    let datasets = vec![
        data(&line, Marker::Braille, GraphType::Line, theme::TRAIN),
        data(&upright, Marker::Braille, GraphType::Line, theme::FAINT),
        data(&marker, Marker::Dot, GraphType::Scatter, theme::KEY),
    ];
    let labels = match state.folds.as_slice() {
        [] | [_] => ["epoch 1".into(), epochs.to_string()],
        [first, .., last] => [first, last].map(|fold| format!("fold {}", fold.plan.fold)),
    };
    let chart = Chart::new(datasets)
        .block(block)
        .legend_position(None)
        .x_axis(Axis::default().bounds([0.0, all as f64]).labels(labels).style(theme::FAINT))
        .y_axis(
            Axis::default()
                .bounds([0.0, high * 1.05])
                .labels(["0".to_string(), format::learning_rate(high)])
                .style(theme::FAINT),
        );
    frame.render_widget(chart, area);
}

/// Draws the schedule of one fold, and where all that are in training stand on it.
fn draw_shared(frame: &mut Frame, area: Rect, state: &State, planned: &[f64]) {
    let fold = state.fold();
    let rates = fold.and_then(|fold| fold.rates.as_deref()).filter(|rates| !rates.is_empty());
    let rates = rates.unwrap_or(planned);
    let rate = |epoch: usize| rates[epoch.saturating_sub(1).min(rates.len() - 1)].min(HIGHEST);
    let now = fold.map_or(0.0, |fold| rate(fold.at.epoch));
    let title = match fold {
        Some(fold) => {
            format!("learning rate {} · fold {}", format::learning_rate(now), fold.plan.fold)
        }
        None => "learning rate".into(),
    };
    let high = rates.iter().copied().fold(f64::MIN_POSITIVE, f64::max).min(HIGHEST);
    let line: Vec<(f64, f64)> = (0..rates.len())
        .flat_map(|i| [(i as f64, rate(i + 1)), ((i + 1) as f64, rate(i + 1))])
        .collect();
    let points: Vec<(f64, f64)> = state
        .folds
        .iter()
        .filter(|fold| state.goes_on(fold))
        .map(|fold| (rates.len() as f64 * fold.share(), rate(fold.at.epoch)))
        .collect();
    let data = |data, marker, graph_type, style| {
        Dataset::default().data(data).marker(marker).graph_type(graph_type).style(style)
    };
    let datasets = vec![
        data(&line, Marker::Braille, GraphType::Line, theme::TRAIN),
        data(&points, Marker::Dot, GraphType::Scatter, theme::KEY),
    ];
    let chart = Chart::new(datasets)
        .block(theme::pane(&title))
        .legend_position(None)
        .x_axis(
            Axis::default()
                .bounds([0.0, rates.len() as f64])
                .labels(["epoch 1".to_string(), rates.len().to_string()])
                .style(theme::FAINT),
        )
        .y_axis(
            Axis::default()
                .bounds([0.0, high * 1.05])
                .labels(["0".to_string(), format::learning_rate(high)])
                .style(theme::FAINT),
        );
    frame.render_widget(chart, area);
}
