//! Exports charts to files: SVG to look at, CSV for programs.

pub mod chart;
mod palette;
pub mod svg;
#[cfg(test)]
mod tests;
mod text;
mod thin;

pub use chart::{Axis, Chart, Mark, Series, Style, Weight};
pub use text::escape;

use crate::print::cell;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Most charts of one name in a folder.
const MOST: usize = 10_000;

/// Writes a chart as `name.svg` and all its points as `name.csv` into `folder`, which is created if
/// missing; if one of them exists, as `name-2` and so on. Returns both paths.
///
/// Errors: when the folder or a file cannot be written; no part of the chart then remains.
pub fn write(folder: &Path, name: &str, chart: &Chart) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let name = file_name(name);
    let (mut csv, svg) = (Vec::new(), svg::document(chart, &svg::Options::default()));
    points(chart, &mut csv)?;
    for n in 1..=MOST {
        let numbered = if n == 1 { name.clone() } else { format!("{name}-{n}") };
        let files = [("svg", svg.as_bytes()), ("csv", &csv)];
        let files = files.map(|(end, bytes)| (folder.join(format!("{numbered}.{end}")), bytes));
        match write_new(&files) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
            Ok(()) => return Ok(files.map(|(path, _)| path).into()),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("{} has {MOST} charts called {name}", folder.display()),
    ))
}

/// Creates all files or none.
fn write_new(files: &[(PathBuf, &[u8])]) -> io::Result<()> {
    for (i, (path, bytes)) in files.iter().enumerate() {
        let file = File::create_new(path);
        // Do not delete a file that existed before.
        let own = if file.is_ok() { i + 1 } else { i };
        if let Err(error) = file.and_then(|mut file| file.write_all(bytes)) {
            for (path, _) in &files[..own] {
                let _ = fs::remove_file(path);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Writes all points of the chart as CSV: `series`, and the labels of x and y as the other columns.
/// Non-finite values are `NaN`, `inf` or `-inf`.
///
/// Errors: when `out` cannot be written.
pub fn points(chart: &Chart, out: impl Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["series", &chart.x.heading(), &chart.y.heading()])?;
    for (i, series) in chart.series.iter().enumerate() {
        let name = match series.name.is_empty() {
            true => format!("series {}", i + 1),
            false => series.name.clone(),
        };
        for &(x, y) in &series.points {
            csv.serialize((cell(&name), x, y))?;
        }
    }
    csv.flush()
}

/// Makes a name without characters that could lead out of the folder.
fn file_name(name: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = name.chars().take(80).map(|c| if safe(c) { c } else { '-' }).collect();
    match name.trim_matches('-') {
        "" => "chart".into(),
        name => name.into(),
    }
}
