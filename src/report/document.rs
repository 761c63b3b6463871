//! The report as a document: sections of paragraphs, tables and charts, independent of the file's format.

use super::gather::Picture;
use crate::export::Chart;

/// Most rows of a table; the CSV has all values.
const MOST_ROWS: usize = 500;

pub struct Document<'a> {
    pub name: &'a str,
    /// State or outcome of the run, as a verdict and in a few words.
    pub outcome: (Tone, String),
    pub lead: String,
    pub alarms: Vec<String>,
    pub facts: Vec<(&'static str, String)>,
    pub sections: Vec<Section<'a>>,
    /// Tables of every epoch, by fold number.
    pub epochs: Vec<(usize, Table)>,
}

/// State of the run, as a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It ended well.
    Good,
    /// It is still running, or was stopped.
    Open,
    /// It failed or died.
    Bad,
}

impl Tone {
    /// Returns a symbol to show beside the words.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Open => "●",
            Self::Bad => "✗",
        }
    }
}

/// A part of the report under a heading.
pub struct Section<'a> {
    pub heading: &'static str,
    pub blocks: Vec<Block<'a>>,
}

pub enum Block<'a> {
    Text(String),
    /// A paragraph that only a page with charts and pictures needs.
    Remark(String),
    Table(Table),
    /// Charts of one size; a text file has none.
    Charts(Size, Vec<Chart>),
    /// Named curves, drawn as rows of bars in a text file.
    Bars(Vec<(String, Vec<f64>)>),
    /// Crops of a fold; a text file has none.
    Picture(&'a Picture),
    /// The text of the config file.
    Config(&'a str),
}

impl Block<'_> {
    /// Whether it has a place in a file of plain text.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Self::Remark(_) | Self::Charts(..) | Self::Picture(_))
    }
}

/// Size of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As wide as the page.
    Wide,
    /// One of two side by side.
    Half,
    /// One of many side by side, without a legend.
    Small,
}

/// A table.
#[derive(Debug, Default, PartialEq)]
pub struct Table {
    /// What it shows, in a sentence; may be empty.
    pub caption: String,
    pub head: Vec<&'static str>,
    /// Number of leading columns that hold words; the others hold numbers.
    pub words: usize,
    /// Its rows, each as long as the head.
    pub rows: Vec<Vec<Cell>>,
    pub foot: Vec<Vec<Cell>>,
    /// Number of rows left out.
    pub more: usize,
}

/// A table's column: its name, and the text of a row's cell.
pub type Column<'a, T> = (&'static str, &'a dyn Fn(&T) -> String);

impl Table {
    /// Makes a table with one row per item, up to [`MOST_ROWS`]. The first `words` columns hold words.
    pub fn of<T>(words: usize, items: impl IntoIterator<Item = T>, columns: &[Column<T>]) -> Self {
        let mut items = items.into_iter();
        let row = |item: T| columns.iter().map(|(_, text)| text(&item).into()).collect();
        let rows = items.by_ref().take(MOST_ROWS).map(row).collect();
        let head = columns.iter().map(|(name, _)| *name).collect();
        Self { head, words, rows, more: items.count(), ..Self::default() }
    }

    pub fn about(self, caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..self }
    }
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Cell {
    pub text: String,
    /// Its darkness, 0 to 1, if the table is a heat map.
    pub tint: Option<f64>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tint: None }
    }
}
