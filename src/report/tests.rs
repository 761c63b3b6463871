use super::{csv, document::Tone, facts, *};
use crate::run::{
    event::*,
    folder::Folder,
    journal::{Journal, parse},
};
use std::{fs, path::Path};

const HOSTILE: &str = "<script src=\"http://x\">alert(1)</script>'\"&|`*\n# x\u{1b}[2J";

fn at(fold: usize, epoch: usize, step: usize) -> Position {
    Position { fold, epoch, step }
}

fn plan(name: &str) -> Event {
    let fold = |fold| FoldPlan {
        fold,
        train_studies: 8,
        valid_studies: 4,
        steps: 4,
        valid_batches: 2,
        baseline: 0.6,
    };
    Event::RunStarted(RunStarted {
        name: name.into(),
        folder: name.into(),
        device: name.into(),
        model: name.into(),
        parameters: 1000,
        image_size: 64,
        images_per_study: 105,
        batch_size: 2,
        epochs: 3,
        learning_rates: vec![1e-3, 6e-4, 1e-4],
        folds: vec![fold(1), fold(0)],
        seed: 7,
        select: Default::default(),
        resumed: false,
    })
}

fn step(at: Position, loss: f64) -> Event {
    let step = Step {
        at,
        steps: 4,
        loss,
        slice_loss: loss,
        study_loss: 2.0 * loss,
        vertebra_loss: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, f64::INFINITY],
        grad_norm: 1.5,
        learning_rate: 1e-3,
        mixup: at.step.is_multiple_of(2).then_some(0.25),
        images: 210,
        data_seconds: 0.125,
        compute_seconds: 0.5,
        ..Step::default()
    };
    Event::Step(Step { skipped: !loss.is_finite(), ..step })
}

fn epoch(at: Position, valid: f64) -> Event {
    Event::Epoch(Epoch {
        at,
        learning_rate: 1e-3,
        train_loss: valid + 0.1,
        train_slice_loss: valid,
        train_study_loss: valid + 0.2,
        valid_loss: valid,
        valid_slice_loss: valid - 0.1,
        valid_study_loss: valid + 0.1,
        valid_vertebra_loss: [Some(valid), None, Some(0.2), Some(0.3), None, None, Some(0.4)],
        slice_auc: Some(0.75),
        metric: valid,
        best_metric: valid,
        is_best: true,
        train_seconds: 10.0,
        valid_seconds: 2.0,
        valid_batches: 2,
        ..Epoch::default()
    })
}

/// Returns the events of two folds, one with a non-finite loss.
fn events(name: &str) -> Vec<Event> {
    let log = Log { level: Level::Warn, message: name.into() };
    let mut events = vec![plan(name), Event::Log(log)];
    for fold in [1, 0] {
        for e in 1..=3 {
            let begun = EpochStarted { at: at(fold, e, 0), learning_rate: 1e-3 };
            events.push(Event::EpochStarted(begun));
            for s in 1..=4 {
                let bad = (fold, e, s) == (0, 2, 3);
                let loss = if bad { f64::NAN } else { 0.9 / (e as f64 + 0.1 * s as f64) };
                events.push(step(at(fold, e, s), loss));
            }
            events.push(epoch(at(fold, e, 4), 0.5 - 0.05 * e as f64 + 0.01 * fold as f64));
        }
        let done = FoldEvent { at: at(fold, 3, 4), state: FoldState::Done };
        events.push(Event::Fold(done));
    }
    events
}

fn finished(name: &str) -> Event {
    let study = SkippedStudy { fold: 0, study: name.into(), times: 2, message: name.into() };
    let skipped = vec![study];
    Event::RunFinished(RunFinished { outcome: Outcome::Completed, best: Vec::new(), skipped })
}

/// Makes a run's folder with these events, and its report.
fn report_of(dir: &Path, events: &[Event]) -> Report {
    let path = dir.join("run");
    fs::create_dir_all(&path).unwrap();
    if !path.join("config.toml").exists() {
        fs::write(path.join("config.toml"), "seed = 7\n").unwrap();
    }
    let mut journal = Journal::open(&path.join("journal.jsonl")).unwrap();
    for (i, event) in events.iter().enumerate() {
        journal.append(&Stamped::new(i as f64, event.clone())).unwrap();
    }
    report(dir)
}

fn report(dir: &Path) -> Report {
    Report::of(&Folder::open(dir, Some("run")).unwrap(), 1.8e9).unwrap()
}

