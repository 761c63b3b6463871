//! Tests pretrained encoders by name: from a local hub, from the cache, and with neither. Built only
//! with the feature `hub`.

use candle_core::{DType, Device};
use rsna_tui::{
    config::{Config, Set},
    net::{Classifier, Spec, weights},
};
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
};

const SMALL: [&str; 3] =
    ["model.backbone=convnext_micro", "model.lstm_hidden=2", "model.head_hidden=2"];

/// Runs `rsna-tui import timm hf:timm/small` against the hub at `endpoint`. Returns exit code and output.
fn import(dir: &Path, endpoint: &str, name: &str, out: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsna-tui"));
    command.current_dir(dir).args(["import", "timm", name, "--out", out]);
    for set in SMALL {
        command.args(["--set", set]);
    }
    // A proxy could not reach the local hub.
    for proxy in
        ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    {
        command.env_remove(proxy);
    }
    let out = command.env("HF_ENDPOINT", endpoint).env("HF_HOME", dir.join("cache")).output();
    let out = out.unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Answers one request as the hub does, from one repository with one file; supports range requests.
fn answer(mut stream: TcpStream, file: &[u8]) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    while reader.read_line(&mut request).unwrap() > 2 {}
    let request = request.to_ascii_lowercase();
    let there = request.starts_with("get /timm/small/resolve/v1/model.safetensors ");
    let head = match there {
        true => "HTTP/1.1 206 Partial Content\r\nETag: \"e1\"\r\nX-Repo-Commit: c0ffee\r\n",
        false => "HTTP/1.1 404 Not Found\r\n",
    };
    let body = match (there, request.contains("range: bytes=0-0\r\n")) {
        (false, _) => &[][..],
        (true, true) => &file[..1],
        (true, false) => file,
    };
    let (last, whole) = (body.len().max(1) - 1, file.len());
    let ranges = format!("Content-Range: bytes 0-{last}/{whole}\r\n");
    let length = body.len();
    let _ = stream.write_all(
        format!("{head}{ranges}Content-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    let _ = stream.write_all(body);
}

#[test]
fn a_model_of_the_hub_is_downloaded_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let config = Config::load(None, false, &SMALL.map(Set::new)).unwrap();
    let spec = Spec { in_channels: 3, ..Spec::new(&config) };
    let model = Classifier::new(&spec, 0, 0, DType::F32, &Device::Cpu).unwrap();
    let dict = weights::state_dict(&model.parameters).unwrap();
    let own = dict.iter().filter_map(|(name, t)| Some((name.strip_prefix("encoder.")?, t)));
    let file = safetensors::serialize(own, None).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &file)));

    let (code, said) = import(dir, &endpoint, "hf:timm/small@v1", "a.safetensors");
    assert!(code == Some(0), "{said}");
    assert!(dir.join("cache/hub/models--timm--small").is_dir());
    // Without the hub, take it from the cache.
    let nowhere = "http://127.0.0.1:9";
    let (code, said) = import(dir, nowhere, "hf:timm/small@v1", "b.safetensors");
    assert!(code == Some(0), "{said}");
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    assert!(read("a.safetensors") == read("b.safetensors"));

    let by_hand = "https://huggingface.co/timm/other/resolve/main/model.safetensors";
    for hub in [&endpoint[..], nowhere] {
        let (code, said) = import(dir, hub, "hf:timm/other", "c.safetensors");
        assert!(code == Some(2) && said.trim_end().lines().count() == 1, "{said}");
        assert!(said.contains("hf:timm/other") && said.contains("cannot be downloaded"), "{said}");
        assert!(said.contains(by_hand), "{said}");
    }
    assert!(!dir.join("c.safetensors").exists());
}
