//! Summarizes a run in one file to send to others: results from its journal, config and previews, as an
//! HTML page, as Markdown, or its metrics as CSV.
//!
//! Reads only the run's files, without asking the training process, so that reports work during
//! training, after a crash, and wherever the folder was moved. `gather` reads them, `sections` makes a
//! document of them, and `html` and `markdown` write it.

pub mod csv;
mod document;
mod evaluated;
mod facts;
mod figures;
mod gather;
mod html;
mod markdown;
pub mod scores;
mod sections;
mod settings;
mod tables;
#[cfg(test)]
mod tests;

pub use gather::Report;

impl Report {
    /// Writes the report as an HTML page.
    pub fn html(&self) -> String {
        html::page(&sections::document(self))
    }

    /// Writes the report as Markdown.
    pub fn markdown(&self) -> String {
        markdown::text(&sections::document(self))
    }
}
