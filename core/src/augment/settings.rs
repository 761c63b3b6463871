//! `[augment]`: reading, writing and checking the keys of the registry, and the presets.

use super::STAGES;
use super::augmentation::{Key, Preset, Range, SHARE, Settings, Stage, Value};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::{fmt, iter, sync::LazyLock};

/// All keys but `preset`, in the order of `config.toml`.
fn keys() -> impl Iterator<Item = Key> {
    STAGES.iter().flat_map(|stage| {
        let members = stage.members.iter().flat_map(|member| member.keys);
        iter::once((stage.probability, SHARE)).chain(members.copied())
    })
}

/// The names of all keys.
static NAMES: LazyLock<Vec<&str>> =
    LazyLock::new(|| iter::once("preset").chain(keys().map(|(name, _)| name)).collect());

impl Preset {
    /// Returns the keys of the stages that the preset switches off.
    pub fn off(self) -> impl Iterator<Item = &'static str> {
        let is_on = move |stage: &Stage| match self {
            Self::Seed => true,
            Self::Light => stage.light,
            Self::None => false,
        };
        STAGES.iter().filter(move |stage| !is_on(stage)).map(|stage| stage.probability)
    }
}

impl Settings {
    /// Returns a key whose value is not allowed in slices of `[size, size]`, and the allowed values.
    pub fn problem(&self, size: usize) -> Option<(&'static str, String)> {
        let problem_of = |(key, range): Key| {
            let (ok, expected) = match (range, self.values[key]) {
                (Range::Number(most, unit), Value::Number(x)) => {
                    ((0.0..=most).contains(&x), format!("0 to {most}{unit}"))
                }
                (Range::Pair(most), Value::Pair([low, high])) => {
                    let expected = format!("two numbers from 0 to {most}, the smaller one first");
                    (0.0 <= low && low <= high && high <= most, expected)
                }
                (Range::Cells, Value::Cells(n)) => {
                    ((1..=size).contains(&n), "1 to data.image_size cells".into())
                }
                _ => unreachable!("a value has the type of its key"),
            };
            (!ok).then_some((key, expected))
        };
        let unweighted = |stage: &Stage| {
            let members = match stage.members.len() {
                1 => return None,
                2 => "two are both",
                3 => "three are all",
                4 => "four are all",
                _ => "augmentations are all",
            };
            let all_zero = stage.members.iter().all(|m| self.number(m.keys[0].0) == 0.0);
            let expected = format!("0 where the weights of its {members} 0");
            (all_zero && self.number(stage.probability) > 0.0)
                .then_some((stage.probability, expected))
        };
        keys().find_map(problem_of).or_else(|| STAGES.iter().find_map(unweighted))
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(NAMES.len()))?;
        map.serialize_entry("preset", &self.preset)?;
        for (key, _) in keys() {
            map.serialize_entry(key, &self.values[key])?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Section;

        impl<'de> Visitor<'de> for Section {
            type Value = Settings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("struct Augment")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
                let (mut preset, mut values) = (None, BTreeMap::new());
                while let Some(name) = map.next_key::<String>()? {
                    if name == "preset" {
                        preset = Some(map.next_value()?);
                        continue;
                    }
                    let (key, range) = keys()
                        .find(|(key, _)| *key == name)
                        .ok_or_else(|| Error::unknown_field(&name, &NAMES))?;
                    let value = match range {
                        Range::Number(..) => Value::Number(map.next_value()?),
                        Range::Pair(_) => Value::Pair(map.next_value()?),
                        Range::Cells => Value::Cells(map.next_value()?),
                    };
                    values.insert(key, value);
                }
                if let Some((missing, _)) = keys().find(|(key, _)| !values.contains_key(key)) {
                    return Err(Error::missing_field(missing));
                }
                let preset = preset.ok_or_else(|| Error::missing_field("preset"))?;
                Ok(Settings { preset, values })
            }
        }
        deserializer.deserialize_map(Section)
    }
}
