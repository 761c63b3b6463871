//! Writes the report as an HTML page: one file without scripts, fonts or links, in light or dark colours
//! as the reader prefers.

use super::{
    document::{Block, Cell, Document, Size, Table, Tone},
    gather::Picture,
};
use crate::export::{
    Chart, escape,
    svg::{self, Options},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt::Write;

/// Width to which narrower pictures are enlarged, in pixels.
const PICTURE: u32 = 1000;

/// Writes the page. Everything from the run's folder is escaped text or a decoded picture.
pub(super) fn page(document: &Document) -> String {
    let mut page = Page(String::new());
    page.head(document);
    for section in &document.sections {
        page.section(section.heading, |page| {
            section.blocks.iter().for_each(|block| page.block(block));
        });
    }
    if !document.epochs.is_empty() {
        page.section("Every epoch", |page| {
            for (fold, table) in &document.epochs {
                let _ = writeln!(page.0, "<details><summary>Fold {fold}</summary>");
                page.table(table);
                page.add("</details>\n");
            }
        });
    }
    let version = env!("CARGO_PKG_VERSION");
    page.add(&format!("<p class=\"foot\">Written by rsna-tui {version}.</p>\n</body>\n</html>\n"));
    page.0
}

/// The page under construction. Writing to a String cannot fail, so results are ignored.
struct Page(String);

impl Page {
    fn add(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn section(&mut self, heading: &str, content: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<section>\n<h2>{heading}</h2>\n");
        content(self);
        self.add("</section>\n");
    }

    fn note(&mut self, text: &str) {
        let _ = writeln!(self.0, "<p class=\"note\">{}</p>", escape(text));
    }

    fn head(&mut self, document: &Document) {
        let name = escape(document.name);
        let _ = write!(
            self.0,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'; img-src data:\">\n\
             <meta name=\"generator\" content=\"rsna-tui\">\n<title>{name}</title>\n\
             <style>\n{}{}\n</style>\n</head>\n<body>\n\
             <p class=\"kind\">Cervical spine fractures · training report</p>\n<h1>{name}</h1>\n",
            include_str!("page.css"),
            svg::STYLE,
        );
        let (tone, outcome) = &document.outcome;
        let class = match tone {
            Tone::Good => "good",
            Tone::Open => "open",
            Tone::Bad => "bad",
        };
        let (sign, outcome) = (tone.sign(), escape(outcome));
        let _ = writeln!(self.0, "<p class=\"outcome {class}\">{sign} {outcome}</p>");
        let _ = writeln!(self.0, "<p>{}</p>", escape(&document.lead));
        for alarm in &document.alarms {
            let _ = writeln!(self.0, "<p class=\"alarm\">{}</p>", escape(alarm));
        }
        self.add("<dl>\n");
        for (name, fact) in &document.facts {
            let _ = writeln!(self.0, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(fact));
        }
        self.add("</dl>\n");
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Text(text) | Block::Remark(text) => self.note(text),
            Block::Table(table) => self.table(table),
            Block::Charts(size, charts) => self.charts(*size, charts),
            // The charts show the same.
            Block::Bars(_) => {}
            Block::Picture(picture) => self.picture(picture),
            Block::Config(text) => {
                self.add("<details><summary>All of them: config.toml</summary>\n<pre>");
                for line in text.lines() {
                    self.add(&escape(line));
                    self.add("\n");
                }
                self.add("</pre></details>\n");
            }
        }
    }

    fn charts(&mut self, size: Size, charts: &[Chart]) {
        let (grid, options) = match size {
            Size::Wide => (None, Options { width: 1040, height: 380, legend: true }),
            Size::Half => (Some("grid"), Options { width: 520, height: 320, legend: true }),
            Size::Small => (Some("grid small"), Options { width: 250, height: 170, legend: false }),
        };
        if let Some(class) = grid {
            let _ = writeln!(self.0, "<div class=\"{class}\">");
        }
        for chart in charts {
            let _ = writeln!(self.0, "<figure>{}</figure>", svg::figure(chart, &options));
        }
        if grid.is_some() {
            self.add("</div>\n");
        }
    }

    fn picture(&mut self, Picture { fold, epoch, png, width, height }: &Picture) {
        let caption = format!("Fold {fold}, epoch {epoch}: the newest crops of the epoch.");
        let scale = (PICTURE / width).clamp(1, 4);
        let class = if scale > 1 { " class=\"sharp\"" } else { "" };
        let (width, height, data) = (scale * width, scale * height, STANDARD.encode(png));
        let _ = writeln!(
            self.0,
            "<figure><img{class} width=\"{width}\" height=\"{height}\" alt=\"{caption}\" \
             src=\"data:image/png;base64,{data}\"><figcaption>{caption}</figcaption></figure>"
        );
    }

    fn table(&mut self, table: &Table) {
        let tinted = table.rows.iter().flatten().any(|cell| cell.tint.is_some());
        match &*table.caption {
            "" => {}
            caption if tinted => {
                let caption = caption.trim_end_matches('.');
                self.note(&format!("{caption}: the darker, the higher."));
            }
            caption => self.note(caption),
        }
        let class = |i: usize| if i < table.words { " class=\"w\"" } else { "" };
        self.add("<div class=\"scroll\"><table>\n<thead><tr>");
        for (i, name) in table.head.iter().enumerate() {
            let _ = write!(self.0, "<th scope=\"col\"{}>{name}</th>", class(i));
        }
        self.add("</tr></thead>\n<tbody>\n");
        self.rows(&table.rows, class);
        self.add("</tbody>\n");
        if !table.foot.is_empty() {
            self.add("<tfoot>\n");
            self.rows(&table.foot, class);
            self.add("</tfoot>\n");
        }
        self.add("</table></div>\n");
        if table.more > 0 {
            self.note(&format!("… and {} more.", table.more));
        }
    }

    fn rows(&mut self, rows: &[Vec<Cell>], class: impl Fn(usize) -> &'static str) {
        for row in rows {
            self.add("<tr>");
            for (i, Cell { text, tint }) in row.iter().enumerate() {
                let style = tint.map_or(String::new(), |tint| {
                    format!(" style=\"background:rgba(213,94,0,{:.2})\"", 0.04 + 0.5 * tint)
                });
                let _ = write!(self.0, "<td{}{style}>{}</td>", class(i), escape(text));
            }
            self.add("</tr>\n");
        }
    }
}
