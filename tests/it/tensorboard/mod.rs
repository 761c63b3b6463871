//! What `run.tensorboard = true` leaves, read by TensorBoard itself where there is a Python with it
//! (`RSNA_TUI_PYTHON`, or else `python3`).

mod reader;

use crate::tiny::{rsna_tui, said, train};
use reader::{Curves, curves, files};
use rsna_tui::run::{
    event::{EpochStarted, Event, FoldState, Position, Queue, Queued},
    folder::Folder,
    tensorboard,
};
use rsna_tui_testkit::script::Script;
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Four steps an epoch.
const SMALL: [&str; 4] = ["--set", "data.phantom_studies=12", "--set", "checkpoint.every_steps=2"];

#[test]
fn a_run_that_died_and_went_on_has_the_journals_figures() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = train("curves", 2);
    args.extend(SMALL);
    // A step after the checkpoint in the middle of fold 0's second epoch.
    args.extend(["--set", "run.tensorboard=true", "--panic-at-step", "8"]);
    let begun = SystemTime::now();
    assert_eq!(rsna_tui(dir.path(), &args).status.code(), Some(1));
    let run = dir.path().join("runs/curves");
    let folder = |fold: usize| run.join(format!("tensorboard/fold{fold}"));
    // As if it had been killed in the middle of a write.
    let died = fs::read_dir(folder(0)).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&died).unwrap();
    fs::write(&died, [&whole[..], &whole[..20]].concat()).unwrap();
    let out = rsna_tui(dir.path(), &["resume", "curves", "--no-tui"]);
    assert!(out.status.success(), "{}", said(&out));

    let [died, went_on] = &files(&folder(0))[..] else { panic!("a file for each process") };
    let last = died.last().unwrap().step;
    let start = &went_on[1];
    assert!(start.is_start && start.step <= last, "{start:?} after step {last}");
    assert_eq!(files(&folder(1)).len(), 1);
    let now = SystemTime::now();
    let times = [begun, now].map(|t| t.duration_since(UNIX_EPOCH).unwrap().as_secs_f64());
    for event in died.iter().chain(went_on) {
        assert!((times[0]..=times[1]).contains(&event.wall_time), "{event:?}");
    }
    for fold in [0, 1] {
        let expected = journalled(&run, fold);
        assert_eq!(expected.keys().filter(|tag| tag.starts_with("train/")).count(), 14);
        assert!(expected.contains_key("valid/vertebra_loss/C7"), "{:?}", expected.keys());
        same(&curves(&folder(fold)), &expected);
        if let Some(read) = read_by_tensorboard(&folder(fold)) {
            same(&read, &expected);
        }
    }
}

#[test]
fn without_the_setting_there_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = train("plain", 2);
    args.extend(SMALL);
    args.extend(["--panic-at-step", "2"]);
    assert_eq!(rsna_tui(dir.path(), &args).status.code(), Some(1));
    assert!(dir.path().join("runs/plain/journal.jsonl").is_file());
    assert!(!dir.path().join("runs/plain/tensorboard").exists());
}

const NOW: SystemTime = UNIX_EPOCH;

fn at(epoch: usize, step: usize) -> Position {
    Position { fold: 0, epoch, step }
}

fn begin(epoch: usize, step: usize) -> Event {
    Event::EpochStarted(EpochStarted { at: at(epoch, step), learning_rate: 1e-3 })
}

/// Fold 0 of a queue, under `seed`.
fn queue(seed: u64) -> Event {
    Event::Queue(Queue { folds: vec![Queued { fold: 0, state: FoldState::Training, seed }] })
}

#[test]
fn steps_that_are_made_again_replace_those_before_and_another_seed_has_its_own_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path(), "run").unwrap();
    let mut written = tensorboard::Curves::new(folder.clone());
    let script = Script { steps: 4, ..Script::default() };
    let mut hear = |event: Event| written.hear(&event, NOW).unwrap();
    let steps = |epoch, range: std::ops::RangeInclusive<usize>| {
        let events = range.map(|step| script.step(at(epoch, step))).collect::<Vec<_>>();
        std::iter::once(begin(epoch, events.first().map_or(0, |e| step_of(e) - 1))).chain(events)
    };
    hear(script.started());
    // The run's own seed.
    hear(queue(42));
    steps(1, 1..=4).for_each(&mut hear);
    hear(script.epoch(0, 1));
    steps(2, 1..=3).for_each(&mut hear);
    // Given up and brought back: from the last checkpoint on.
    steps(2, 2..=4).for_each(&mut hear);
    hear(script.epoch(0, 2));
    hear(queue(43));
    steps(1, 1..=2).for_each(&mut hear);

    let own = curves(&folder.tensorboard(0, None));
    let x = |curves: &Curves, tag: &str| -> Vec<usize> {
        curves[tag].iter().map(|&(step, _)| step).collect()
    };
    assert_eq!(x(&own, "train/loss"), (1..=8).collect::<Vec<_>>());
    assert_eq!(x(&own, "valid/loss"), [4, 8]);
    // Not known after the first epoch.
    assert_eq!(x(&own, "valid/study_auc"), [8]);
    assert_eq!(x(&own, "valid/vertebra_loss/C4"), [8]);
    let [own] = &files(&folder.tensorboard(0, None))[..] else { panic!("one file") };
    let starts: Vec<_> = own.iter().filter(|e| e.is_start).map(|e| e.step).collect();
    assert_eq!(starts, [1, 6]);
    assert_eq!(own[0].file_version.as_deref(), Some("brain.Event:2"));
    let again = curves(&folder.tensorboard(0, Some(43)));
    assert_eq!(x(&again, "train/loss"), [1, 2]);
    assert!(folder.path().join("tensorboard/fold0_seed43").is_dir());
}

