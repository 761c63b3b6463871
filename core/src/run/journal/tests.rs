use super::*;
use crate::run::event::{Gpu, Level, Log, Position, Step, System};

fn step_line(fold: usize, epoch: usize, step: usize, loss: &str) -> String {
    format!(
        "{{\"type\":\"step\",\"at\":{{\"fold\":{fold},\"epoch\":{epoch},\"step\":{step}}},\"steps\":9,\
         \"loss\":{loss},\"slice_loss\":1.0,\"study_loss\":1.0,\"vertebra_loss\":[1,1,1,1,1,1,\"nan\"],\
         \"grad_norm\":\"inf\",\"skipped\":false,\"learning_rate\":0.1,\"mixup\":null,\"images\":2,\
         \"data_seconds\":0.0,\"compute_seconds\":1.0,\"elapsed\":{step}.5,\"time\":1.0}}"
    )
}

/// Returns the events of a journal, and what was passed over.
fn read(path: &Path) -> Result<(Vec<Stamped>, Passed), Error> {
    let mut events = Vec::new();
    let passed = for_each::<Error>(path, None, |stamped, _| {
        events.push(stamped.clone());
        Ok(())
    })?;
    Ok((events, passed))
}

#[test]
fn what_is_written_is_read_and_a_cut_line_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let mut journal = Journal::open(&path).unwrap();
    let log = Event::Log(Log { level: Level::Info, message: "a \"quoted\"\nline".into() });
    journal.append(&Stamped::new(1.5, log.clone())).unwrap();
    drop(journal);
    let mut text = std::fs::read_to_string(&path).unwrap();
    text += &format!("{}\n{}\n", step_line(3, 1, 2, "\"nan\""), step_line(3, 1, 3, "0.25"));
    text += "{\"type\":\"from the future\",\"elapsed\":1}\nno JSON\n{\"type\":\"st";
    std::fs::write(&path, &text).unwrap();
    let (events, passed) = read(&path).unwrap();
    assert_eq!(events[0], Stamped::new(1.5, log));
    let steps: Vec<&Step> = events[1..].iter().map(step_of).collect();
    assert!(steps[0].loss.is_nan() && steps[0].grad_norm == f64::INFINITY);
    let at = Position { fold: 3, epoch: 1, step: 3 };
    assert_eq!((steps[1].at, steps[1].loss, steps.len()), (at, 0.25, 2));
    assert_eq!(passed.damaged, 1);
    assert_eq!(Vec::from_iter(passed.unknown), ["from the future"]);

    // An event may have a field of its own named `kind`.
    let saved = Event::Checkpoint(crate::run::event::Checkpoint {
        at: Position::default(),
        kind: crate::run::event::CheckpointKind::Last,
        path: "p".into(),
        seconds: 0.25,
    });
    let own = Stamped::new(7.5, saved);
    assert_eq!(parse(&line(&own)), Some(own));

    assert_eq!(trim(&path, &[]).unwrap().0, 3.5);
    let trimmed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(trimmed, text[..text.rfind('\n').unwrap() + 1]);
}

