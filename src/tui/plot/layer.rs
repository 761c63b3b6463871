//! Lines and marks of a chart.

use crate::view::Series;
use ratatui::style::Style;

/// Points of a line.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// One per step.
    Steps(&'a Series),
    /// Few points, such as one per epoch.
    Points(&'a [(f64, f64)]),
    /// A constant value.
    Level(f64),
}

/// How points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Separate faint dots.
    Dots,
    /// A line through the points.
    Line,
    /// A line, with a mark at each point if there is room.
    Beads,
    /// A dashed line.
    Dashes,
}

/// A line of the chart.
#[derive(Debug, Clone)]
pub struct Layer<'a> {
    /// The points.
    pub data: Data<'a>,
    /// How the points are drawn.
    pub shape: Shape,
    /// The line's style.
    pub style: Style,
    /// Label at the line's end, so that lines differ in more than colour.
    pub name: Option<char>,
    /// Name in exported files.
    pub title: String,
}

impl<'a> Layer<'a> {
    /// Creates a line without a label or name.
    pub fn new(data: Data<'a>, shape: Shape, style: Style) -> Self {
        Self { data, shape, style, name: None, title: String::new() }
    }

    /// Returns the line with the name `title`.
    pub fn called(self, title: impl Into<String>) -> Self {
        Self { title: title.into(), ..self }
    }
}

/// Unit of x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    /// Steps, with this many per epoch; the axis shows whichever reads better.
    Steps(f64),
    /// Epochs.
    Epochs,
    /// Seconds since the run started.
    Seconds,
}
