//! The looks of curves: Okabe and Ito's colours, which colour-blind readers can tell apart, each with
//! its own dash and shape.
//!
//! Each element carries its colour for a white page, so that programs without CSS draw it too;
//! [`STYLE`] changes the colours for readers who prefer a dark page.

use std::fmt::Write;

/// Colours of curves on a white page; the last is that of text.
const COLORS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#24292f"];
/// Colour of labels.
pub const MUTED: &str = r##"class="cm" fill="#57606a""##;
/// Colour of a title.
pub const TITLE: &str = r##"class="c6" fill="#24292f""##;
/// Colour of the grid.
pub const GRID: &str = r##"class="cg" stroke="#e4e8ec""##;
/// Colour of the axis and the marks on it.
pub const AXIS: &str = r##"class="ca" stroke="#8c959f""##;
/// Colour of the page behind a chart in its own file.
pub const PAGE: &str = r##"class="cp" fill="#ffffff""##;
/// Colour of the rim around a shape.
pub const RIM: &str = r##"class="cr" stroke="#ffffff""##;

/// Contents of a `<style>`: the colours of a dark page, and properties that elements cannot carry
/// themselves.
pub const STYLE: &str = "\
@media (prefers-color-scheme:dark){\
line.c0,path.c0{stroke:#56b4e9}g.c0{fill:#56b4e9}\
line.c5,path.c5{stroke:#f0e442}g.c5{fill:#f0e442}\
line.c6,path.c6{stroke:#e6e8eb}g.c6,text.c6{fill:#e6e8eb}\
.cm{fill:#9aa4ae}.cg{stroke:#2a3038}.ca{stroke:#6b7580}.cp{fill:#14171a}.cr{stroke:#14171a}}";

/// Dash patterns; the first is a solid line.
const DASHES: [&str; 6] = ["", "7 3", "2 3", "9 3 2 3", "12 4", "4 2"];
/// Shapes, as paths around (0, 0).
const SHAPES: [&str; 6] = [
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
    "M-3.1-3.1h6.2v6.2h-6.2z",
    "M0-4.2L4 3H-4z",
    "M0-4.4L4.2 0 0 4.4-4.2 0z",
    "M0 4.2L4-3H-4z",
    "M-1.6-4.4h3.2v8.8h-3.2z",
];

/// Returns the attributes of a line in the `color`th colour.
pub fn stroke(color: usize) -> String {
    painted("stroke", color)
}

/// Returns the attributes of a `<g>` around shapes in the `color`th colour.
pub fn fill(color: usize) -> String {
    painted("fill", color)
}

fn painted(what: &str, color: usize) -> String {
    let color = color % COLORS.len();
    format!(r#"class="c{color}" {what}="{}""#, COLORS[color])
}

/// Returns the attribute of the `dash`th dash pattern after a space; nothing for a solid line.
pub fn dash(dash: usize) -> String {
    match DASHES[dash % DASHES.len()] {
        "" => String::new(),
        dashes => format!(r#" stroke-dasharray="{dashes}""#),
    }
}

/// Draws the `shape`th shape around (x, y), with `tip` as its tooltip.
pub fn shape(out: &mut String, shape: usize, (x, y): (f64, f64), tip: &str) {
    let path = SHAPES[shape % SHAPES.len()];
    // Writing to a String cannot fail.
    let _ = write!(out, r#"<path d="{path}" transform="translate({x:.1} {y:.1})""#);
    let _ = match tip {
        "" => write!(out, "/>"),
        tip => write!(out, "><title>{tip}</title></path>"),
    };
}