#[test]
fn the_page_tells_all_and_asks_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = events("the device");
    let prediction = Prediction {
        study: "1.2.9".into(),
        labels: [0, 1, 0, 0, 1, 0, 0],
        probability: 0.0625,
        slices: vec![0.5; 105],
    };
    let study = WorstStudy { loss: 2.5, slice_loss: 2.25, study_loss: 2.75, prediction };
    events.push(Event::Worst(Worst { at: at(0, 3, 4), studies: vec![study] }));
    events.push(finished("1.2.3"));
    let report = report_of(dir.path(), &events);
    let page = report.html();
    for words in [
        "✓ finished",
        "the device",
        "Best validation loss 0.3500 (fold 0, epoch 3), 0.58 times that of a constant guess",
        "mean of 2",
        "left out as unreadable: 1 study in fold 0",
        "1 loss is not finite, the last at fold 0 epoch 2 step 3",
        ">Fold 0<",
        ">Slice head<",
        ">C7<",
        ">Learning rate<",
        ">1.2.9</td><td class=\"w\">C2 C5</td><td>0</td><td>3</td><td>0.062</td><td>2.5000<",
        "<pre>seed = 7\n</pre>",
        "not finite",
    ] {
        assert!(page.contains(words), "no {words:?}");
    }
    for never in ["<script", "http:", "https:", "href=", "url(", "@import", "<link", "NaN,", "NaN "]
    {
        assert!(!page.contains(never), "{never}");
    }
    assert_eq!(page.matches("src=").count(), 0, "there are no pictures");

    let text = report.markdown();
    for words in
        ["# run", "**✓ finished**", "fold 0   valid   0.4500 █", "    seed = 7", "| **mean**"]
    {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn hostile_text_stays_text() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    fs::create_dir(&run).unwrap();
    // TOML strings must not contain the escape character.
    let config = format!("[train]\n\"</pre><script>\" = '''{}'''\n", HOSTILE.replace('\u{1b}', ""));
    fs::write(run.join("config.toml"), config).unwrap();
    let mut events = events(HOSTILE);
    let error = ErrorEvent { at: at(0, 1, 1), message: HOSTILE.into(), fatal: false };
    events.extend([Event::Error(error), finished(HOSTILE)]);
    let report = report_of(dir.path(), &events);
    let page = report.html();
    assert!(page.contains("&lt;script src=&quot;http://x&quot;&gt;"));
    for never in ["<script", "</pre><script", "\"http", "\u{1b}"] {
        assert!(!page.contains(never), "{never}");
    }
    let text = report.markdown();
    assert!(!text.contains("\u{1b}") && !text.contains("\n# x"));
    let outside = text.lines().filter(|line| !line.starts_with("    "));
    assert!(!outside.clone().any(|line| line.contains("<script") || line.contains("'`*")));
}

#[test]
fn a_run_that_goes_on_or_died_is_told_of_too() {
    let dir = tempfile::tempdir().unwrap();
    let events = events("x");
    let report = report_of(dir.path(), &events[..14]);
    let (tone, outcome) = facts::outcome(&report);
    assert_eq!(tone, Tone::Bad);
    assert!(outcome.starts_with("died at fold 1 epoch 2"), "{outcome}");
    assert!(report.html().contains("interrupted"));
    let alive = Report { in_use: true, ..report };
    assert_eq!(facts::outcome(&alive).0, Tone::Open);
    assert!(alive.html().contains("training fold 1 epoch 2"));

    let empty = tempfile::tempdir().unwrap();
    let report = report_of(empty.path(), &[]);
    assert_eq!(facts::outcome(&report).1, "not begun");
    assert!(report.html().contains("no epoch was finished"));
    assert!(report.markdown().contains("no epoch was finished"));
}

#[test]
fn only_pictures_of_the_runs_own_are_embedded_and_of_each_fold_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let previews = dir.path().join("run/previews");
    fs::create_dir_all(&previews).unwrap();
    let picture = |name: &str, width| {
        image::GrayImage::new(width, 8).save(previews.join(name)).unwrap();
    };
    picture("fold0_epoch002.png", 16);
    picture("fold0_epoch010.png", 24);
    picture("fold1_epoch001.png", 32);
    picture("mine.png", 8);
    fs::write(previews.join("fold2_epoch001.png"), "no picture").unwrap();
    fs::write(previews.join("fold3_epoch\"><script>.png"), "no picture").unwrap();
    #[cfg(unix)]
    {
        let (own, link) = (previews.join("mine.png"), previews.join("fold4_epoch001.png"));
        std::os::unix::fs::symlink(own, link).unwrap();
    }
    let report = report_of(dir.path(), &events("x"));
    let found = report.pictures.iter().map(|p| (p.fold, p.epoch, p.width));
    assert_eq!(found.collect::<Vec<_>>(), [(0, 10, 24), (1, 1, 32)]);
    let page = report.html();
    assert_eq!(page.matches("src=\"data:image/png;base64,iVBOR").count(), 2);
    assert_eq!(page.matches("src=").count(), 2);
}

