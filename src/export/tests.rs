use super::*;
use svg::{Options, document, figure};

fn chart() -> Chart {
    let points = |shift: f64| (1..=6).map(|i| (f64::from(i), shift + 1.0 / f64::from(i))).collect();
    Chart {
        title: "validation loss".into(),
        x: Axis { counts: true, ..Axis::new("epoch") },
        y: Axis::new("loss"),
        series: vec![
            Series::line("fold 0", points(0.0), Style::nth(0)),
            Series::line("fold 1", points(0.1), Style::nth(1)),
        ],
        marks: vec![Mark { x: 3.0, label: "paused".into() }],
    }
}

/// Asserts that elements are closed in the right order.
fn is_well_formed(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('"') || open.last() == Some(&"style"), "{text}");
        match (tag.strip_prefix('/'), tag.ends_with('/')) {
            (Some(name), _) => assert_eq!(open.pop(), Some(name), "{tag}"),
            (None, true) => {}
            (None, false) => open.push(tag.split(' ').next().unwrap_or_default()),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_chart_is_one_well_formed_picture() {
    let svg = document(&chart(), &Options::default());
    is_well_formed(&svg);
    assert!(svg.starts_with("<svg xmlns=") && svg.contains("viewBox=\"0 0 900 360\""));
    for text in [">validation loss<", ">fold 1<", ">epoch<", ">loss<", ">paused<", ">6<"] {
        assert!(svg.contains(text), "{text} in {svg}");
    }
    // Two curves differ in more than their colour.
    assert_eq!(svg.matches("stroke-dasharray=\"7 3\"").count(), 2, "the curve and its sample");
    assert!(svg.contains("fold 1, epoch 2: 0.6"), "what a point is");
    let inline = figure(&chart(), &Options { legend: false, ..Options::default() });
    is_well_formed(&inline);
    assert!(!inline.contains("http") && !inline.contains("<style") && !inline.contains(">fold 1<"));
}

#[test]
fn text_is_no_markup() {
    let hostile = "</text><script>alert('1')</script>\" onload=\"x\u{0}\u{ffff}&";
    let mut chart = chart();
    chart.title = hostile.into();
    (chart.x, chart.y) = (Axis::new(hostile), Axis::new(hostile));
    chart.series[0].name = hostile.into();
    chart.marks[0].label = hostile.into();
    for svg in [document(&chart, &Options::default()), figure(&chart, &Options::default())] {
        is_well_formed(&svg);
        assert!(!svg.contains("<script") && !svg.contains("\" onload"));
        assert!(!svg.contains('\u{0}') && !svg.contains('\u{ffff}'));
    }
    assert_eq!(escape("<a href=\"x\">'&'"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;");
}

/// Returns the path of the chart's only curve.
fn path(chart: &Chart) -> String {
    let svg = figure(chart, &Options { legend: false, ..Options::default() });
    let (_, path) = svg.split_once("fill=\"none\"").expect("a path");
    path.split_once(" d=\"").expect("its data").1.split('"').next().unwrap().into()
}

#[test]
fn a_figure_that_is_not_finite_leaves_a_gap_and_a_sign() {
    let mut chart = chart();
    chart.series.truncate(1);
    assert_eq!(path(&chart).matches('M').count(), 1);
    chart.series[0].points[2].1 = f64::NAN;
    chart.series[0].points[4].1 = f64::INFINITY;
    let svg = document(&chart, &Options::default());
    is_well_formed(&svg);
    assert_eq!(path(&chart).matches('M').count(), 3);
    assert!(path(&chart).contains("h0"), "a point between two gaps is a dot");
    assert_eq!(svg.matches(">×<").count(), 3, "two signs and their legend");
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn a_spike_beyond_the_range_is_a_sign_at_the_edge() {
    let mut chart = chart();
    chart.y.range = Some((0.0, 1.0));
    chart.series.truncate(1);
    assert!(!document(&chart, &Options::default()).contains("beyond the axis"));
    chart.series[0].points[3].1 = f64::MAX;
    let svg = document(&chart, &Options::default());
    is_well_formed(&svg);
    assert!(svg.contains(">▲<") && svg.contains("beyond the axis"));
}

#[test]
fn a_million_points_and_any_size_are_a_small_picture() {
    let mut chart = chart();
    chart.series[0].points = (0..1_000_000).map(|i| (f64::from(i), f64::from(i % 97))).collect();
    chart.marks =
        (0..1_000_000).map(|i| Mark { x: f64::from(i), label: "m".repeat(500) }).collect();
    let svg = document(&chart, &Options::default());
    is_well_formed(&svg);
    assert!(svg.len() < 120_000, "{} bytes", svg.len());
    for (width, height) in [(0, 0), (160, 120), (10_000, 200)] {
        is_well_formed(&document(&chart, &Options { width, height, legend: true }));
    }
}

#[test]
fn an_empty_chart_says_so() {
    let svg = document(&Chart::default(), &Options::default());
    is_well_formed(&svg);
    assert!(svg.contains("nothing to show yet"));
}

#[test]
fn steps_hold_their_value() {
    let points = vec![(0.0, 1.0), (1.0, 2.0), (2.0, 1.0)];
    let mut series = Series::line("rate", points, Style::default());
    series.held = true;
    let chart = Chart { series: vec![series], ..Chart::default() };
    let path = path(&chart);
    assert_eq!((path.matches('H').count(), path.matches('V').count()), (2, 2));
}

#[test]
fn files_are_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("exports");
    let mut chart = chart();
    chart.series[0].points[0].1 = f64::NAN;
    let names = |paths: Vec<PathBuf>| -> Vec<String> {
        paths.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    let name = "../loss of fold 0";
    assert_eq!(
        names(write(&folder, name, &chart).unwrap()),
        ["loss-of-fold-0.svg", "loss-of-fold-0.csv"]
    );
    // One existing file of the two is enough.
    fs::write(folder.join("loss-of-fold-0-2.csv"), "mine").unwrap();
    assert_eq!(
        names(write(&folder, name, &chart).unwrap()),
        ["loss-of-fold-0-3.svg", "loss-of-fold-0-3.csv"]
    );
    assert_eq!(fs::read_to_string(folder.join("loss-of-fold-0-2.csv")).unwrap(), "mine");
    assert!(!folder.join("loss-of-fold-0-2.svg").exists(), "no half of an export");
    let text = fs::read_to_string(folder.join("loss-of-fold-0.csv")).unwrap();
    assert!(text.starts_with("series,epoch,loss\nfold 0,1.0,NaN\nfold 0,2.0,0.5\n"), "{text}");
    assert_eq!(text.lines().count(), 13);
    assert_eq!(names(write(&folder, "..", &chart).unwrap())[0], "chart.svg");
}
