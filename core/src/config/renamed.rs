//! Renamed settings: configurations of earlier versions can still be read.

use toml::{Table, Value};

/// Section, old name and new name of a key.
const KEYS: [(&str, &str, &str); 1] = [("model", "size", "backbone")];

/// Old names of the backbones, without timm's `convnext_`.
const BACKBONES: [&str; 6] = ["micro", "atto", "femto", "pico", "nano", "tiny"];

/// Replaces keys and values of earlier versions with the current ones.
///
/// Errors: when both names of a key are there; (old name, new name).
pub fn rename(table: &mut Table) -> Result<(), (String, String)> {
    for (section, old, new) in KEYS {
        let Some(Value::Table(of)) = table.get_mut(section) else { continue };
        let Some(value) = of.remove(old) else { continue };
        if of.contains_key(new) {
            return Err((format!("{section}.{old}"), format!("{section}.{new}")));
        }
        of.insert(new.into(), value);
    }
    let backbone = table.get_mut("model").and_then(|model| model.get_mut("backbone"));
    if let Some(Value::String(name)) = backbone
        && BACKBONES.contains(&name.as_str())
    {
        *name = format!("convnext_{name}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Backbone, Config, Set};

    fn backbone(sets: &[&str]) -> Backbone {
        let sets: Vec<Set> = sets.iter().map(|s| Set::new(*s)).collect();
        Config::load(None, false, &sets).unwrap().model.backbone
    }

    #[test]
    fn a_backbone_may_be_called_as_it_was() {
        for name in ["model.size=atto", "model.backbone=atto", "model.size=convnext_atto"] {
            assert_eq!(backbone(&[name]), Backbone::ConvnextAtto, "{name}");
        }
        // The last setting wins, under either name.
        let both = ["model.size=atto", "model.backbone=convnext_pico"];
        assert_eq!(backbone(&both), Backbone::ConvnextPico);
        assert_eq!(backbone(&[both[1], both[0]]), Backbone::ConvnextAtto);
    }

    #[test]
    fn both_names_in_one_file_are_refused() {
        let text = "[model]\nsize = \"nano\"\nbackbone = \"convnext_atto\"\n";
        let error = Config::of_text(text, "mine.toml").unwrap_err().to_string();
        for word in ["mine.toml", "model.size", "model.backbone"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_run_of_an_earlier_version_goes_on_and_with_no_other_backbone() {
        let config = Config::load(None, false, &[]).unwrap();
        let now = "backbone = \"convnext_nano\"";
        assert!(config.to_toml().contains(now));
        let before = config.to_toml().replace(now, "size = \"nano\"");
        assert_eq!(Config::of_text(&before, "config.toml").unwrap(), config);
        assert!(config.changes(&before).unwrap().is_empty());
        let before = before.replace("\"nano\"", "\"atto\"");
        let error = config.changes(&before).unwrap_err().to_string();
        let change = "model.backbone: \"convnext_atto\" → \"convnext_nano\"";
        assert!(error.contains(change), "{error}");
    }
}
