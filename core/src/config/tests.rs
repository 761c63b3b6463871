//! Defaults, layers and refusals of the configuration.

use super::*;
use crate::augment::Preset;

fn load(sets: &[&str]) -> Result<Config> {
    let sets: Vec<Set> = sets.iter().map(|s| Set::new(*s)).collect();
    Config::load(None, false, &sets)
}

#[test]
fn the_defaults_are_the_notebooks() {
    let c = load(&[]).unwrap();
    assert_eq!(c.train.batch_size, 8);
    assert_eq!(c.train.learning_rate, 23e-5);
    assert_eq!(c.images_per_study(), 105);
    assert_eq!(c.model.backbone, Backbone::ConvnextNano);
}

#[test]
fn the_demo_is_valid_and_set_wins_over_it() {
    let c = Config::load(None, true, &[Set::new("train.epochs=77")]).unwrap();
    assert_eq!(c.train.epochs, 77);
    assert!(c.data.image_size <= 64);
}

#[test]
fn a_resolved_config_reads_back_the_same() {
    let c = load(&["train.folds=[1,3]", "data.dir=/a b"]).unwrap();
    let again: Config = toml::from_str(&c.to_toml()).unwrap();
    assert_eq!(c, again);
}

#[test]
fn set_reads_toml_and_bare_words() {
    let c =
        load(&["model.backbone=convnext_atto_ols", "data.dir=/x/y", "train.learning_rate=1e-3"])
            .unwrap();
    assert_eq!(c.model.backbone, Backbone::ConvnextAttoOls);
    assert_eq!(c.data.dir, Path::new("/x/y"));
    assert_eq!(c.train.learning_rate, 1e-3);
}

#[test]
fn a_setting_that_is_a_string_is_taken_as_it_was_typed() {
    let texts = ["2023", "1.10", "true", "0x10", "1979-05-27", "[a]", "{}", "1e3", "nan", "007"];
    for text in texts {
        let c = load(&[
            &format!("data.dir={text}"),
            &format!("data.table={text}"),
            &format!("run.dir={text}"),
            &format!("model.pretrained={text}"),
            &format!("run.kernel_type={text}"),
        ]);
        let c = c.unwrap();
        for path in [&c.data.dir, &c.data.table, &c.run.dir, &c.model.pretrained] {
            assert_eq!(path, Path::new(text));
        }
        assert_eq!(c.run.kernel_type, text);
    }
    let c = load(&["data.dir=\"a b\"", "data.table='2023'"]).unwrap();
    assert_eq!((c.data.dir, c.data.table), ("a b".into(), "2023".into()));
}

#[test]
fn a_tilde_is_the_home_folder_in_every_path() {
    let home = std::env::home_dir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    let text = "[data]\ndir = \"~/crops\"\ntable = \"~\"\n[run]\ndir = \"a/~/b\"\n";
    std::fs::write(&file, text).unwrap();
    let sets = [Set::new("model.pretrained=~/w.pth")];
    let c = Config::load(Some(&file), false, &sets).unwrap();
    assert_eq!(c.data.dir, home.join("crops"));
    assert_eq!(c.data.table, home);
    assert_eq!(c.model.pretrained, home.join("w.pth"));
    assert_eq!(c.run.dir, Path::new("a/~/b"));
    assert_eq!(load(&["data.dir=~other/x"]).unwrap().data.dir, Path::new("~other/x"));
}

#[test]
fn a_preset_lies_below_the_keys_given_with_or_after_it() {
    let augment = |sets: &[&str]| load(sets).unwrap().augment;
    let seed = augment(&[]);
    let values = |augment: &augment::Settings, keys: [&str; 3]| keys.map(|key| augment.number(key));
    assert_eq!(seed.preset, Preset::Seed);
    assert_eq!(values(&seed, ["cutout", "transpose", "brightness"]), [0.5, 0.5, 0.7]);
    assert_eq!(augment(&["augment.preset=none", "augment.preset=seed"]), seed);
    let light = augment(&["augment.cutout=1", "augment.preset=light"]);
    assert_eq!(values(&light, ["cutout", "transpose", "distortion"]), [0.0, 0.5, 0.0]);
    let none = augment(&["augment.preset=none", "augment.cutout=0.25"]);
    assert_eq!(values(&none, ["cutout", "transpose", "brightness"]), [0.25, 0.0, 0.0]);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, "[augment]\ncutout = 0.1\npreset = \"none\"\n").unwrap();
    let c = Config::load(Some(&file), false, &[]).unwrap();
    assert_eq!(["cutout", "transpose"].map(|key| c.augment.number(key)), [0.1, 0.0]);
    assert_eq!(toml::from_str::<Config>(&c.to_toml()).unwrap(), c);
    std::fs::write(&file, c.to_toml()).unwrap();
    assert_eq!(Config::load(Some(&file), false, &[]).unwrap(), c);
}

#[test]
fn refusals_name_key_value_and_what_is_allowed() {
    for (set, words) in [
        ("train.epoch=3", &["train.epoch", "3", "unknown key", "epochs"][..]),
        ("trian.epochs=3", &["trian", "unknown key", "train"]),
        ("train.epochs=many", &["train.epochs", "many", "--set"]),
        ("train.batch_size=1", &["train.batch_size = 1", "2 to"]),
        ("train.mixup=1.5", &["train.mixup = 1.5", "0 to 1"]),
        ("data.phantom_difficulty=brutal", &["data.phantom_difficulty", "brutal", "medium"]),
        ("data.on_error=retry", &["data.on_error", "retry", "skip"]),
        ("model.backbone=huge", &["model.backbone", "huge", "convnext_nano_ols"]),
        ("model.size=huge", &["model.size", "huge", "convnext_nano"]),
        ("data.image_size=100", &["data.image_size = 100", "multiple of 32"]),
        ("train.folds=[0,0]", &["train.folds", "once"]),
        ("augment.preset=heavy", &["augment.preset", "heavy", "light"]),
        ("augment.grid_steps=0", &["augment.grid_steps", "1 to"]),
        ("augment.gauss_noise_variance=[9,3]", &["augment.gauss_noise_variance", "first"]),
        ("train.learning_rate=nan", &["train.learning_rate", "above 0"]),
        ("train.epochs", &["SECTION.KEY=VALUE"]),
    ] {
        let e = load(&[set]).unwrap_err().to_string();
        for w in words {
            assert!(e.contains(w), "{set}: {e:?} lacks {w:?}");
        }
        assert!(!e.contains('\n'), "{e:?}");
    }
}
