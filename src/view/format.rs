//! Human-readable figures.

use crate::bounded;
pub use crate::print::clean as sanitized;
use crate::run::catalogue::Unit;
use crate::run::event::Gpu;

/// Formats a duration: `42s`, `2m 05s`, `1h 04m`, `3d 02h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "?".into();
    }
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// Like [`duration`], but with fractions for short durations: `0.84s`, `12ms`.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.1 => format!("{:.0}ms", s.max(0.0) * 1e3),
        s if s < 9.95 => format!("{s:.2}s"),
        s => duration(s),
    }
}

/// Formats a loss with four decimals, fewer if large: `0.4123`, `12.34`, `1234`, `1.2e6`.
pub fn loss(x: f64) -> String {
    match x.abs() {
        _ if !x.is_finite() => format!("{x}"),
        a if a < 10.0 => format!("{x:.4}"),
        a if a < 1000.0 => format!("{x:.2}"),
        a if a < 1e5 => format!("{x:.0}"),
        _ => format!("{x:.1e}"),
    }
}

/// Like [`loss`], with a dash for `None`.
pub fn maybe_loss(x: Option<f64>) -> String {
    x.map_or("–".into(), loss)
}

/// Formats a loss in at most 5 columns.
pub fn short_loss(x: f64) -> String {
    match x.abs() {
        _ if !x.is_finite() => format!("{x}"),
        a if a < 10.0 => format!("{x:.3}"),
        a if a < 100.0 => format!("{x:.1}"),
        a if a < 1e5 => format!("{x:.0}"),
        _ => format!("{x:.0e}"),
    }
}

/// Formats a learning rate: `2.30e-4`.
pub fn learning_rate(x: f64) -> String {
    if x == 0.0 { "0".into() } else { format!("{x:.2e}") }
}

/// Formats an AUC with three decimals, with a dash for `None`.
pub fn auc(x: Option<f64>) -> String {
    x.map_or("–".into(), |x| format!("{x:.3}"))
}

/// Formats a count: `15.6 M`, `842 k`.
pub fn count(n: usize) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.0} k", n as f64 / 1e3),
        _ => format!("{:.1} M", n as f64 / 1e6),
    }
}

/// Formats a fraction from 0 to 1 as a percentage: `0.3%`, `12%`.
pub fn share(x: f64) -> String {
    let percent = 100.0 * x;
    if percent < 9.95 { format!("{percent:.1}%") } else { format!("{percent:.0}%") }
}

/// Formats images per second: `812`, `8.1`.
pub fn rate(x: f64) -> String {
    if x < 99.5 { format!("{x:.1}") } else { format!("{x:.0}") }
}

/// Formats a figure, with a dash for `None`.
pub fn figure(unit: Unit, x: Option<f64>) -> String {
    let Some(x) = x else { return "–".into() };
    match unit {
        Unit::Loss | Unit::Norm | Unit::Number => loss(x),
        Unit::Score => auc(Some(x)),
        Unit::Celsius => format!("{x:.0} °C"),
        Unit::Watts => format!("{x:.0} W"),
        Unit::LearningRate
        | Unit::Share
        | Unit::Percent
        | Unit::Count
        | Unit::Flag
        | Unit::Seconds
        | Unit::PerSecond
        | Unit::Bytes => axis(unit)(x),
    }
}

/// How a figure is labelled on an axis, in at most 5 columns.
pub fn axis(unit: Unit) -> fn(f64) -> String {
    match unit {
        Unit::Loss | Unit::Norm | Unit::Number | Unit::Score => short_loss,
        Unit::LearningRate => learning_rate,
        Unit::Share => share,
        Unit::Percent => |x| format!("{x:.0}%"),
        Unit::Count | Unit::Flag => |x| count(x as usize),
        Unit::Seconds => seconds,
        Unit::PerSecond => rate,
        Unit::Bytes => gib,
        Unit::Celsius => |x| format!("{x:.0}°"),
        Unit::Watts => |x| format!("{x:.0}W"),
    }
}

