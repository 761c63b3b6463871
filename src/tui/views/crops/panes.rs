//! Panes next to the picture: the list of studies, and the predictions for the selected study's
//! slices.

use super::listed::{Entry, SliceNumber, wrong_by};
use crate::run::event::Prediction;
use crate::tui::theme;
use crate::view::constant::Constants;
use crate::view::format;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Width of a study's row without its UID.
const FIGURES: usize = 19;
/// Width of a vertebra's row without its slices.
const WORDS: usize = 14;
/// Legend of columns and marks.
const LEGEND: [&str; 3] =
    ["  y 1 ● fractured, 0 ○ not", "  p study head's probability", "  × on the wrong side of .5"];
/// Bars for levels from 1/8 to 8/8.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws the studies, with the selected one marked and in view, and a note about constant crops.
pub fn studies(
    frame: &mut Frame,
    area: Rect,
    title: &str,
    (entries, chosen): (&[Entry], usize),
    constants: &Constants,
) {
    let inner = theme::framed(frame, area, title);
    let width = usize::from(inner.width).saturating_sub(FIGURES);
    let head = format!("  {:<width$}   loss  y    p", "study");
    let mut lines = vec![Line::styled(head, theme::FAINT)];
    let rows = usize::from(inner.height).saturating_sub(1).max(1);
    let first = (chosen + 1).saturating_sub(rows);
    for (i, entry) in entries.iter().enumerate().skip(first).take(rows) {
        let Prediction { study, probability, .. } = entry.prediction;
        let label = u8::from(entry.prediction.fractured());
        let loss = entry.loss.map_or("–".into(), format::short_loss);
        let (mark, style) = match i == chosen {
            true => ("▸ ", theme::KEY),
            false => ("  ", Style::new()),
        };
        let study = format::study(study, width);
        let flag = if constants.of(&entry.prediction.study).is_some() { '=' } else { ' ' };
        let text = format!("{mark}{study:<width$} {flag}{loss:>5}  {label} {probability:>4.2} ");
        lines.push(Line::from(vec![Span::styled(text, style), verdict(*probability, label)]));
    }
    // Legend and notes, if there is room.
    let below = usize::from(inner.height).saturating_sub(lines.len());
    let notes = (!constants.is_empty()).then(|| {
        let text = format!("= {}; the report names all", constants.heading());
        let text: Vec<String> = wrapped(&text, inner.width.into());
        text.into_iter().map(|text| Line::styled(text, theme::WARN)).collect::<Vec<_>>()
    });
    let notes = notes.unwrap_or_default();
    let legend = if below > LEGEND.len() + notes.len() { &LEGEND[..] } else { &[] };
    if below >= legend.len() + notes.len() {
        let rows = lines.len() + below - legend.len() - notes.len();
        lines.resize(rows, Line::default());
        lines.extend(notes);
        lines.extend(legend.iter().map(|text| Line::styled(*text, theme::FAINT)));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Wraps `text` between words into indented lines of at most `width` columns.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = " ".to_string();
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, "   ".into()));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// ✓ if the probability is on its label's side, else ×.
pub fn verdict(probability: f32, label: u8) -> Span<'static> {
    match wrong_by(probability, label) > 0.5 {
        true => Span::styled("×", theme::WARN),
        false => Span::styled("✓", theme::GOOD),
    }
}

