//! Names that wrappers put around a network's own, and a moving average beside the weights.

use super::*;
use crate::tiny::{rsna_tui, said};
use rsna_tui::net::weights::{Content, fill, fill_from, state_dict};
use std::{fs, io::Write, path::PathBuf};

/// A state dict of which every value is `value`.
fn constant(value: f32) -> BTreeMap<String, Tensor> {
    let dict = state_dict(&network(&narrow()).parameters).unwrap().into_iter();
    dict.map(|(name, t)| (name, Tensor::full(value, t.shape(), &Device::Cpu).unwrap())).collect()
}

/// timm's part of it: the encoder alone, under timm's names, for six channels.
fn encoder(value: f32) -> BTreeMap<String, Tensor> {
    let dict = constant(value).into_iter();
    dict.filter_map(|(name, t)| Some((name.strip_prefix("encoder.")?.to_string(), t))).collect()
}

fn under(dict: BTreeMap<String, Tensor>, prefix: &str) -> BTreeMap<String, Tensor> {
    dict.into_iter().map(|(name, t)| (format!("{prefix}{name}"), t)).collect()
}

/// The value that the encoder's stem has after `dict` was read, or the refusal.
fn value(dict: &BTreeMap<String, Tensor>, average: bool) -> Result<(f32, Content), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    write(&path, dict);
    of_file(&path, average).map(|(value, content, _)| (value, content))
}

fn of_file(path: &Path, average: bool) -> Result<(f32, Content, Option<String>), String> {
    let model = network(&narrow());
    let filled = fill_from(&model, path, None, average).map_err(|e| e.to_string())?;
    let stem = &state_dict(&model.parameters).unwrap()["encoder.stem.1.bias"];
    Ok((reference::values(stem)[0], filled.content, filled.note))
}

#[test]
fn any_wrappers_names_are_taken_off_in_any_order() {
    for prefix in [
        "",
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.",
        "net.",
        "model._orig_mod.",
        "model.module.net.",
        "_fsdp_wrapped_module._orig_mod.classifier.",
        "student.backbone.",
    ] {
        let whole = value(&under(constant(0.25), prefix), false);
        assert_eq!(whole, Ok((0.25, Content::Network)), "{prefix}");
        for prefix in [prefix.to_string(), format!("{prefix}encoder.")] {
            let mut timm = encoder(0.5);
            timm.insert(
                "head.fc.weight".into(),
                Tensor::ones((9, 16), DType::F32, &Device::Cpu).unwrap(),
            );
            let alone = value(&under(timm, &prefix), false);
            assert_eq!(alone, Ok((0.5, Content::Encoder)), "{prefix}");
        }
    }
    // Parts that were wrapped by themselves, and AveragedModel's count.
    let inner = |name: String| match name.split_once('.').unwrap() {
        ("encoder", rest) => format!("encoder._orig_mod.module.{rest}"),
        ("lstm", rest) => format!("lstm._orig_mod.{rest}"),
        _ => name,
    };
    let mut dict: BTreeMap<_, _> =
        constant(0.25).into_iter().map(|(name, t)| (format!("model.{}", inner(name)), t)).collect();
    dict.insert("n_averaged".into(), Tensor::new(5i64, &Device::Cpu).unwrap());
    assert_eq!(value(&dict, false), Ok((0.25, Content::Network)));
}

#[test]
fn what_is_not_clear_is_told() {
    let mut two = under(constant(0.25), "student.");
    two.extend(under(constant(0.5), "teacher."));
    let error = value(&two, false).unwrap_err();
    let words = "it holds 2 such networks, their names beginning with \"student.\", \"teacher.\"";
    assert!(error.contains(words), "{error}");
    let mut twice = constant(0.25);
    twice.extend(under(constant(0.5), "module."));
    let error = value(&twice, false).unwrap_err();
    assert!(error.contains("is there twice"), "{error}");
    // What is not under the wrapper has no place.
    let mut more = under(constant(0.25), "model.");
    more.insert("criterion.weight".into(), Tensor::ones(2, DType::F32, &Device::Cpu).unwrap());
    let error = value(&more, false).unwrap_err();
    assert!(error.contains("\"criterion.weight\" has no place in it"), "{error}");
    let mut less = under(constant(0.25), "net.");
    less.remove("net.head.4.bias");
    let error = value(&less, false).unwrap_err();
    assert!(error.contains("head.4.bias is missing") && !error.contains("net."), "{error}");
    let error = value(&constant(0.25), true).unwrap_err();
    assert!(error.contains("no moving average") && error.contains("leave --ema out"), "{error}");
}

#[test]
fn of_weights_and_their_moving_average_the_one_that_is_asked_for_is_taken() {
    // Beside each other under one dictionary's names.
    for (own, average) in [("model.", "ema_model.module."), ("", "ema."), ("net.", "model_ema.")] {
        let mut dict = under(constant(0.25), own);
        dict.extend(under(constant(0.5), average));
        assert_eq!(value(&dict, false), Ok((0.25, Content::Network)), "{own}, {average}");
        assert_eq!(value(&dict, true), Ok((0.5, Content::Network)), "{own}, {average}");
    }
    // Alone it is taken in any case.
    let alone = under(constant(0.5), "ema.");
    assert_eq!(value(&alone, false), Ok((0.5, Content::Network)));
    // In dictionaries of their own.
    let dir = tempfile::tempdir().unwrap();
    for (own, average) in [
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("model_state_dict", "ema_state_dict"),
        ("weights", "modelEMA"),
    ] {
        let path = pth(dir.path(), &[(own, 0.25), (average, 0.5)], &[0x80, 2]);
        for (asked, expected, switch) in [(false, 0.25, "--ema"), (true, 0.5, "without --ema")] {
            let (value, _, note) = of_file(&path, asked).unwrap();
            assert_eq!(value, expected, "{own}, {average}");
            let note = note.unwrap();
            assert!(note.contains(&format!("{own:?}")) && note.contains(&format!("{average:?}")));
            assert!(note.contains(switch), "{note}");
        }
    }
    let path = pth(dir.path(), &[("state_dict", 0.25)], &[0x80, 2]);
    assert_eq!(of_file(&path, false).unwrap().2, None);
    assert!(of_file(&path, true).unwrap_err().contains("leave --ema out"));
}

