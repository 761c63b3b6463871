use super::*;
use crate::run::event::{Event, Stamped};
use std::{collections::HashSet, fmt::Debug};

fn step() -> Step {
    Step {
        steps: 9,
        loss: 0.5,
        slice_loss: 0.25,
        study_loss: 0.75,
        vertebra_loss: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
        grad_norm: 1.5,
        skipped: true,
        learning_rate: 1e-3,
        mixup: Some(0.5),
        images: 90,
        data_seconds: 0.5,
        compute_seconds: 1.0,
        ..Step::default()
    }
}

fn is_consistent<E: Debug>(figures: &[Figure<E>]) {
    let unique = |names: Vec<&str>| names.iter().collect::<HashSet<_>>().len() == names.len();
    assert!(unique(figures.iter().map(|figure| figure.id).collect()));
    assert!(unique(figures.iter().filter_map(|figure| figure.tag).collect()));
    assert!(unique(figures.iter().filter_map(|figure| figure.word).collect()));
    for figure in figures {
        assert!(figure.range.0 < figure.range.1 && !figure.label.is_empty(), "{figure:?}");
    }
}

#[test]
fn names_are_unique_and_the_loss_comes_first() {
    is_consistent(STEP);
    is_consistent(EPOCH);
    is_consistent(SYSTEM);
    is_consistent(GPU);
    assert_eq!(STEP[0].id, "loss");
}

#[test]
fn a_figure_is_read_from_its_event() {
    let step = step();
    for figure in STEP {
        let Some(x) = (figure.read)(&step) else { continue };
        assert!((figure.range.0..=figure.range.1).contains(&x), "{figure:?} {x}");
    }
    let of = |id| (STEP.iter().find(|figure| figure.id == id).unwrap().read)(&step).unwrap();
    assert_eq!((of("c7"), of("images_per_second"), of("skipped")), (0.7, 60.0, 1.0));
    // Every number that a step holds has an entry.
    let event = Event::Step(step.clone());
    let line = crate::run::journal::line(&Stamped::new(0.0, event));
    let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
    for key in line.as_object().unwrap().keys() {
        let other = ["type", "at", "steps", "vertebra_loss", "elapsed", "time"].contains(&&**key);
        assert!(other || STEP.iter().any(|figure| figure.id == key), "{key}");
    }
}

#[test]
fn every_metric_is_a_figure_with_a_direction() {
    for metric in [
        Metric::Loss,
        Metric::Competition,
        Metric::PatientAuc,
        Metric::PatientAveragePrecision,
        Metric::VertebraAuc,
    ] {
        let figure = selecting(metric);
        assert_ne!(figure.better, Better::Neither, "{metric:?}");
        assert_eq!(figure.cost(figure.cost(0.25)), 0.25);
    }
    assert_eq!(selecting(Metric::PatientAuc).cost(0.75), 0.25);
    assert_eq!(selecting(Metric::Loss).cost(0.75), 0.75);
}
