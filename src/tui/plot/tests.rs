use super::*;
use crate::view::Series;

fn drawn(plot: &Plot, width: u16, height: u16) -> Vec<String> {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    plot.draw(&mut buffer, area);
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol().to_string()).collect();
    (0..height).map(row).collect()
}

fn plot<'a>(data: Data<'a>, shape: Shape) -> Plot<'a> {
    Plot {
        x: (0.0, 1000.0),
        y: (0.0, 1.0),
        log: false,
        unit: Unit::Steps(100.0),
        label: |y| format!("{y:.1}"),
        round: 1.0,
        layers: vec![Layer::new(data, shape, Style::new())],
        marks: Vec::new(),
        cursor: None,
    }
}

#[test]
fn a_spike_of_one_step_among_a_million_is_seen() {
    let mut series = Series::default();
    for x in 0..1_000_000 {
        series.add(x.into(), if x == 500_321 { 9.0 } else { 0.25 });
    }
    let plot = Plot { x: (0.0, 1e6), ..plot(Data::Steps(&series), Shape::Line) };
    let rows = drawn(&plot, 60, 12);
    assert_eq!(rows.iter().map(|row| row.matches('▲').count()).sum::<usize>(), 1);
    let tall = Plot { y: (0.0, 10.0), ..plot };
    let column = |row: &String| row.chars().nth(33);
    assert!(drawn(&tall, 60, 12)[..9].iter().filter(|row| column(row) != Some(' ')).count() > 6);
}

#[test]
fn a_figure_that_was_none_is_a_gap() {
    let mut series = Series::default();
    for x in 0..1000 {
        series.add(x.into(), if (400..600).contains(&x) { f64::NAN } else { 0.5 });
    }
    let row = |series: &Series| {
        let rows = drawn(&plot(Data::Steps(series), Shape::Line), 60, 8);
        rows.into_iter().find(|row| row.contains('⠉')).unwrap()
    };
    let line = row(&series);
    let gap = line.chars().skip(8).skip_while(|c| *c != ' ').take_while(|c| *c == ' ').count();
    assert!((8..=12).contains(&gap), "{gap} in {line}");
    // Skipped steps do not break the line.
    let mut sparse = Series::default();
    for x in [0.0, 500.0, 999.0] {
        sparse.add(x, 0.5);
    }
    assert!(row(&sparse).chars().skip(8).all(|c| c != ' '), "{}", row(&sparse));
}

#[test]
fn marks_and_cursor_stand_on_the_axis() {
    let points = [(100.0, 0.2), (500.0, 0.8)];
    let marked = Plot {
        marks: vec![(500.0, '★', Style::new()), (5000.0, '!', Style::new())],
        cursor: Some(750.0),
        ..plot(Data::Points(&points), Shape::Beads)
    };
    let rows = drawn(&marked, 66, 10);
    assert!(rows[8].contains('★') && rows[8].contains('┴') && !rows[8].contains('!'), "{rows:#?}");
    assert_eq!(rows.iter().map(|row| row.matches('•').count()).sum::<usize>(), 2);
    assert_eq!(rows[0].chars().nth(marked.left(Rect::new(0, 0, 66, 10)).into()), Some(' '));
}

#[test]
fn nothing_it_is_given_panics() {
    let points = [(f64::NAN, 1.0), (1e300, f64::INFINITY), (-1e300, -1e300), (1.0, f64::NAN)];
    for (width, height) in [(0, 0), (1, 1), (9, 3), (10, 4), (400, 2)] {
        for y in [(0.0, 1.0), (1.0, 1.0), (f64::NAN, 1.0), (1e-300, 1e300), (-1e300, 1e300)] {
            for log in [false, true] {
                let mut plot = plot(Data::Points(&points), Shape::Beads);
                (plot.y, plot.log, plot.cursor) = (y, log, Some(f64::NAN));
                plot.layers.push(Layer::new(Data::Level(0.5), Shape::Dashes, Style::new()));
                drawn(&plot, width, height);
                drawn(&Plot { x: (f64::NAN, 1.0), ..plot.clone() }, width, height);
                drawn(&Plot { x: (-1e300, 1e300), ..plot }, width, height);
            }
        }
    }
}
