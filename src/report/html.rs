//! Writes the report as an HTML page: one file without scripts, fonts or links, in light or dark colours
//! as the reader prefers.

use super::{
    evaluated::Evaluated,
    facts, figures,
    gather::{Picture, Report},
    scores,
    tables::{self, Cell, Table},
};
use crate::{
    export::{
        Chart, escape,
        svg::{self, Options},
    },
    run::event::SkippedStudy,
    view::report,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt::Write;

/// Size of a chart as wide as the page.
const WIDE: Options = Options { width: 1040, height: 380, legend: true };
/// Size of one of two charts side by side.
const HALF: Options = Options { width: 520, height: 320, legend: true };
/// Size of one of many charts side by side.
const SMALL: Options = Options { width: 250, height: 170, legend: false };
/// Width to which narrower pictures are enlarged, in pixels.
const PICTURE: u32 = 1000;

/// Writes the page. Everything from the run's folder is escaped text or a decoded picture.
pub fn page(report: &Report) -> String {
    let mut page = Page(String::new());
    page.head(report);
    page.results(report);
    page.scores(report);
    page.losses(report);
    page.heads(report);
    page.vertebrae(report);
    page.schedule(report);
    page.worst(report);
    page.pictures(&report.pictures);
    page.constant(report);
    page.troubles(report);
    let skipped = report.state.finished.as_ref().map_or(&[][..], |finished| &finished.skipped);
    page.left_out(skipped);
    page.settings(report);
    page.epochs(report);
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

    fn head(&mut self, report: &Report) {
        let name = escape(&report.name);
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
        let (tone, outcome) = facts::outcome(report);
        let class = match tone {
            facts::Tone::Good => "good",
            facts::Tone::Open => "open",
            facts::Tone::Bad => "bad",
        };
        let (sign, outcome) = (tone.sign(), escape(&outcome));
        let _ = writeln!(self.0, "<p class=\"outcome {class}\">{sign} {outcome}</p>");
        let _ = writeln!(self.0, "<p>{}</p>", escape(&facts::lead(report)));
        for alarm in facts::alarms(report) {
            let _ = writeln!(self.0, "<p class=\"alarm\">{}</p>", escape(&alarm));
        }
        self.add("<dl>\n");
        for (name, fact) in facts::facts(report) {
            let _ = writeln!(self.0, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&fact));
        }
        self.add("</dl>\n");
    }

    fn results(&mut self, report: &Report) {
        self.section("Results", |page| {
            page.table(&tables::folds(report));
            page.note(&super::results(report));
        });
    }

    fn scores(&mut self, report: &Report) {
        if let Some(table) = scores::at_best(report) {
            self.section("Scores at the best epochs", |page| {
                page.note(super::SCORES);
                page.table(&table);
            });
        }
        let Some(evaluated) = &report.evaluated else { return };
        self.section("Out of fold", |page| match evaluated {
            Err(why) => page.note(why),
            Ok(Evaluated { evaluation, studies }) => {
                page.note(super::OUT_OF_FOLD);
                if let Some(outdated) = scores::outdated(evaluation, &report.state.folds) {
                    page.note(&format!("{outdated}."));
                }
                page.table(&scores::targets(evaluation));
                page.note(&format!("{}.", scores::notes(evaluation)));
                page.table(&scores::folds(evaluation));
                page.note(&format!("{}.", scores::guess(evaluation)));
                if !studies.is_empty() {
                    page.add("<div class=\"grid\">\n");
                    page.figure(&scores::roc(studies), &HALF);
                    page.figure(&scores::reliability(studies, evaluation.rules.bins), &HALF);
                    page.add("</div>\n");
                }
            }
        });
    }

    fn losses(&mut self, report: &Report) {
        let folds = figures::drawn(report);
        if folds.is_empty() {
            return;
        }
        self.section("Loss", |page| {
            page.note(&super::losses(report));
            page.figure(&figures::validation(report), &WIDE);
            page.add("<div class=\"grid\">\n");
            for fold in &folds {
                page.figure(&figures::loss(fold), &HALF);
            }
            page.add("</div>\n");
            let more = figures::begun(report).len() - folds.len();
            if more > 0 {
                page.note(&format!("… and {more} more folds, which are not drawn."));
            }
        });
    }

    fn heads(&mut self, report: &Report) {
        if figures::drawn(report).iter().all(|fold| fold.last_epoch().is_none()) {
            return;
        }
        self.section("The two heads", |page| {
            page.note(super::HEADS);
            page.add("<div class=\"grid\">\n");
            let charts = figures::heads(report).into_iter().chain(figures::aucs(report));
            for chart in charts {
                page.figure(&chart, &HALF);
            }
            page.add("</div>\n");
        });
    }

    fn vertebrae(&mut self, report: &Report) {
        let Some(table) = tables::vertebrae(report) else { return };
        self.section("Vertebrae", |page| {
            page.note(super::VERTEBRAE);
            page.table(&table);
            page.note(
                "By epoch, all on the same axes; colours and dashes are those of the folds in \
                 the chart of the validation loss, the thick line is their mean.",
            );
            page.add("<div class=\"grid small\">\n");
            for chart in figures::vertebrae(report) {
                page.figure(&chart, &SMALL);
            }
            page.add("</div>\n");
        });
    }

    fn schedule(&mut self, report: &Report) {
        self.section("Schedule and pace", |page| {
            page.add("<div class=\"grid\">\n");
            page.figure(&figures::learning_rates(report), &HALF);
            page.figure(&figures::times(report), &HALF);
            page.add("</div>\n");
        });
    }

    fn worst(&mut self, report: &Report) {
        let table = tables::worst(report);
        if !table.rows.is_empty() {
            self.section("Worst studies", |page| {
                page.note(super::WORST);
                page.table(&table);
            });
        }
    }

    fn pictures(&mut self, pictures: &[Picture]) {
        if pictures.is_empty() {
            return;
        }
        self.section("Crops", |page| {
            page.note("Above as the network saw them, below the same slices as they are on the disk.");
            for picture in pictures {
                let Picture { fold, epoch, png, width, height } = picture;
                let caption = format!("Fold {fold}, epoch {epoch}: the newest crops of the epoch.");
                let scale = (PICTURE / width).clamp(1, 4);
                let (class, width, height) = match scale {
                    1 => ("", *width, *height),
                    _ => (" class=\"sharp\"", scale * width, scale * height),
                };
                let data = STANDARD.encode(png);
                let _ = writeln!(
                    page.0,
                    "<figure><img{class} width=\"{width}\" height=\"{height}\" alt=\"{caption}\" \
                     src=\"data:image/png;base64,{data}\"><figcaption>{caption}</figcaption></figure>"
                );
            }
        });
    }

    fn constant(&mut self, report: &Report) {
        let constants = &report.state.constant;
        if constants.is_empty() {
            return;
        }
        self.section(super::CONSTANT, |page| {
            page.note(&super::constant(constants));
            page.table(&tables::constant(constants));
        });
    }

    fn troubles(&mut self, report: &Report) {
        self.section("Warnings and errors", |page| {
            let table = tables::troubles(report);
            match table.rows.is_empty() {
                true => page.note("None."),
                false => page.table(&table),
            }
        });
    }

    fn left_out(&mut self, skipped: &[SkippedStudy]) {
        if skipped.is_empty() {
            return;
        }
        self.section("Studies left out", |page| {
            page.note(&format!("{}.", report::skipped_heading(skipped)));
            page.table(&tables::left_out(skipped));
        });
    }

    fn settings(&mut self, report: &Report) {
        self.section("Settings", |page| match &report.settings {
            Err(why) => page.note(why),
            Ok(settings) => {
                match settings.changed.is_empty() {
                    true => page.note("All as by default, which is as in the notebook."),
                    false => {
                        page.note("Those that are not the defaults, which are the notebook's:");
                        page.table(&tables::changed(settings));
                    }
                }
                page.add("<details><summary>All of them: config.toml</summary>\n<pre>");
                for line in settings.text.lines() {
                    page.add(&escape(line));
                    page.add("\n");
                }
                page.add("</pre></details>\n");
            }
        });
    }

    fn epochs(&mut self, report: &Report) {
        let folds = figures::drawn(report);
        let folds: Vec<_> = folds.iter().filter(|fold| fold.last_epoch().is_some()).collect();
        if folds.is_empty() {
            return;
        }
        self.section("Every epoch", |page| {
            for fold in folds {
                let number = fold.plan.fold;
                let _ = writeln!(page.0, "<details><summary>Fold {number}</summary>");
                page.table(&tables::epochs(fold));
                page.add("</details>\n");
            }
        });
    }

    fn figure(&mut self, chart: &Chart, options: &Options) {
        let _ = writeln!(self.0, "<figure>{}</figure>", svg::figure(chart, options));
    }

    fn table(&mut self, table: &Table) {
        let class = |i: usize| if i < table.words { " class=\"w\"" } else { "" };
        self.add("<div class=\"scroll\"><table>\n<thead><tr>");
        for (i, name) in table.head.iter().enumerate() {
            let _ = write!(self.0, "<th scope=\"col\"{}>{name}</th>", class(i));
        }
        self.add("</tr></thead>\n<tbody>\n");
        for row in &table.rows {
            self.row(row, class);
        }
        self.add("</tbody>\n");
        if !table.foot.is_empty() {
            self.add("<tfoot>\n");
            for row in &table.foot {
                self.row(row, class);
            }
            self.add("</tfoot>\n");
        }
        self.add("</table></div>\n");
        if table.more > 0 {
            self.note(&format!("… and {} more.", table.more));
        }
    }

    fn row(&mut self, row: &[Cell], class: impl Fn(usize) -> &'static str) {
        self.add("<tr>");
        for (i, Cell { text, tint }) in row.iter().enumerate() {
            let style = tint.map(|tint| {
                format!(" style=\"background:rgba(213,94,0,{:.2})\"", 0.04 + 0.5 * tint)
            });
            let (class, style, text) = (class(i), style.unwrap_or_default(), escape(text));
            let _ = write!(self.0, "<td{class}{style}>{text}</td>");
        }
        self.add("</tr>\n");
    }
}