#[test]
fn a_config_that_is_none_is_told_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("config.toml"), "-----BEGIN SECRET-----\nxyz\n").unwrap();
    let report = report_of(dir.path(), &events("x"));
    let page = report.html();
    assert!(page.contains("config.toml is no TOML") && !page.contains("xyz"));
}

#[test]
fn a_mean_has_a_spread_of_two_values_or_more() {
    use crate::view::mean;
    assert_eq!(mean(&[]), None);
    assert_eq!(mean(&[0.5]), Some((0.5, None)));
    let (mean, sd) = mean(&[1.0, 2.0, 3.0]).unwrap();
    assert_eq!((mean, sd), (2.0, Some(1.0)));
}

#[test]
fn troubles_are_the_first_and_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let warn = |i| Event::Log(Log { level: Level::Warn, message: format!("warning {i}.") });
    let mut events = vec![plan("x")];
    events.extend((0..1000).map(warn));
    let page = report_of(dir.path(), &events).html();
    for (words, wanted) in [("g 0.", true), ("g 99.", true), ("g 500.", false), ("g 999.", true)] {
        assert_eq!(page.contains(&format!("warnin{words}")), wanted, "{words}");
    }
    assert!(page.contains("… and 800 more."));
}

#[test]
fn the_figures_are_the_journals() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = events("x");
    events.push(Event::Retrain(Retrain { at: at(1, 0, 0), seed: 8 }));
    events.push(step(at(1, 1, 1), 0.125));
    report_of(dir.path(), &events);
    let journal = dir.path().join("run/journal.jsonl");
    let mut text = fs::read_to_string(&journal).unwrap();
    text += "no JSON\n";
    fs::write(&journal, &text).unwrap();
    let (mut steps, mut epochs) = (Vec::new(), Vec::new());
    let counted = csv::write(&journal, &mut steps, &mut epochs).unwrap();
    assert_eq!(counted, csv::Counted { steps: 25, epochs: 6, damaged: 1 });

    let rows = |bytes: &[u8]| -> Vec<std::collections::HashMap<String, String>> {
        let mut reader = ::csv::Reader::from_reader(bytes);
        reader.deserialize().map(Result::unwrap).collect()
    };
    let (step_rows, epoch_rows) = (rows(&steps), rows(&epochs));
    let mut rows = (step_rows.iter(), epoch_rows.iter());
    for line in text.lines().skip(1) {
        let Some(stamped) = parse(line.as_bytes()) else { continue };
        let equal = |row: &std::collections::HashMap<String, String>, key: &str, value: f64| {
            let cell: f64 = row[key].parse().unwrap();
            assert!(cell == value || (cell.is_nan() && value.is_nan()), "{key}: {cell} {value}");
        };
        match stamped.event {
            Event::Step(s) => {
                let row = rows.0.next().unwrap();
                let at = [s.at.fold, s.at.epoch, s.at.step].map(|n| n.to_string());
                assert_eq!([&row["fold"], &row["epoch"], &row["step"]], at.each_ref());
                equal(row, "elapsed", stamped.at);
                equal(row, "loss", s.loss);
                equal(row, "study_loss", s.study_loss);
                equal(row, "c2", s.vertebra_loss[1]);
                equal(row, "c7", s.vertebra_loss[6]);
                equal(row, "compute_seconds", s.compute_seconds);
                assert_eq!(row["mixup"], s.mixup.map_or(String::new(), |m| m.to_string()));
                assert_eq!(row["skipped"], s.skipped.to_string());
                assert!(row["time"].parse::<f64>().unwrap() > 1.5e9);
            }
            Event::Epoch(e) => {
                let row = rows.1.next().unwrap();
                equal(row, "valid_loss", e.valid_loss);
                equal(row, "valid_c7", e.valid_vertebra_loss[6].unwrap());
                assert_eq!((&*row["valid_c2"], &*row["study_auc"]), ("", ""));
                equal(row, "slice_auc", e.slice_auc.unwrap());
                assert_eq!((&*row["valid_batches"], &*row["seed"]), ("2", "7"));
            }
            _ => {}
        }
    }
    assert_eq!((rows.0.next(), rows.1.next()), (None, None));
    assert_eq!(step_rows.last().unwrap()["seed"], "8", "trained again");
}
