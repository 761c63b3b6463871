//! Decides which settings of a run may change between its start and its resumption.

use super::{Config, Error, Result, defaults, renamed};
use std::collections::HashMap;
use toml::{Table, Value};

/// Settings without influence on the results, or that users have good reason to change.
const FREE: [&str; 20] = [
    "train.epochs",
    "train.folds",
    "train.min_learning_rate",
    "train.on_nonfinite",
    "train.memory",
    "train.chunk_size",
    "train.threads",
    "data.dir",
    "data.table",
    "data.workers",
    "data.prefetch",
    "data.on_error",
    "seed",
    "score.specificity",
    "score.bins",
    "score.bootstrap",
    "checkpoint.",
    "run.",
    "ui.",
    "keys.",
];

impl Config {
    /// Lists the changes since `before`, the TOML configuration that a checkpoint was written under, one
    /// line each: `train.epochs: 50 → 60`.
    ///
    /// Ignores `seed`: a retrained fold has its own.
    ///
    /// Errors: when a setting changed that must stay the same, or the epochs decreased.
    pub fn changes(&self, before: &str) -> Result<Vec<String>> {
        let Ok(mut before) = before.parse::<Table>() else { return Ok(Vec::new()) };
        // Ignore the error of both names of a key: this program never writes such a configuration.
        let _ = renamed::rename(&mut before);
        let now = self.to_toml().parse::<Table>().unwrap_or_default();
        if before.is_empty() {
            return Ok(Vec::new());
        }
        // A setting unknown to an earlier version had today's default.
        let before: HashMap<String, Value> = flat(defaults()).chain(flat(before)).collect();
        let mut changes = Vec::new();
        let mut refused = Vec::new();
        for (key, value) in flat(now) {
            let Some(old) = before.get(&key).filter(|old| **old != value) else { continue };
            if key == "seed" {
                continue;
            }
            let change = format!("{key}: {old} → {value}");
            let free = FREE.iter().any(|&f| key == f || (f.ends_with('.') && key.starts_with(f)));
            let fewer = key == "train.epochs" && value.as_integer() < old.as_integer();
            match free && !fewer {
                true => changes.push(change),
                false => refused.push(change),
            }
        }
        match refused.is_empty() {
            true => Ok(changes),
            false => Err(Error::Changed(refused.join(", "))),
        }
    }
}

/// Returns `section.key` and value of each setting.
fn flat(table: Table) -> impl Iterator<Item = (String, Value)> {
    table.into_iter().flat_map(|(name, value)| match value {
        Value::Table(section) => {
            section.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)).collect()
        }
        value => vec![(name, value)],
    })
}

#[cfg(test)]
mod tests {
    use super::super::Set;
    use super::*;

    #[test]
    fn epochs_may_grow_and_the_science_stays() {
        let load = |sets: &[&str]| {
            let sets: Vec<Set> = sets.iter().map(|s| Set::new(*s)).collect();
            Config::load(None, false, &sets).unwrap()
        };
        let before = load(&[]).to_toml();
        assert!(load(&[]).changes(&before).unwrap().is_empty());
        let more = load(&["train.epochs=60", "data.workers=3", "seed=9"]);
        let changes = more.changes(&before).unwrap();
        assert_eq!(changes, ["data.workers: 0 → 3", "train.epochs: 50 → 60"]);
        let other = load(&["train.batch_size=4", "train.epochs=2", "data.workers=3"]);
        let error = other.changes(&before).unwrap_err().to_string();
        assert!(error.contains("train.batch_size: 8 → 4, train.epochs: 50 → 2"), "{error}");
        assert!(!error.contains("workers:"), "{error}");
        // A configuration written by an earlier version.
        let (earlier, _) = before.split_once("[score]").unwrap();
        assert!(load(&[]).changes(earlier).unwrap().is_empty());
        let error = load(&["select.metric=competition"]).changes(earlier).unwrap_err().to_string();
        assert!(error.contains("select.metric: \"loss\" → \"competition\""), "{error}");
        assert!(load(&["score.bootstrap=9"]).changes(earlier).unwrap().len() == 1);
    }
}
