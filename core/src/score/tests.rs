use super::*;
use crate::config::Config;
use loss::competition;

/// Written by `tests/golden/scores.py`.
const GOLDEN: &str = include_str!("../../../tests/golden/scores.csv");

fn settings() -> Score {
    Config::load(None, false, &[]).unwrap().score
}

/// splitmix64 of a name, which also gives the golden cases' inputs.
fn splitmix(name: &str, n: usize) -> Vec<u64> {
    let state = crate::rng::hash(name);
    (1..=n as u64)
        .map(|i| {
            let mut z = state.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        })
        .collect()
}

fn case(number: usize) -> (Vec<bool>, Vec<f64>) {
    let z = splitmix(&format!("score.{number}"), 3 + 2 * 208);
    let n = 8 + (z[0] % 200) as usize;
    let levels = [1, 3, 10, 1000, 1 << 24][(z[1] % 5) as usize];
    let percent = 5 + z[2] % 90;
    let labels = z[3..3 + n].iter().map(|x| x % 100 < percent).collect();
    let p = z[3 + n..3 + 2 * n].iter().map(|x| (x % (levels + 1)) as f64 / levels as f64);
    (labels, p.collect())
}

/// Groups values into exams of eight targets and drops the remainder.
fn exams(labels: &[bool], p: &[f64]) -> Vec<Study> {
    let eight = labels.chunks_exact(TARGETS).zip(p.chunks_exact(TARGETS));
    eight
        .map(|(y, p)| Study { labels: y.try_into().unwrap(), probabilities: p.try_into().unwrap() })
        .collect()
}

#[test]
fn a_thousand_cases_are_scored_as_scikit_learn_does() {
    let mut cases = 0;
    let mut worst = 0f64;
    for line in GOLDEN.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let (labels, p) = case(cells[0].parse().unwrap());
        let ones = vec![1; labels.len()];
        let figures = Ranked::new(&p, &labels).figures(&ones, 0.9);
        let losses: f64 = labels.iter().zip(&p).map(|(&y, &p)| loss::log_loss(y, p)).sum();
        let bins = Bin::of(&labels, &p, &ones, 10);
        let own = [
            figures.map(|f| f.auc),
            figures.map(|f| f.average_precision),
            figures.map(|f| f.sensitivity),
            Some(losses / labels.len() as f64),
            Some(calibration::error(&bins)),
            Some(competition(&exams(&labels, &p))),
        ];
        for (own, cell) in own.iter().zip(&cells[1..]) {
            let expected: Option<f64> = cell.parse().ok();
            assert_eq!(own.is_some(), expected.is_some(), "{line}");
            let off = own.zip(expected).map_or(0.0, |(a, b)| (a - b).abs());
            assert!(off <= 1e-9, "{line}: {own:?}");
            worst = worst.max(off);
        }
        cases += 1;
    }
    println!("{cases} cases, off by {worst:e} at most");
    assert_eq!(cases, 1000);
}

#[test]
fn knowing_nothing_costs_ln_2() {
    let studies = [Study::new([0; 7], [0.5; TARGETS]), Study::new([1; 7], [0.5; TARGETS])];
    assert!((competition(&studies) - std::f64::consts::LN_2).abs() < 1e-15);
}

#[test]
fn an_exams_weights_are_the_competitions() {
    // C3 is fractured, so the patient is: weights 14 + 2 + 6; by hand.
    let mut p = [0.1; TARGETS];
    (p[2], p[PATIENT]) = (0.8, 0.7);
    let study = Study::new([0, 0, 1, 0, 0, 0, 0], p);
    let expected = (14.0 * -(0.7f64.ln()) + 2.0 * -(0.8f64.ln()) + 6.0 * -(0.9f64.ln())) / 22.0;
    assert!((loss::of_exam(&study) - expected).abs() < 1e-15);
    // None is fractured: weights 7 + 7.
    let study = Study::new([0; 7], p);
    let expected = (7.0 * -(0.3f64.ln()) - 0.2f64.ln() - 6.0 * 0.9f64.ln()) / 14.0;
    assert!((loss::of_exam(&study) - expected).abs() < 1e-15);
}

#[test]
fn certainty_that_is_wrong_costs_much_but_not_everything() {
    assert!((loss::log_loss(true, 0.0) - 36.043_653_389_117_15).abs() < 1e-9);
    assert!(loss::log_loss(false, 1.0).is_finite());
    assert!(loss::log_loss(true, 1.0) < 1e-15);
}

#[test]
fn intervals_are_of_the_seed_and_lie_around_the_figure() {
    let (labels, p) = case(4);
    let p: Vec<f64> = p.iter().zip(&labels).map(|(p, &y)| 0.8 * p + 0.2 * f64::from(y)).collect();
    let studies = exams(&labels, &p);
    let of = |seed| Scores::of(&studies, &settings(), seed).unwrap();
    let scores = of(1);
    assert_eq!(scores, of(1));
    assert_ne!(scores, of(2));
    assert_eq!(scores.studies, studies.len());
    let inside = |figure: Figure| {
        let (low, high) = figure.interval.unwrap();
        assert!(low <= figure.value && figure.value <= high && low < high, "{figure:?}");
    };
    inside(scores.competition);
    for target in &scores.targets {
        inside(target.log_loss);
        [target.auc, target.average_precision].into_iter().flatten().for_each(inside);
    }
    let none = Score { bootstrap: 0, ..settings() };
    let bare = Scores::of(&studies, &none, 1).unwrap();
    assert_eq!(bare.competition, Figure { interval: None, ..scores.competition });
}

