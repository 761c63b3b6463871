//! Loss over a fold's steps: raw and smoothed training loss, validation loss of each epoch, and the
//! loss of a constant guess.

use crate::run::event::FoldState;
use crate::tui::plot::{Data, Layer, Plot, Shape, Unit};
use crate::tui::{range, theme};
use crate::view::{Fold, format};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Title of a pane of `width`: the fold, and as much more as fits.
fn title(fold: &Fold, looking: bool, width: u16) -> String {
    let mut title = format!("loss · fold {}", fold.plan.fold);
    let seed = fold.seed.map(|seed| format!(" · seed {seed}"));
    let place = (fold.state == FoldState::Paused)
        .then(|| format!(" · epoch {} step {}", fold.at.epoch, fold.at.step));
    let back = looking.then(|| " · → back to training".into());
    // The frame's corners, and a space on either side.
    let room = usize::from(width.saturating_sub(4));
    for part in [seed, place, back].into_iter().flatten() {
        if title.chars().count() + part.chars().count() <= room {
            title += &part;
        }
    }
    title
}

/// Draws the curves of `fold`. `looking`: another fold than the one in training is shown.
pub fn draw(frame: &mut Frame, area: Rect, fold: Option<&Fold>, looking: bool) {
    let title = fold.map_or("loss".into(), |fold| title(fold, looking, area.width));
    let inner = theme::framed(frame, area, &title);
    let Some(fold) = fold else { return };
    let [top, rest] = theme::below_heading(inner);
    let baseline = fold.plan.baseline;
    let (raw, smooth) = (fold.curve.loss(), fold.curve.smooth.series());
    let valid = fold.at_epochs(|epoch| Some(epoch.valid_loss));
    if raw.is_empty() && valid.is_empty() {
        frame.render_widget(legend(fold, false, top.width), top);
        return frame.render_widget(Line::styled("no step yet", theme::FAINT).centered(), rest);
    }
    let must: Vec<f64> = valid.iter().map(|p| p.1).chain(fold.curve.train_now()).collect();
    let steps = raw.points().len();
    let y = range::of_losses(&range::sample(raw, 0..steps), &must, Some(baseline));
    let spikes = raw.span(0..steps).0.is_some_and(|span| f64::from(span.high) > y.1);
    frame.render_widget(legend(fold, spikes, top.width), top);
    let last = [raw.last().map(|point| point.x.into()), valid.last().map(|p| p.0)];
    let x_high = range::end(last.into_iter().flatten().fold(0.0, f64::max)).max(10.0);
    let plot = Plot {
        x: (0.0, x_high),
        y,
        log: false,
        unit: Unit::Steps(fold.plan.steps.max(1) as f64),
        label: format::short_loss,
        round: 1.0,
        layers: vec![
            Layer::new(Data::Steps(raw), Shape::Dots, theme::FAINT),
            Layer::new(Data::Level(baseline), Shape::Dashes, theme::BASELINE),
            Layer::new(Data::Steps(smooth), Shape::Line, theme::TRAIN),
            Layer::new(Data::Points(&valid), Shape::Beads, theme::VALID),
        ],
        marks: Vec::new(),
        cursor: None,
    };
    frame.render_widget(&plot, rest);
}

/// Legend with the newest values, as much as fits.
fn legend(fold: &Fold, spikes: bool, width: u16) -> Line<'static> {
    let train = format::maybe_loss(fold.curve.train_now());
    let valid = match (fold.valid_so_far, fold.last_epoch()) {
        (Some(so_far), _) => format!("{}…", format::loss(so_far)),
        (None, last) => format::maybe_loss(last.map(|e| e.valid_loss)),
    };
    let mut line = Line::from(vec![
        Span::styled(format!("━ train {train}"), theme::TRAIN),
        Span::styled(format!(" • valid {valid}"), theme::VALID),
    ]);
    let fits = |line: &Line, span: &Span| line.width() + span.width() <= width.into();
    let baseline = fold.plan.baseline;
    let long = Span::styled(format!(" ┅ baseline {}", format::loss(baseline)), theme::BASELINE);
    let short = Span::styled(format!(" ┅ {}", format::short_loss(baseline)), theme::BASELINE);
    line.push_span(if fits(&line, &long) { long } else { short });
    let higher = spikes.then(|| Span::styled(" ▲ higher", theme::ALARM));
    for span in higher.into_iter().chain([Span::styled(" ⠂ each step", theme::FAINT)]) {
        if fits(&line, &span) {
            line.push_span(span);
        }
    }
    line
}