fn step_of(stamped: &Stamped) -> &Step {
    match &stamped.event {
        Event::Step(step) => step,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fields_may_come_in_any_order() {
    for line in [step_line(0, 12, 345, "0.71"), step_line(9, 1, 1, "-1e-7")] {
        let read = parse(line.as_bytes()).unwrap();
        // A map of serde_json is sorted by key: `at` first, `type` near the end.
        let sorted: serde_json::Value = serde_json::from_str(&line).unwrap();
        let sorted = parse(sorted.to_string().as_bytes()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{sorted:?}"));
        let own = super::line(&read);
        assert_eq!(format!("{:?}", parse(&own).unwrap()), format!("{read:?}"), "our own writing");
    }
}

#[test]
fn what_a_newer_version_wrote_is_passed_over_and_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    drop(Journal::open(&path).unwrap());
    let newer = |step| step_line(3, 1, step, "0.5").replace("\"mixup\"", "\"ratio\":0.1,\"mixup\"");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for step in 1..=3 {
        text += &format!("{}\n{{\"type\":\"dream\",\"at\":7,\"elapsed\":1.0}}\n", newer(step));
    }
    std::fs::write(&path, text).unwrap();
    let (events, passed) = read(&path).unwrap();
    assert_eq!((events.len(), passed.damaged), (3, 0));
    assert_eq!(Vec::from_iter(passed.unknown), ["dream", "step.ratio"]);
    let own = Journal::open(&dir.path().join("own.jsonl"));
    own.unwrap().append(&events[0]).unwrap();
    assert!(read(&dir.path().join("own.jsonl")).unwrap().1.unknown.is_empty());
}

#[test]
fn a_machines_figures_are_read_back() {
    let gpu = Gpu {
        memory_used: 1 << 35,
        memory_total: 80 << 30,
        utilisation: Some(97),
        watts: Some(512.25),
        throttled: Some("power cap, thermal".into()),
        ..Gpu::default()
    };
    let system = System {
        cpu: 93.5,
        process_cpu: 187.0,
        resident: 1 << 30,
        memory_used: 3 << 30,
        memory_total: 8 << 30,
        disk_free: Some(5 << 30),
        load: Some(1.5),
        ..System::default()
    };
    for event in [Event::Gpu(gpu), Event::System(system)] {
        let stamped = Stamped::new(2.5, event);
        assert_eq!(parse(&line(&stamped)), Some(stamped));
    }
    // A line from before `throttled` existed.
    let old = br#"{"type":"gpu","memory_used":1,"memory_total":2,"utilisation":null,
        "temperature":61,"watts":null,"elapsed":3.5,"time":1.0}"#;
    assert!(parse(old).is_some_and(|stamped| stamped.at == 3.5));
}

#[test]
fn only_what_a_checkpoint_does_not_know_is_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    drop(Journal::open(&path).unwrap());
    let head = std::fs::read_to_string(&path).unwrap();
    let again = "{\"type\":\"again\",\"at\":{\"fold\":0,\"epoch\":0,\"step\":0},\"seed\":7,\
                 \"elapsed\":9.0,\"time\":1.0}";
    let before = [step_line(0, 3, 9, "1.0"), again.into(), step_line(0, 2, 3, "0.5")].join("\n");
    let beyond = [step_line(0, 2, 4, "0.5"), step_line(0, 3, 1, "0.5")].join("\n");
    let other = step_line(1, 5, 5, "0.5");
    std::fs::write(&path, format!("{head}{before}\n{beyond}\n{other}\n{{\"ty")).unwrap();
    trim(&path, &[Known { fold: 0, epochs: 1, steps: 3 }]).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{head}{before}\n{other}\n"));
}