fn step_of(event: &Event) -> usize {
    match event {
        Event::Step(step) => step.at.step,
        _ => panic!("no step"),
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path(), "run").unwrap();
    let mut written = tensorboard::Curves::new(folder.clone());
    let Event::Step(mut step) = Script::default().step(at(1, 1)) else { panic!("a step") };
    (step.loss, step.grad_norm) = (f64::NAN, f64::INFINITY);
    written.hear(&Event::Step(step), NOW).unwrap();
    let dir = folder.tensorboard(0, None);
    for read in [Some(curves(&dir)), read_by_tensorboard(&dir)].into_iter().flatten() {
        assert!(read["train/loss"][0].1.is_nan());
        assert_eq!(read["train/grad_norm"], [(1, f32::INFINITY)]);
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(dir.path(), "run").unwrap();
    let in_the_way = folder.path().join("tensorboard");
    fs::write(&in_the_way, "").unwrap();
    let mut written = tensorboard::Curves::new(folder.clone());
    let script = Script { steps: 2, ..Script::default() };
    written.hear(&script.started(), NOW).unwrap();
    written.hear(&begin(1, 0), NOW).unwrap();
    assert!(written.hear(&script.step(at(1, 1)), NOW).is_err());
    assert!(written.hear(&script.step(at(1, 2)), NOW).is_err());
    fs::remove_file(&in_the_way).unwrap();
    written.hear(&begin(2, 0), NOW).unwrap();
    written.hear(&script.step(at(2, 1)), NOW + Duration::from_secs(1)).unwrap();
    let [file] = &files(&folder.tensorboard(0, None))[..] else { panic!("one file") };
    // Of an earlier process nothing is left from where this one began.
    assert!(file[1].is_start && file[1].step == 1, "{file:?}");
    assert_eq!((file[2].step, file[2].wall_time), (3, 1.0));
}

/// The figures of a fold that the journal holds, under their tags.
fn journalled(run: &Path, fold: usize) -> Curves {
    let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap();
    let lines: Vec<Value> = journal.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let started = lines.iter().find(|line| line["type"] == "run_started").unwrap();
    let plan = started["folds"].as_array().unwrap().iter().find(|plan| plan["fold"] == fold);
    let steps = plan.unwrap()["steps"].as_u64().unwrap();
    let mut curves = Curves::new();
    for line in lines.iter().filter(|line| line["at"]["fold"] == fold) {
        let part = match line["type"].as_str().unwrap() {
            "step" => "train",
            "epoch" => "valid",
            _ => continue,
        };
        let place = |key| line["at"][key].as_u64().unwrap();
        let x = (place("epoch") - 1) * steps + place("step");
        let mut put = |tag: &str, value: f64| {
            curves.entry(format!("{part}/{tag}")).or_default().push((x as usize, value as f32));
        };
        let figure = |key: &str| line[key].as_f64();
        let of_part = |key: &str| match part {
            "valid" => figure(&format!("valid_{key}")),
            _ => figure(key),
        };
        for key in ["loss", "slice_loss", "study_loss"] {
            put(key, of_part(key).unwrap());
        }
        for key in ["learning_rate", "grad_norm"].iter().filter(|_| part == "train") {
            put(key, figure(key).unwrap());
        }
        for key in ["slice_auc", "study_auc"] {
            figure(key).into_iter().for_each(|auc| put(key, auc));
        }
        if let Some(scores) = line.get("scores") {
            let value = |figure: &Value| figure["value"].as_f64();
            let targets = scores["targets"].as_array().unwrap();
            let of = |key: &str| value(&targets[7][key]);
            let aucs: Vec<f64> = targets[..7].iter().filter_map(|t| value(&t["auc"])).collect();
            let mean = aucs.iter().sum::<f64>() / aucs.len() as f64;
            for (key, figure) in [
                ("competition", value(&scores["competition"])),
                ("patient_auc", of("auc")),
                ("patient_average_precision", of("average_precision")),
                ("vertebra_auc", Some(mean).filter(|mean| mean.is_finite())),
            ] {
                figure.into_iter().for_each(|figure| put(key, figure));
            }
        }
        if part == "train" {
            let wait = figure("data_seconds").unwrap();
            let seconds = wait + figure("compute_seconds").unwrap();
            put("images_per_second", figure("images").unwrap() / seconds);
            put("data_wait", wait / seconds);
        }
        let key = if part == "valid" { "valid_vertebra_loss" } else { "vertebra_loss" };
        for (level, loss) in (1..).zip(line[key].as_array().unwrap()) {
            loss.as_f64()
                .into_iter()
                .for_each(|loss| put(&format!("vertebra_loss/C{level}"), loss));
        }
    }
    curves
}

fn same(read: &Curves, expected: &Curves) {
    let tags = |curves: &Curves| curves.keys().cloned().collect::<Vec<_>>();
    assert_eq!(tags(read), tags(expected));
    for (tag, curve) in expected {
        assert_eq!(&read[tag], curve, "{tag}");
    }
}

/// What TensorBoard's own reader finds in `dir`; `None` where there is no TensorBoard.
fn read_by_tensorboard(dir: &Path) -> Option<Curves> {
    let python = std::env::var("RSNA_TUI_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", "import tensorboard"]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        eprintln!("skipped: {python} has no tensorboard, so its reader was not asked");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tensorboard/scalars.py");
    let out = Command::new(&python).arg(script).arg(dir).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    let mut curves = Curves::new();
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        let [tag, step, value] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not tag, step and value: {line}")
        };
        // A float of 32 bits in one of 64.
        let value = value.parse::<f64>().unwrap() as f32;
        curves.entry(tag.into()).or_default().push((step.parse().unwrap(), value));
    }
    Some(curves)
}
