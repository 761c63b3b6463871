//! Files that fit and files that do not; no Python is needed.

use super::*;
use crate::reference::golden;
use crate::tiny::{rsna_tui, said, tensors, train};
use rsna_tui::net::weights::{self, Content, fill, state_dict};
use std::{fs, io::Write};

/// The encoder's weights under timm's names, with a classifier.
fn timm(spec: &Spec) -> BTreeMap<String, Tensor> {
    let model = network(&Spec { in_channels: 3, ..spec.clone() });
    reference::fill(&model.parameters);
    let dict = state_dict(&model.parameters).unwrap().into_iter();
    let own = |(name, t): (String, Tensor)| Some((name.strip_prefix("encoder.")?.to_string(), t));
    let mut dict: BTreeMap<String, Tensor> = dict.filter_map(own).collect();
    let width = spec.features();
    dict.insert(
        "head.fc.weight".into(),
        Tensor::ones((9, width), DType::F32, &Device::Cpu).unwrap(),
    );
    dict.insert("head.fc.bias".into(), Tensor::ones(9, DType::F32, &Device::Cpu).unwrap());
    dict
}

#[test]
fn a_training_checkpoint_of_pytorchs_fills_the_whole_network() {
    let path = golden("parallel.pth").unwrap();
    let model = network(&narrow());
    assert_eq!(fill(&model, &path, None).unwrap(), Content::Network);
    for (name, tensor) in state_dict(&model.parameters).unwrap() {
        if name.ends_with("num_batches_tracked") {
            assert_eq!(tensor.to_scalar::<i64>().unwrap(), 7);
            continue;
        }
        let value = |i: usize| ((i + 31 * name.len()) % 251) as f32 / 128.0 - 125.0 / 128.0;
        let expected: Vec<f32> = (0..tensor.elem_count()).map(value).collect();
        assert_eq!(reference::values(&tensor), expected, "{name}");
    }
}

#[test]
fn tensors_that_do_not_fit_are_told_by_name_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let model = network(&narrow());
    let before = bits(&state_dict(&model.parameters).unwrap());
    let refused = |dict: &BTreeMap<String, Tensor>, words: &[&str]| {
        write(&path, dict);
        let error = fill(&model, &path, None).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{error:?} lacks {word:?}");
        }
        assert!(error.contains("w.safetensors") && !error.contains('\n'), "{error}");
        assert_eq!(bits(&state_dict(&model.parameters).unwrap()), before);
    };
    let one = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();

    let mut encoder = timm(&narrow());
    encoder.retain(|name, _| !name.ends_with(".gamma"));
    encoder.insert("stem.0.weight".into(), one(&[5, 3, 4, 4]));
    encoder.insert("stem.1.weight".into(), one(&[5]));
    encoder.insert("norm_pre.weight".into(), one(&[16]));
    let missing = "stages.0.blocks.0.gamma, stages.1.blocks.0.gamma, stages.2.blocks.0.gamma \
                   (and 2 more) are missing";
    let shape = "stem.0.weight is [5, 3, 4, 4] instead of [4, 6, 4, 4], stem.1.weight is [5] instead of [4]";
    refused(&encoder, &[missing, shape, "\"norm_pre.weight\" has no place", "convnext_micro"]);

    let mut whole = state_dict(&model.parameters).unwrap();
    whole.remove("head2.1.num_batches_tracked");
    whole.insert("lstm.weight_ih_l0".into(), one(&[12, 17]));
    for extra in ["lstm.weight_ih_l2", "lstm.weight_hh_l2", "lstm.bias_ih_l2", "lstm.bias_hh_l2"] {
        whole.insert(extra.into(), one(&[12]));
    }
    let shape = "lstm.weight_ih_l0 is [12, 17] instead of [12, 16]";
    let extra = "\"lstm.bias_hh_l2\", \"lstm.bias_ih_l2\", \"lstm.weight_hh_l2\" (and 1 more) have no \
                 place in it";
    refused(&whole, &["head2.1.num_batches_tracked is missing", shape, extra]);
}

