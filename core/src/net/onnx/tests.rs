use super::*;
use crate::{
    config::{Config, Set},
    net::Spec,
};
use candle_core::{DType, Device};
use std::collections::{BTreeMap, HashSet};

fn exported(backbone: &str) -> (Classifier, Model) {
    let sets = [backbone, "model.lstm_hidden=4", "model.head_hidden=3"].map(Set::new);
    let config = Config::load(None, false, &sets).unwrap();
    let model = Classifier::new(&Spec::new(&config), 0, 0, DType::F32, &Device::Cpu).unwrap();
    let bytes = to_bytes(&model, &[("fold", "3".into())]).unwrap();
    (model, Model::decode(&bytes[..]).unwrap())
}

#[test]
fn every_value_is_made_before_it_is_used_and_once() {
    let (_, file) = exported("model.backbone=convnext_micro");
    let graph = file.graph.unwrap();
    let mut made: HashSet<&str> = graph.input.iter().map(|value| &*value.name).collect();
    for values in &graph.initializer {
        assert!(made.insert(&values.name), "{} is there twice", values.name);
        let width = if values.data_type == FLOAT { 4 } else { 8 };
        let count = values.dims.iter().product::<i64>() as usize;
        assert_eq!(values.raw_data.len(), width * count, "{}", values.name);
    }
    for node in &graph.node {
        for input in &node.input {
            assert!(made.contains(&**input), "{} takes {input}", node.name);
        }
        for output in &node.output {
            assert!(made.insert(output), "{output} is made twice");
        }
    }
    assert!(graph.output.iter().all(|value| made.contains(&*value.name)));
    assert_eq!(graph.output.iter().map(|v| &*v.name).collect::<Vec<_>>(), [SLICES, STUDIES]);
    assert_eq!(file.opset_import[0].version, 17);
    assert_eq!(file.metadata_props[0], Entry { key: "fold".into(), value: "3".into() });
}

#[test]
fn it_holds_every_weight_in_pytorchs_shape_but_the_lstms() {
    let (model, file) = exported("model.backbone=convnext_micro");
    let graph = file.graph.unwrap();
    let there: BTreeMap<&str, _> = graph.initializer.iter().map(|v| (&*v.name, v)).collect();
    for (name, tensor) in weights::state_dict(&model.parameters).unwrap() {
        if name.starts_with("lstm") || name.ends_with("num_batches_tracked") {
            continue;
        }
        let dims: Vec<i64> = tensor.dims().iter().map(|&d| d as i64).collect();
        assert_eq!(there[&*name].dims, dims, "{name}");
    }
    assert_eq!(there["lstm.l0.W"].dims, [2, 16, 128]);
    assert_eq!(there["lstm2.l1.W"].dims, [2, 16, 8]);
    assert_eq!(there["lstm.l1.R"].dims, [2, 16, 4]);
    assert_eq!(there["lstm.l1.B"].dims, [2, 32]);
    let count = |op: &str| graph.node.iter().filter(|node| node.op_type == op).count();
    // Convolutions: stem, three downsamplings, five blocks.
    assert_eq!((count("Conv"), count("LayerNormalization")), (9, 10));
    assert_eq!((count("Erf"), count("LSTM"), count("BatchNormalization")), (5, 4, 2));
}

#[test]
fn gates_stand_in_onnxs_order() {
    let (model, file) = exported("model.backbone=convnext_micro");
    let dict = weights::state_dict(&model.parameters).unwrap();
    let rows = dict["lstm.weight_hh_l0_reverse"].to_vec2::<f32>().unwrap();
    let graph = file.graph.unwrap();
    let r = graph.initializer.iter().find(|values| values.name == "lstm.l0.R").unwrap();
    let floats: Vec<f32> =
        r.raw_data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    // [2, 16, 4]: the second direction's gate o, at [1, 4], is the last of PyTorch's four.
    assert_eq!(floats[(16 + 4) * 4..][..4], rows[12]);
    assert_eq!(floats[16 * 4..][..4], rows[0]);
}