/// Formats bytes in units of 1024: `12.3G`, `512M`.
fn gib(bytes: f64) -> String {
    let gib = bytes / f64::from(1 << 30);
    match gib {
        0.0 => "0".into(),
        g if g < 1.0 => format!("{:.0}M", 1024.0 * g),
        g if g < 100.0 && g.fract() == 0.0 => format!("{g:.0}G"),
        g if g < 100.0 => format!("{g:.1}G"),
        g if g < 2048.0 => format!("{g:.0}G"),
        g => format!("{:.1}T", g / 1024.0),
    }
}

/// Formats the GPU's readings: `97% 61°C 212W 12.3/80 GiB`. Unavailable readings are omitted.
pub fn gpu(gpu: &Gpu) -> String {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let parts = [
        gpu.utilisation.map(|percent| format!("{percent}%")),
        gpu.temperature.map(|degrees| format!("{degrees}°C")),
        gpu.watts.map(|watts| format!("{watts:.0}W")),
        Some(format!("{:.1}/{:.0} GiB", gib(gpu.memory_used), gib(gpu.memory_total))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Shortens a study's UID to at most `width` columns, keeping its end, where UIDs differ.
pub fn study(uid: &str, width: usize) -> String {
    let uid = sanitized(uid);
    let length = uid.chars().count();
    if length <= width {
        return uid;
    }
    let tail: String = uid.chars().skip(length - width.saturating_sub(1)).collect();
    format!("…{tail}")
}

/// Like [`sanitized`], with a length limit, so that memory does not grow with the lines of a
/// journal.
pub fn brief(text: &str) -> String {
    bounded::excerpt(text, 4096)
}

/// Lists the vertebrae with a label above 0: `C2 C5`, or `none`.
pub fn fractured(labels: [u8; 7]) -> String {
    let levels = (1..).zip(labels).filter(|(_, label)| *label > 0);
    let levels: Vec<String> = levels.map(|(c, _)| format!("C{c}")).collect();
    if levels.is_empty() { "none".into() } else { levels.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        for (s, text) in [
            (0.0, "0s"),
            (59.4, "59s"),
            (59.6, "1m 00s"),
            (125.0, "2m 05s"),
            (3840.0, "1h 04m"),
            (93_600.0, "1d 02h"),
            (-1.0, "0s"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(duration(s), text);
        }
        assert_eq!(seconds(0.0123), "12ms");
        assert_eq!(seconds(0.84), "0.84s");
        assert_eq!(seconds(30.0), "30s");
    }

    #[test]
    fn a_gpu_says_what_it_knows() {
        let all = Gpu {
            memory_used: 13_207_024_435,
            memory_total: 80 << 30,
            utilisation: Some(97),
            temperature: Some(61),
            watts: Some(211.7),
            ..Gpu::default()
        };
        assert_eq!(gpu(&all), "97% 61°C 212W 12.3/80 GiB");
        let some = Gpu { utilisation: None, temperature: None, watts: None, ..all };
        assert_eq!(gpu(&some), "12.3/80 GiB");
    }

    #[test]
    fn bytes_are_short() {
        let of = |gib: f64| super::gib(gib * f64::from(1 << 30));
        assert_eq!(
            [0.0, 0.5, 12.34, 20.0, 640.0, 4096.0].map(of),
            ["0", "512M", "12.3G", "20G", "640G", "4.0T"]
        );
    }

    #[test]
    fn a_study_is_shortened_to_its_end() {
        assert_eq!(study("1.2.826.0.1.3680043.12345", 8), "…3.12345");
        assert_eq!(study("abc", 8), "abc");
        assert_eq!(study("abc\x1b[2J", 20), "abc [2J");
    }

    #[test]
    fn figures_keep_their_width() {
        assert_eq!(loss(0.41234), "0.4123");
        assert_eq!(loss(12.345), "12.35");
        assert_eq!(loss(f64::NAN), "NaN");
        assert_eq!(learning_rate(23e-5), "2.30e-4");
        assert_eq!(count(15_600_000), "15.6 M");
        assert_eq!([0.0, 0.0123, 0.0997, 0.4].map(share), ["0.0%", "1.2%", "10%", "40%"]);
    }
}