#[test]
fn what_is_no_weights_file_is_told_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.pth");
    let model = network(&narrow());
    let refused = |bytes: &[u8], word: &str| {
        fs::write(&path, bytes).unwrap();
        let error = fill(&model, &path, None).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("w.pth"), "{error:?} lacks {word:?}");
        assert!(!error.contains(char::is_control), "{error:?}");
    };
    refused(b"", "no safetensors");
    refused(b"<html>no such model</html>", "no safetensors");
    refused(&[&(17u64 << 20).to_le_bytes()[..], b"{}"].concat(), "no safetensors");
    refused(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9 \x6a\xa8\x50\x19.", "before 1.6");
    let whole = fs::read(golden("parallel.pth").unwrap()).unwrap();
    for part in 1..40 {
        refused(&whole[..whole.len() * part / 40], "no whole zip archive");
    }
    // A value's bits, far from any name.
    let mut damaged = whole.clone();
    let at = whole.windows(6).position(|w| w == b"data/9").unwrap() + 200;
    damaged[at] ^= 1;
    refused(&damaged, "damaged");
    let zip = |files: &[(&str, &[u8])]| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in files {
            let stored = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored);
            zip.start_file(*name, stored).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    refused(&zip(&[("a/b.txt", b"")]), "without a data.pkl");
    refused(&zip(&[("a/data.pkl", b"\x80\x02}.")]), "holds no tensor");
    refused(&zip(&[("a/data.pkl", b"\x80\x02K\x01.")]), "save its state_dict()");
    refused(&zip(&[("a/data.pkl", b"\x80\x02}."), ("a/byteorder", b"big")]), "byte order");
    let seed = |name: &str| {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/weights");
        fs::read(seeds.join(name)).unwrap()
    };
    let of_seed = |name: &str, values: &[u8]| {
        let pickle = seed(name);
        let stored = ["a/data/0", "a/data/1", "a/data/2"].map(|name| (name, values));
        zip(&[&[("a/data.pkl", &pickle[..])], &stored[..]].concat())
    };
    for (name, word) in [
        ("laughs.pkl", "too many objects"),
        ("deep.pkl", "nested too deep"),
        ("long_text.pkl", "cut short"),
        ("long_number.pkl", "beyond 64 bits"),
        ("short_arguments.pkl", "in a way that is not PyTorch's"),
        ("endless_shape.pkl", "a shape without an end"),
    ] {
        refused(&of_seed(name, &[0; 64]), word);
    }
    refused(&of_seed("timm.pkl", &[0; 4]), "more values than are stored");
    refused(&zip(&[("a/data.pkl", &seed("timm.pkl"))]), "are missing");
}

#[test]
fn an_encoder_of_timms_becomes_a_file_to_train_from() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let spec = Spec { lstm_hidden: 2, head_hidden: 2, ..reference::tiny() };
    write(&dir.join("timm.safetensors"), &timm(&spec));
    let small =
        "--set model.backbone=convnext_micro --set model.lstm_hidden=2 --set model.head_hidden=2";
    let import = |args: &str| {
        let args: Vec<&str> = args.split(' ').chain(small.split(' ')).collect();
        let out = rsna_tui(dir, &[&["import"][..], &args].concat());
        (out.status.code(), said(&out))
    };
    let (code, text) = import("timm timm.safetensors --out encoder.safetensors");
    assert!(code == Some(0) && text.contains("model.pretrained=encoder.safetensors"), "{text}");
    let of = |file: &str| {
        let model = network(&spec);
        assert_eq!(fill(&model, &dir.join(file), None).unwrap(), Content::Encoder);
        bits(&state_dict(&model.parameters).unwrap())
    };
    let stem = "encoder.stem.0.weight";
    assert_eq!(of("encoder.safetensors"), of("timm.safetensors"));
    assert_ne!(
        of("encoder.safetensors")[stem],
        bits(&state_dict(&network(&spec).parameters).unwrap())[stem]
    );

    let (code, text) = import("timm timm.safetensors --out encoder.safetensors");
    assert!(code == Some(2) && text.contains("already there"), "{text}");
    let (code, text) = import("torch timm.safetensors --out x.safetensors");
    assert!(code == Some(2) && text.contains("`rsna-tui import timm` takes it"), "{text}");
    let args = ["import", "timm", "timm.safetensors", "--out", "x.safetensors"];
    let text = said(&rsna_tui(dir, &args));
    let hint = "expected the weights of convnext_nano; these look like convnext_micro's: \
                --set model.backbone=convnext_micro";
    assert!(text.contains(hint), "{text}");
    let (code, text) = import("timm none.pth --out x.safetensors");
    assert!(code == Some(2) && text.contains("none.pth: no such file"), "{text}");
    if !cfg!(feature = "hub") {
        let (code, text) = import("timm hf:timm/convnext_nano.d1h_in1k --out x.safetensors");
        let url =
            "https://huggingface.co/timm/convnext_nano.d1h_in1k/resolve/main/model.safetensors";
        assert!(
            code == Some(2) && text.contains("without the feature") && text.contains(url),
            "{text}"
        );
    }
    assert!(!dir.join("x.safetensors").exists());
}