#[test]
fn an_interval_of_the_mean_is_as_wide_as_theory_says() {
    // 1,000 exams, half of them certain and right, half at p = 0.5: losses 0 and ln 2.
    let study = |i| match i % 2 {
        0 => Study::new([0; 7], [0.0; TARGETS]),
        _ => Study::new([0; 7], [0.5; TARGETS]),
    };
    let studies: Vec<Study> = (0..1000).map(study).collect();
    let figure = Scores::of(&studies, &settings(), 0).unwrap().competition;
    let (low, high) = figure.interval.unwrap();
    let expected = 2.0 * 1.96 * 0.5 * std::f64::consts::LN_2 / 1000f64.sqrt();
    assert!(((high - low) / expected - 1.0).abs() < 0.1, "{} {expected}", high - low);
}

#[test]
fn what_cannot_be_scored_is_not() {
    assert_eq!(Scores::of(&[], &settings(), 0), None);
    let mut study = Study::new([0; 7], [0.5; TARGETS]);
    let scores = Scores::of(&[study], &settings(), 0).unwrap();
    assert!(scores.targets.iter().all(|t| t.auc.is_none() && t.sensitivity.is_none()));
    assert_eq!(scores.vertebra_auc(), None);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5, -0.5] {
        let study = Study { probabilities: [bad; TARGETS], ..study };
        assert_eq!(Scores::of(&[study], &settings(), 0), None);
    }
    // Each metric separately: none, or NaN.
    let (labels, p) = ([true, false, true, false], [0.9, f64::NAN, 0.2, 0.4]);
    let ranked = Ranked::new(&p, &labels);
    assert_eq!((ranked.figures(&[1; 4], 0.9), ranked.roc()), (None, None));
    assert!(calibration::error(&Bin::of(&labels, &p, &[1; 4], 10)).is_nan());
    assert!(loss::log_loss(true, f64::NAN).is_nan() && loss::log_loss(false, f64::NAN).is_nan());
    study.probabilities[3] = f64::NAN;
    assert!(loss::of_exam(&study).is_nan() && competition(&[study, study]).is_nan());
    let figure = Resamples::new(4, 100, 0).mean(&p);
    assert!(figure.value.is_nan() && figure.interval.is_none());
    assert_eq!(ranks::roc_auc([f32::INFINITY, 1.0], &[true, false]), None);
    assert_eq!(ranks::roc_auc([f32::NAN, 1.0], &[true, false]), None);
    assert_eq!(ranks::roc_auc([2.0, 1.0], &[true, true]), None);
    assert_eq!(ranks::roc_auc([0.1, 0.4, 0.35, 0.8], &[false, false, true, true]), Some(0.75));
}

#[test]
fn an_evaluation_is_read_only_as_it_is_written() {
    use evaluation::{Evaluation, FORMAT};
    let all = Scores::of(&[Study::new([0; 7], [0.5; TARGETS])], &settings(), 0).unwrap();
    let (format, rules) = (FORMAT.into(), settings());
    let kept = Evaluation { format, made: 0.0, rules, views: 1, all, guess: 0.1, folds: vec![] };
    let bytes = |e: &Evaluation| serde_json::to_vec(e).unwrap();
    assert_eq!(Evaluation::of_bytes(&bytes(&kept)), Ok(kept.clone()));
    for bins in [0, usize::MAX] {
        let rules = Score { bins, ..settings() };
        assert!(Evaluation::of_bytes(&bytes(&Evaluation { rules, ..kept.clone() })).is_err());
    }
    assert!(Evaluation::of_bytes(&bytes(&Evaluation { format: "x".into(), ..kept })).is_err());
}

#[test]
fn the_roc_curve_goes_from_corner_to_corner() {
    let ranked = Ranked::new(&[0.9, 0.5, 0.5, 0.1], &[true, false, true, false]);
    assert_eq!(ranked.roc().unwrap(), [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
    assert_eq!(Ranked::new(&[0.9], &[true]).roc(), None);
}

#[test]
fn rules_make_probabilities_of_logits() {
    use crate::config::{PatientRule, VertebraRule};
    let slices = [[2.0f32, -1.0]; 7].concat();
    let logits = aggregate::Logits { slices, study: -3.0 };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    let p = logits.probabilities(&settings());
    near(p[6], sigmoid(0.5));
    near(p[PATIENT], sigmoid(-3.0));
    assert_eq!(logits.means()[..2], [0.5, 0.5]);
    let rules = Score { vertebra: VertebraRule::MeanProbability, ..settings() };
    near(logits.probabilities(&rules)[0], (sigmoid(2.0) + sigmoid(-1.0)) / 2.0);
    let rules = Score {
        vertebra: VertebraRule::MaxProbability,
        patient: PatientRule::MaxVertebra,
        ..settings()
    };
    near(logits.probabilities(&rules)[PATIENT], sigmoid(2.0));
    let rules = Score { patient: PatientRule::AnyVertebra, ..settings() };
    near(logits.probabilities(&rules)[PATIENT], 1.0 - (1.0 - sigmoid(0.5)).powi(7));
    // One logit that is not finite makes the result NaN by every rule.
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for vertebra in
            [VertebraRule::MeanLogit, VertebraRule::MeanProbability, VertebraRule::MaxProbability]
        {
            for patient in [PatientRule::MaxVertebra, PatientRule::AnyVertebra] {
                let mut broken = logits.clone();
                broken.slices[5] = bad;
                let p = broken.probabilities(&Score { vertebra, patient, ..settings() });
                assert!(p[2].is_nan() && p[PATIENT].is_nan() && p[3].is_finite(), "{p:?}");
            }
        }
        let broken = aggregate::Logits { study: bad, ..logits.clone() };
        assert!(broken.probabilities(&settings())[PATIENT].is_nan());
    }
}