/// A file as torch.save writes it, the pickle beginning with `start`: dictionaries of state dicts in
/// which every value is the same.
fn pth(dir: &Path, dicts: &[(&str, f32)], start: &[u8]) -> PathBuf {
    let text = |s: &str| [b"X", &(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat();
    let number = |n: usize| [b"J", &(n as u32).to_le_bytes()[..]].concat();
    let tuple = |parts: Vec<Vec<u8>>| [b"(", &parts.concat()[..], b"t"].concat();
    let mut pickle = [start, b"}("].concat();
    let most = 1 << 16;
    for (key, (name, _)) in dicts.iter().enumerate() {
        pickle.extend([text(name), b"}(".to_vec()].concat());
        for (tensor, t) in constant(0.0) {
            let id = tuple(vec![
                text("storage"),
                b"ctorch\nFloatStorage\n".to_vec(),
                text(&key.to_string()),
                text("cpu"),
                number(most),
            ]);
            let shape = t.dims().to_vec();
            let strides = (0..shape.len()).map(|i| shape[i + 1..].iter().product::<usize>());
            let of = |values: Vec<usize>| tuple(values.into_iter().map(number).collect());
            let arguments = tuple(vec![
                [&id[..], b"Q"].concat(),
                number(0),
                of(shape.clone()),
                of(strides.collect()),
                b"\x89".to_vec(),
                b"}".to_vec(),
            ]);
            let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec();
            pickle.extend([text(&tensor), rebuild, arguments, b"R".to_vec()].concat());
        }
        pickle.extend(b"u");
    }
    pickle.extend(b"u.");
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("a/data.pkl", stored).unwrap();
    zip.write_all(&pickle).unwrap();
    for (key, (_, value)) in dicts.iter().enumerate() {
        zip.start_file(format!("a/data/{key}"), stored).unwrap();
        zip.write_all(&value.to_le_bytes().repeat(most)).unwrap();
    }
    let path = dir.join("w.pth");
    fs::write(&path, zip.finish().unwrap().into_inner()).unwrap();
    path
}

#[test]
fn a_pickle_of_another_protocol_is_told_in_a_sentence_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |start: &[u8], word: &str| {
        let path = pth(dir.path(), &[("state_dict", 0.25)], start);
        let error = fill(&network(&narrow()), &path, None).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("torch.save its state_dict()"), "{error}");
        assert!(!error.contains(char::is_control) && !error.contains("at src"), "{error}");
        // As who looks for a bug has it: no stack trace all the same.
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_rsna-tui"))
            .current_dir(dir.path())
            .args(["import", "torch", "w.pth", "--out", "x.safetensors"])
            .env("RUST_BACKTRACE", "full")
            .output()
            .unwrap();
        let text = said(&out);
        assert!(out.status.code() == Some(2) && text.contains(word), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    };
    refused(&[0x80, 4, 0x95, 9, 0, 0, 0, 0, 0, 0, 0], "a pickle of protocol 4");
    refused(&[0x80, 5], "a pickle of protocol 5");
    // Instructions that are not read: MEMOIZE, FRAME, STACK_GLOBAL, EXT1, INST.
    for operation in [0x94, 0x95, 0x93, 0x82, b'i'] {
        refused(&[0x80, 2, operation], "cannot be understood");
    }
}

#[test]
fn import_takes_the_average_where_it_is_told_to_and_training_says_what_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let spec = Spec { lstm_hidden: 2, head_hidden: 2, ..reference::tiny() };
    let dict = state_dict(&network(&spec).parameters).unwrap();
    let mut both = under(dict.clone(), "model.");
    both.extend(under(dict, "model_ema.module."));
    write(&dir.join("both.safetensors"), &both);
    let small =
        "--set model.backbone=convnext_micro --set model.lstm_hidden=2 --set model.head_hidden=2";
    let run = |args: String| {
        let out = rsna_tui(dir, &args.split_whitespace().collect::<Vec<_>>());
        assert!(out.status.success(), "{}", said(&out));
        said(&out)
    };
    let text = run(format!("import torch both.safetensors --out a.safetensors {small}"));
    let words =
        "took the weights, the names that begin with \"model.\", and not the moving average";
    assert!(text.contains(words) && text.contains("--ema takes those"), "{text}");
    let text = run(format!("import torch both.safetensors --ema --out b.safetensors {small}"));
    assert!(
        text.contains("took the moving average, the names that begin with \"model_ema.\""),
        "{text}"
    );
    let short = "--no-tui --set data.dir=phantom --set data.phantom_studies=8 --set data.image_size=32 \
                 --set train.epochs=1 --set train.batch_size=2 --folds 0 \
                 --set model.pretrained=both.safetensors";
    let text = run(format!("{short} {small}"));
    assert!(text.contains("both.safetensors: took the weights"), "{text}");
}