#[test]
fn what_is_no_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    for (text, words) in [
        ("", "is no journal"),
        ("{\"type\":\"step\"}\n", "is no journal"),
        ("{\"type\":\"journal\",\"version\":2}\n", "version 2"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // Reading a line without an end takes no more memory than the limit.
    std::fs::write(
        &path,
        format!("{{\"type\":\"journal\",\"version\":1}}\n{}\n", "x".repeat(3 << 20)),
    )
    .unwrap();
    assert_eq!(read(&path).unwrap().1.damaged, 1);
}

/// Returns an event of every kind without a fixed length, each far longer than a line may be.
fn monsters() -> Vec<Event> {
    use crate::run::event::*;
    let long = |n: usize| "1.2.826\u{1b}\"ä".repeat(n);
    let at = Position { fold: 7, epoch: 8, step: 9 };
    let prediction = || Prediction {
        study: long(100_000),
        labels: [0; 7],
        probability: 0.5,
        slices: vec![0.1; 448],
    };
    let plan = |fold| FoldPlan {
        fold,
        train_studies: 1,
        valid_studies: 1,
        steps: 1,
        valid_batches: 1,
        baseline: f64::NAN,
    };
    let started = RunStarted {
        name: long(400_000),
        folder: long(400_000),
        device: long(400_000),
        model: long(400_000),
        parameters: 1,
        image_size: 32,
        images_per_study: 105,
        batch_size: 2,
        epochs: 100_000,
        learning_rates: vec![1.234_567_890_123_456_7e-5; 100_000],
        folds: (0..100_000).map(plan).collect(),
        seed: 1,
        select: Default::default(),
        resumed: false,
    };
    let best = |fold| FoldBest {
        fold,
        metric: 0.5,
        epoch: 1,
        valid_loss: None,
        slice_auc: None,
        baseline: 0.5,
        path: long(400),
    };
    let skipped = |fold| SkippedStudy { fold, study: long(30), times: 1, message: long(60) };
    let worst =
        || WorstStudy { loss: 1.0, slice_loss: 1.0, study_loss: 1.0, prediction: prediction() };
    let wanted =
        SliceRequest { fold: 0, epoch: 1, seed: 0, study: long(300_000), vertebra: 1, slice: 0 };
    let throttled = Some(long(400_000));
    vec![
        Event::RunStarted(started),
        Event::Planned(Planned {
            at,
            epochs: 100_000,
            learning_rates: vec![1.234_567_890_123_456_7e-5; 500_000],
            changes: vec![long(10); 100_000],
        }),
        Event::Queue(Queue {
            folds: vec![Queued { fold: 1, state: FoldState::Waiting, seed: u64::MAX }; 200_000],
        }),
        Event::LeftOut(LeftOut { at, what: long(100_000), studies: vec![long(20_000); 100] }),
        Event::Worst(Worst { at, studies: (0..30).map(|_| worst()).collect() }),
        Event::Preview(Preview { at, crops: Vec::new(), predictions: vec![prediction(); 100] }),
        Event::SliceReply(SliceReply { wanted, found: SliceContent::Nothing(long(300_000)) }),
        Event::Gpu(Gpu { memory_used: 1, memory_total: 1, throttled, ..Gpu::default() }),
        Event::Checkpoint(Checkpoint {
            at,
            kind: CheckpointKind::Last,
            path: long(400_000),
            seconds: 1.0,
        }),
        Event::Trainer(TrainerEvent { at, state: TrainerState::Held, reason: Some(long(400_000)) }),
        Event::Log(Log { level: Level::Warn, message: long(400_000) }),
        Event::Error(ErrorEvent { at, message: long(400_000), fatal: true }),
        Event::RunFinished(RunFinished {
            outcome: Outcome::Failed,
            best: (0..1000).map(best).collect(),
            skipped: (0..100_000).map(skipped).collect(),
        }),
    ]
}

#[test]
fn nothing_that_is_written_is_too_long_to_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let mut journal = Journal::open(&path).unwrap();
    let monsters = monsters();
    for event in &monsters {
        let event = event.clone();
        assert!(serde_json::to_vec(&event).unwrap().len() > LONGEST_LINE, "{:?}", kind_of(&event));
        journal.append(&Stamped::new(1.0, event)).unwrap();
    }
    let mut read = Vec::new();
    let passed = for_each::<Error>(&path, None, |stamped, time| {
        assert!(stamped.at == 1.0 && time > 0.0);
        read.push(stamped.event.clone());
        Ok(())
    });
    assert_eq!(passed.unwrap().damaged, 0);
    let kinds = |events: &[Event]| events.iter().map(kind_of).collect::<Vec<_>>();
    assert_eq!(kinds(&read), kinds(&monsters), "each is still what it was");
}

fn kind_of(event: &Event) -> std::mem::Discriminant<Event> {
    std::mem::discriminant(event)
}