/// Draws a row per vertebra: its label, its slices' probabilities as bars, and their mean.
pub fn levels(frame: &mut Frame, area: Rect, prediction: &Prediction, place: SliceNumber) {
    let inner = theme::framed(frame, area, "probability by slice");
    let slices = prediction.slices_per_vertebra();
    let room = usize::from(inner.width).saturating_sub(WORDS).max(1);
    let wide = (room / slices.max(1)).clamp(1, 3);
    let bars = slices.min(room) * wide;
    let mut lines = vec![Line::styled(
        format!("    {:2}{:<bars$}  mean", "y", scale(slices.min(room), wide)),
        theme::FAINT,
    )];
    lines.extend((1..=7).map(|v| level(prediction, v, place, (slices.min(room), wide))));
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Axis labels above the slices: the first, then every fifth if there is room.
fn scale(slices: usize, wide: usize) -> String {
    let mut text = String::new();
    for slice in (0..slices).step_by(5) {
        let at = slice * wide;
        text += &" ".repeat(at.saturating_sub(text.len()));
        text += &slice.to_string();
    }
    text
}

fn level(
    prediction: &Prediction,
    vertebra: u8,
    place: SliceNumber,
    (shown, wide): (usize, usize),
) -> Line<'static> {
    let label = prediction.labels[usize::from(vertebra) - 1];
    let all = prediction.of_vertebra(vertebra);
    let here = vertebra == place.vertebra;
    let style = if here { theme::KEY } else { Style::new() };
    let (mark, dot) = (if here { '▸' } else { ' ' }, if label > 0 { '●' } else { '○' });
    let mut spans = vec![Span::styled(format!("{mark}C{vertebra} {dot} "), style)];
    for column in 0..shown {
        // Of several slices in a column, show the one with the largest error.
        let own = column * all.len() / shown..((column + 1) * all.len() / shown).min(all.len());
        let chosen = here && own.contains(&usize::from(place.slice));
        let worst =
            all[own].iter().max_by(|a, b| wrong_by(**a, label).total_cmp(&wrong_by(**b, label)));
        let p = worst.copied().unwrap_or(f32::NAN);
        let style = match (wrong_by(p, label) > 0.5, chosen) {
            (false, false) => theme::TRAIN,
            (true, false) => theme::WARN,
            (false, true) => theme::TRAIN.add_modifier(Modifier::REVERSED),
            (true, true) => theme::WARN.add_modifier(Modifier::REVERSED),
        };
        spans.push(Span::styled(bar(p).to_string().repeat(wide), style));
    }
    let mean = all.iter().sum::<f32>() / all.len() as f32;
    spans.push(Span::styled(format!("  {mean:.2} "), style));
    spans.push(verdict(mean, label));
    Line::from(spans)
}

fn bar(p: f32) -> char {
    match p.is_nan() {
        true => '?',
        false => BARS[((p * 8.0) as usize).min(7)],
    }
}

/// Draws the selected vertebra's slices as tall bars with a line at one half.
pub fn strip(
    frame: &mut Frame,
    area: Rect,
    prediction: &Prediction,
    place: SliceNumber,
    constants: &Constants,
) {
    let at = usize::from(place.vertebra).clamp(1, 7);
    let label = prediction.labels[at - 1];
    let word = if label > 0 { "fractured" } else { "not fractured" };
    let n = constants.of(&prediction.study).map_or(0, |slices| slices[at - 1]);
    let constant = match n {
        0 => String::new(),
        n => format!(" · {n} of {} without a picture", prediction.slices_per_vertebra()),
    };
    let inner = theme::framed(frame, area, &format!("C{at} · {word}{constant}"));
    let all = prediction.of_vertebra(place.vertebra);
    let (width, rows) = (usize::from(inner.width), usize::from(inner.height).saturating_sub(1));
    // Leave an axis, and a blank column between bars if there is room.
    let room = width.saturating_sub(4);
    let pitch = room / all.len().max(1);
    if pitch == 0 || rows < 3 {
        return;
    }
    let wide = pitch - usize::from(pitch > 1);
    let half = (rows - 1) / 2;
    let mut lines: Vec<Line> = (0..rows)
        .map(|row| {
            let axis = match row {
                0 => " 1 ",
                _ if row == half => ".5 ",
                _ if row + 1 == rows => " 0 ",
                _ => "   ",
            };
            let mut spans = vec![Span::styled(format!("{axis}│"), theme::FAINT)];
            for (slice, &p) in all.iter().enumerate() {
                let style = if wrong_by(p, label) > 0.5 { theme::WARN } else { theme::TRAIN };
                let eighths = (p.clamp(0.0, 1.0) * (rows * 8) as f32).round() as usize;
                let over = eighths.saturating_sub((rows - 1 - row) * 8).min(8);
                let empty = if row == half { "┄" } else { " " };
                let chosen = slice == usize::from(place.slice);
                let full = match over {
                    0 => Span::styled(empty.repeat(wide), theme::FAINT),
                    n => Span::styled(BARS[n - 1].to_string().repeat(wide), style),
                };
                spans.push(if chosen { full.patch_style(theme::KEY) } else { full });
                spans.push(Span::styled(empty.repeat(pitch - wide), theme::FAINT));
            }
            Line::from(spans)
        })
        .collect();
    let mark = "    ".to_string() + &" ".repeat(usize::from(place.slice) * pitch + wide / 2) + "▲";
    lines.push(Line::styled(mark, theme::KEY));
    frame.render_widget(Paragraph::new(lines), inner);
}
