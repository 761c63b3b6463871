//! A run's settings, and which of them differ from the defaults.

use crate::{bounded, config};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Most settings listed.
const MOST: usize = 200;
/// Most characters of a value.
const LONGEST: usize = 60;
/// Maximum nesting of sections.
const DEEPEST: usize = 4;

/// A run's settings.
#[derive(Debug, PartialEq)]
pub struct Settings {
    /// Text of the config file.
    pub text: String,
    /// Settings that differ from the defaults, which are the notebook's.
    pub changed: Vec<Changed>,
    /// Weights of the slice head and of the study head in the training loss.
    pub weights: Option<(f64, f64)>,
}

/// A setting that differs from its default.
#[derive(Debug, PartialEq)]
pub struct Changed {
    /// `section.key`
    pub key: String,
    /// Its value.
    pub value: String,
    /// Its default; `None` if this version has no such setting.
    pub default: Option<String>,
}

impl Settings {
    /// Parses a config.toml written by any version of this program.
    ///
    /// Errors: when it is not valid TOML; one sentence.
    pub fn of(text: &str) -> Result<Self, String> {
        let parse = |text: &str| text.parse::<Table>().map_err(|e| e.message().to_string());
        let mut table = parse(text)
            .map_err(|e| format!("config.toml is no TOML: {}", bounded::excerpt(&e, LONGEST)))?;
        // Ignore the error of both names of a setting; show the file unchanged.
        let _ = config::renamed::rename(&mut table);
        let defaults = parse(config::DEFAULTS)?;
        let (own, defaults) = (flat(&table), flat(&defaults));
        let differs = |(key, value): (&String, &String)| {
            let default = defaults.get(key);
            // The dashboard's settings do not affect the run.
            let cosmetic = key.starts_with("ui.") || key.starts_with("keys.");
            (default != Some(value) && !cosmetic).then(|| Changed {
                key: bounded::excerpt(key, LONGEST),
                value: bounded::excerpt(value, LONGEST),
                default: default.map(|value| bounded::excerpt(value, LONGEST)),
            })
        };
        let changed = own.iter().filter_map(differs).take(MOST).collect();
        let number = |value: &Value| match value {
            Value::Integer(n) => Some(*n as f64),
            Value::Float(x) => Some(*x).filter(|x| x.is_finite()),
            _ => None,
        };
        let weight = |key: &str| number(table.get("train")?.get(key)?);
        let weights = weight("slice_weight").zip(weight("study_weight"));
        Ok(Self { text: text.into(), changed, weights })
    }
}

/// Returns `section.key` and value of each setting.
fn flat(table: &Table) -> BTreeMap<String, String> {
    fn add(flat: &mut BTreeMap<String, String>, section: &str, table: &Table, depth: usize) {
        for (key, value) in table {
            let key = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            match value {
                Value::Table(table) if depth < DEEPEST => add(flat, &key, table, depth + 1),
                value => {
                    flat.insert(key, display(value));
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    add(&mut all, "", table, 1);
    all
}

/// Formats a value uniformly, however it was written.
fn display(value: &Value) -> String {
    match value {
        Value::Float(x) if *x != 0.0 && !(1e-3..1e6).contains(&x.abs()) => format!("{x:e}"),
        Value::Float(x) => x.to_string(),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().take(LONGEST).map(display).collect();
            format!("[{}]", values.join(", "))
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_the_default_is_told() {
        assert_eq!(Settings::of(config::DEFAULTS).unwrap().changed, []);
        let own = "seed = 0\n[train]\nepochs = 6\nbetas = [0.9, 0.999]\neps = 0.00000001\n\
                   slice_weight = 15.0\nstudy_weight = 1\n[ui]\nfps = 3\n[new]\nkey = \"a\"\n";
        let settings = Settings::of(own).unwrap();
        let changed = |key: &str, value: &str, default: Option<&str>| Changed {
            key: key.into(),
            value: value.into(),
            default: default.map(String::from),
        };
        assert_eq!(
            settings.changed,
            [changed("new.key", "\"a\"", None), changed("train.epochs", "6", Some("50"))]
        );
        assert_eq!(settings.weights, Some((15.0, 1.0)));
        assert!(Settings::of("[train").unwrap_err().contains("config.toml is no TOML"));
    }
}