#[test]
fn the_longest_plan_that_a_config_allows_is_kept_whole() {
    use crate::config::{Config, MOST_FOLDS, Set};
    let folds: Vec<String> = (0..MOST_FOLDS).map(|fold| (1_000_000 + fold).to_string()).collect();
    let sets = ["train.epochs=100000".into(), format!("train.folds=[{}]", folds.join(","))];
    let config = Config::load(None, false, &sets.map(Set::new)).unwrap();
    let Some(Event::RunStarted(mut started)) = monsters().into_iter().next() else { panic!() };
    for text in [&mut started.name, &mut started.folder, &mut started.device, &mut started.model] {
        text.truncate(4096);
    }
    started.learning_rates = crate::train::schedule::learning_rates(&config.train);
    started.folds.truncate(MOST_FOLDS);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let stamped = Stamped::new(1.0, Event::RunStarted(started));
    Journal::open(&path).unwrap().append(&stamped).unwrap();
    let (read, _) = read(&path).unwrap();
    let plan = |stamped: &Stamped| match &stamped.event {
        Event::RunStarted(plan) => (plan.learning_rates.clone(), plan.folds.len()),
        _ => panic!(),
    };
    assert_eq!(read.len(), 1);
    assert_eq!(plan(&read[0]), plan(&stamped));
    for refused in ["train.epochs=100001", &format!("train.folds=[{},7]", folds.join(","))] {
        let error = Config::load(None, false, &[Set::new(refused)]).unwrap_err().to_string();
        assert!(error.starts_with(refused.split('=').next().unwrap()), "{error}");
    }
}

fn logged(message: &str) -> Stamped {
    Stamped::new(1.0, Event::Log(Log { level: Level::Info, message: message.into() }))
}

/// Returns the messages in a journal.
fn messages(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let message = |line: &str| -> Option<String> {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        Some(line.get("message")?.as_str()?.to_string())
    };
    text.lines().filter_map(message).collect()
}

#[cfg(unix)]
#[test]
fn what_is_written_ends_up_in_the_folder_once_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (run, away) = (dir.path().join("run"), dir.path().join("away"));
    let path = run.join("journal.jsonl");
    std::fs::create_dir(&run).unwrap();
    let mut journal = Journal::open(&path).unwrap();
    journal.append(&logged("a")).unwrap();

    // Renamed and renamed back: the open file is the same one.
    std::fs::rename(&run, &away).unwrap();
    assert_eq!(journal.append(&logged("b")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(!run.exists() && journal.sync().is_err());
    assert_eq!(messages(&away.join("journal.jsonl")), ["a"]);
    std::fs::rename(&away, &run).unwrap();
    journal.sync().unwrap();
    assert_eq!(messages(&path), ["a", "b"]);

    // Copied back: it is another file.
    let text = std::fs::read(&path).unwrap();
    std::fs::remove_dir_all(&run).unwrap();
    assert!(journal.append(&logged("c")).is_err());
    std::fs::create_dir(&run).unwrap();
    assert!(journal.flush().is_err() && !path.exists());
    // An older copy lacks lines.
    std::fs::write(&path, &text[..text.len() - 1]).unwrap();
    let error = journal.flush().unwrap_err().to_string();
    assert!(error.contains("the run's journal has"), "{error}");
    std::fs::write(&path, &text).unwrap();
    journal.append(&logged("d")).unwrap();
    assert_eq!(messages(&path), ["a", "b", "c", "d"]);
}

#[test]
fn the_seconds_of_an_epochs_steps_are_those_of_its_newest_training() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    drop(Journal::open(&path).unwrap());
    let head = std::fs::read_to_string(&path).unwrap();
    let again = "{\"type\":\"again\",\"at\":{\"fold\":0,\"epoch\":0,\"step\":0},\"seed\":7,\
                 \"elapsed\":9.0,\"time\":1.0}";
    let steps = [
        step_line(0, 2, 1, "1.0"),
        again.into(),
        step_line(0, 1, 1, "1.0"),
        step_line(0, 2, 1, "1.0"),
        step_line(1, 2, 1, "1.0"),
        step_line(0, 2, 2, "1.0"),
        step_line(0, 2, 3, "1.0"),
    ];
    std::fs::write(&path, format!("{head}{}\n", steps.join("\n"))).unwrap();
    assert_eq!(step_seconds(&path, 0, 2, 2).unwrap(), 2.0);
    assert_eq!(step_seconds(&path, 0, 3, 2).unwrap(), 0.0);
}