#[test]
fn what_was_trained_goes_out_and_comes_in_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let short = |run| {
        let fewer = "--folds 0 --set train.epochs=1 --set data.phantom_studies=8";
        [train(run, 2), fewer.split(' ').collect()].concat()
    };
    let out = rsna_tui(dir, &short("a"));
    assert!(out.status.success(), "{}", said(&out));
    let export = |args: &str| {
        let args: Vec<&str> = args.split(' ').collect();
        let out = rsna_tui(dir, &[&["export"][..], &args].concat());
        (out.status.code(), said(&out))
    };
    let run = dir.join("runs/a");
    let (code, text) = export("a --fold 0");
    assert!(
        code == Some(0) && text.contains("load_file(\"runs/a/exports/fold0_best.safetensors\")")
    );
    assert!(text.contains("best of epoch"), "{text}");
    let exported = run.join("exports/fold0_best.safetensors");
    assert_eq!(tensors(&exported), tensors(&run.join("fold0_best.safetensors")));
    let (code, text) = export("a --fold 0 --last --out last.safetensors");
    assert!(code == Some(0) && text.contains("last of epoch 1"), "{text}");
    let last = tensors(&run.join("fold0_last.safetensors"));
    for (name, values) in tensors(&dir.join("last.safetensors")) {
        assert_eq!(values, last[&format!("model.{name}")], "{name}");
    }
    let (code, text) = export("a --fold 0 --last --out last.safetensors");
    assert!(code == Some(2) && text.contains("--force"), "{text}");
    let (code, text) = export("a --fold 7");
    assert!(code == Some(2) && text.contains("has the folds 0"), "{text}");
    let (code, text) = export("a --fold 0 --format onnx");
    assert!(code == Some(0) && text.contains("InferenceSession"), "{text}");
    python::trained(dir, &run);

    let import = "import torch runs/a/exports/fold0_best.safetensors --out start.safetensors \
                  --config runs/a/config.toml";
    let out = rsna_tui(dir, &import.split_whitespace().collect::<Vec<_>>());
    assert!(out.status.success(), "{}", said(&out));
    assert_eq!(tensors(&dir.join("start.safetensors")), tensors(&exported));
    let start = ["--set", "model.pretrained=start.safetensors"];
    let out = rsna_tui(dir, &[&short("b")[..], &start].concat());
    assert!(out.status.success(), "{}", said(&out));
    let mut damaged = fs::read(run.join("fold0_best.safetensors")).unwrap();
    let at = damaged.len() - 9;
    damaged[at] ^= 1;
    fs::write(run.join("fold0_best.safetensors"), damaged).unwrap();
    let (code, text) = export("a --fold 0");
    assert!(code == Some(2) && text.contains("checksum is wrong"), "{text}");
    fs::remove_file(run.join("fold0_best.safetensors")).unwrap();
    let (code, text) = export("a --fold 0");
    assert!(code == Some(2) && text.contains("--last takes its newest"), "{text}");
}

#[test]
fn a_classifier_of_timms_is_left_aside_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let spec = narrow();
    let model = network(&spec);
    let mut dict = timm(&spec);
    // Linear layers instead of 1×1 convolutions, and what DataParallel calls them.
    for (name, t) in &mut dict {
        if name.contains(".mlp.") && name.ends_with("weight") {
            *t = t.flatten_from(1).unwrap();
        }
    }
    let parallel = dict.iter().map(|(name, t)| (format!("module.{name}"), t.clone())).collect();
    write(&path, &parallel);
    assert_eq!(fill(&model, &path, Some(Content::Encoder)).unwrap(), Content::Encoder);
    let fitted = state_dict(&model.parameters).unwrap();
    let six = weights::adapt_stem(&dict["stem.0.weight"], 6).unwrap();
    assert_eq!(reference::values(&fitted["encoder.stem.0.weight"]), reference::values(&six));
    let fc1 = "stages.2.blocks.1.mlp.fc1.weight";
    assert_eq!(fitted[&format!("encoder.{fc1}")].dims(), [48, 12, 1, 1]);
    assert_eq!(
        reference::values(&fitted[&format!("encoder.{fc1}")]),
        reference::values(&dict[fc1])
    );
}
