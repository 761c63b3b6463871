//! Merges TOML tables and records the source of each key.

use super::{Config, DEFAULTS, Error, Result, check, renamed};
use crate::augment::Preset;
use crate::bounded::excerpt;
use serde::Deserialize;
use std::{collections::HashMap, iter::successors};
use toml::{Table, Value};

/// Most characters of the file that a message quotes.
const SHOWN: usize = 200;

pub(super) fn parse(text: &str, origin: &str) -> Result<Table> {
    text.parse::<Table>().map_err(|e| Error::Syntax {
        origin: origin.into(),
        message: excerpt(e.to_string().trim(), SHOWN),
    })
}

/// Settings that hold a path.
const PATHS: [(&str, &str); 4] =
    [("data", "dir"), ("data", "table"), ("model", "pretrained"), ("run", "dir")];

/// Parses `a.b=VALUE` as `{a: {b: VALUE}}`. VALUE is TOML, or a bare word, read as a string. String
/// settings take VALUE as typed, without quotes around it, so that `data.dir=2023` and `run.dir=1.10`
/// name folders.
pub(super) fn parse_set(set: &str) -> Result<Table> {
    let (key, text) = set.split_once('=').ok_or_else(|| Error::Set(set.into()))?;
    let (key, text) = (key.trim(), text.trim());
    let mut parts: Vec<&str> = key.split('.').map(str::trim).collect();
    let last = parts.pop().filter(|k| !k.is_empty());
    let (Some(last), false) = (last, parts.iter().any(|p| p.is_empty())) else {
        return Err(Error::Set(set.into()));
    };
    let is_text = is_text(&parts, last);
    let value = format!("v = {text}")
        .parse::<Table>()
        .ok()
        .filter(|t| t.len() == 1)
        .and_then(|mut t| t.remove("v"))
        .filter(|value| value.is_str() || !is_text)
        .unwrap_or_else(|| Value::String(text.into()));
    let mut table = Table::from_iter([(last.to_string(), value)]);
    for part in parts.iter().rev() {
        table = Table::from_iter([(part.to_string(), Value::Table(table))]);
    }
    Ok(table)
}

fn is_text(sections: &[&str], key: &str) -> bool {
    if sections == ["keys"] {
        return true;
    }
    let defaults = defaults();
    let section = sections.iter().try_fold(&defaults, |table, part| table.get(*part)?.as_table());
    section.and_then(|table| table.get(key)).is_some_and(Value::is_str)
}

/// Expands `~` or `~/…` as a shell does at the start of a word. `None`: the path does not start so, or
/// there is no home folder.
pub fn in_home(path: &str) -> Option<String> {
    let rest = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    let home = std::env::home_dir().filter(|home| home.is_absolute())?;
    Some(format!("{}{rest}", home.to_str()?))
}

fn expand_home(table: &mut Table) {
    for (section, key) in PATHS {
        let path = table.get_mut(section).and_then(|section| section.get_mut(key));
        if let Some(Value::String(path)) = path
            && let Some(whole) = in_home(path)
        {
            *path = whole;
        }
    }
}

pub(super) fn defaults() -> Table {
    DEFAULTS.parse().expect("the embedded config is valid TOML")
}

/// Returns the settings of `[augment]` that a preset sets.
fn preset_layer(preset: Preset) -> Table {
    let Some(Value::Table(mut augment)) = defaults().remove("augment") else {
        unreachable!("the embedded config has a section [augment]")
    };
    augment.remove("preset");
    augment.extend(preset.off().map(|key| (key.to_string(), Value::Float(0.0))));
    Table::from_iter([("augment".to_string(), Value::Table(augment))])
}

/// Merges `layer` over `base` and calls `note` with each key that it sets. `path`: that of both, with a
/// dot at its end unless it is empty.
fn merge(base: &mut Table, layer: Table, path: &str, note: &mut dyn FnMut(String)) {
    for (key, value) in layer {
        let path = format!("{path}{key}");
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(layer)) => {
                merge(base, layer, &format!("{path}."), note)
            }
            (_, value) => {
                base.insert(key, value);
                note(path);
            }
        }
    }
}

/// The merged tables, and the source of each key.
pub(super) struct Layers {
    table: Table,
    origins: HashMap<String, String>,
}

impl Layers {
    pub fn new() -> Self {
        Self { table: defaults(), origins: Default::default() }
    }

    /// Merges `layer` over the others. Errors: when it gives a setting by both its current and earlier
    /// name.
    pub fn add(&mut self, mut layer: Table, origin: &str) -> Result<()> {
        renamed::rename(&mut layer).map_err(|(old, new)| Error::Twice {
            old,
            new,
            origin: origin.into(),
        })?;
        let mut note = |key| drop(self.origins.insert(key, origin.into()));
        // Apply a preset before the keys beside it. An invalid one is rejected at the end.
        let preset = layer.get("augment").and_then(|augment| augment.get("preset"));
        if let Some(preset) = preset.and_then(|p| Preset::deserialize(p.clone()).ok()) {
            merge(&mut self.table, preset_layer(preset), "", &mut note);
        }
        merge(&mut self.table, layer, "", &mut note);
        Ok(())
    }

    pub fn finish(mut self) -> Result<Config> {
        expand_home(&mut self.table);
        let config: Config = serde_path_to_error::deserialize(Value::Table(self.table.clone()))
            .map_err(|e| {
                let message = e.inner().to_string();
                let message = message.lines().next().unwrap_or_default().trim().to_string();
                let path = e.path().to_string();
                // The message names the unknown key; the error's path may be only its section.
                let unknown =
                    message.strip_prefix("unknown field `").and_then(|m| m.split('`').next());
                let key = match unknown {
                    Some(k) if path == "." => k.to_string(),
                    Some(k) if path == k || path.ends_with(&format!(".{k}")) => path,
                    Some(k) => format!("{path}.{k}"),
                    None => path,
                };
                self.refuse(&key, message.replace("unknown field", "unknown key"))
            })?;
        check::check(&config, &|key, expected| self.refuse(key, expected))?;
        Ok(config)
    }

    fn refuse(&self, key: &str, expected: impl Into<String>) -> Error {
        // For a value inside an array, name and show the whole array.
        let key = key.split('[').next().unwrap_or(key);
        let mut parts = key.split('.');
        let first = parts.next().and_then(|part| self.table.get(part));
        let value = parts.fold(first, |value, part| value?.get(part));
        let mut upwards = successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        let origin = upwards.find_map(|key| self.origins.get(key).cloned());
        Error::Key {
            key: excerpt(key, SHOWN),
            value: value.map_or("?".into(), |v| excerpt(&v.to_string(), SHOWN)),
            expected: excerpt(&expected.into(), 2 * SHOWN),
            origin: origin.unwrap_or_else(|| "the defaults".into()),
        }
    }
}
