//! The notebook's parameter table.

use super::{
    classifier::Classifier,
    description::{Encoder, Network},
    spec::Stem,
};
use std::fmt::Write;

/// Formats the table that `--print-model` prints: rows, output shapes and parameter counts of the
/// notebook's torchinfo table, at this batch and image size.
pub fn table(model: &Classifier, batch: usize, image_size: usize) -> String {
    let spec = &model.spec;
    let n = batch * spec.images;
    let Network { encoder, lstm, head, lstm2, head2 } = Network::new(spec);
    let Encoder { stem, second, stem_norm, stages, head_norm } = &encoder;
    let d = spec.dims;
    let map = |s: usize| {
        let side = (image_size / 4) >> s;
        format!("[{n}, {}, {side}, {side}]", d[s])
    };
    let features = format!("[{n}, {}]", d[3]);
    let pooled = format!("[{n}, {}, 1, 1]", d[3]);
    let mut rows: Vec<(usize, &str, String, usize)> = vec![
        (0, "TimmModelType2", format!("[{n}, 1]"), 0),
        (1, "ConvNeXt", features.clone(), 0),
        (2, "Sequential", map(0), 0),
    ];
    if let Stem::Overlap { middle } = spec.stem {
        let side = image_size / 2;
        let shape = format!("[{n}, {middle}, {side}, {side}]");
        rows.push((3, "Conv2d", shape, stem.count()));
    }
    rows.extend([
        (3, "Conv2d", map(0), second.as_ref().unwrap_or(stem).count()),
        (3, "LayerNorm2d", map(0), stem_norm.count()),
        (2, "Sequential", map(3), 0),
    ]);
    for (s, stage) in stages.iter().enumerate() {
        rows.push((3, "ConvNeXtStage", map(s), stage.count()));
    }
    rows.extend([
        (2, "Identity", map(3), 0),
        (2, "Sequential", "--".into(), 0),
        (3, "SelectAdaptivePool2d", pooled.clone(), 0),
        (3, "LayerNorm2d", pooled, head_norm.count()),
        (3, "Flatten", features.clone(), 0),
        (3, "Dropout", features.clone(), 0),
        (3, "Identity", features, 0),
    ]);
    let states = format!("[{batch}, {}, {}]", spec.images, 2 * spec.lstm_hidden);
    rows.push((1, "LSTM", states.clone(), lstm.count()));
    rows.push((1, "LSTM", states, lstm2.count()));
    for (head, m) in [(head, n), (head2, batch)] {
        let hidden = format!("[{m}, {}]", spec.head_hidden);
        rows.extend([
            (1, "Sequential", format!("[{m}, 1]"), 0),
            (2, "Linear", hidden.clone(), head.hidden.count()),
            (2, "BatchNorm1d", hidden.clone(), head.norm.count()),
            (2, "Dropout", hidden.clone(), 0),
            (2, "LeakyReLU", hidden, 0),
            (2, "Linear", format!("[{m}, 1]"), head.out.count()),
        ]);
    }
    let line = "=".repeat(100);
    let mut out = format!("batch size = {batch}, {}\n{line}\n", spec.name);
    let _ = writeln!(out, "{:<48} {:<25} Param #", "Layer (type:depth-idx)", "Output Shape");
    let _ = writeln!(out, "{line}");
    let mut seen = [0; 4];
    for (depth, name, shape, parameters) in rows {
        seen[depth] += 1;
        let label = match depth {
            0 => name.to_string(),
            _ => format!("{}├─{name}: {depth}-{}", "│    ".repeat(depth - 1), seen[depth]),
        };
        let parameters = if parameters == 0 { "--".into() } else { grouped(parameters) };
        let _ = writeln!(out, "{label:<48} {shape:<25} {parameters}");
    }
    let total = grouped(model.parameters.count());
    let _ = write!(
        out,
        "{line}\nTotal params: {total}\nTrainable params: {total}\nNon-trainable params: 0\n{line}"
    );
    out
}

/// Groups digits: 22052722 → `22,052,722`.
pub fn grouped(n: usize) -> String {
    match (n / 1000, n % 1000) {
        (0, last) => last.to_string(),
        (first, last) => format!("{},{last:03}", grouped(first)),
    }
}
