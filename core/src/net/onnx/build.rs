//! Builds an ONNX graph from nodes and initialisers.

use super::proto::{Attribute, FLOAT, Graph, INT64, Node, Tensor as Values};
use candle_core::{DType, Device, Result, Tensor, bail};
use std::collections::BTreeMap;

/// A graph under construction, over the weights of a network.
pub(super) struct Build<'a> {
    weights: &'a BTreeMap<String, Tensor>,
    graph: Graph,
}

impl<'a> Build<'a> {
    /// Starts a graph over weights by PyTorch's names, in PyTorch's shapes.
    pub fn new(weights: &'a BTreeMap<String, Tensor>) -> Self {
        Self { weights, graph: Graph::default() }
    }

    /// Returns the finished graph.
    pub fn finish(self) -> Graph {
        self.graph
    }

    /// Looks up a weight of the network.
    pub fn tensor(&self, name: &str) -> Result<&'a Tensor> {
        match self.weights.get(name) {
            Some(tensor) => Ok(tensor),
            None => bail!("the network has no weight {name}"),
        }
    }

    /// Adds a weight as an initialiser under its own name.
    pub fn weight(&mut self, name: &str) -> Result<String> {
        let tensor = self.tensor(name)?;
        self.values(name, tensor)
    }

    /// Adds values as an initialiser, once per name: integers for a shape or a position, f32 otherwise.
    pub fn values(&mut self, name: &str, tensor: &Tensor) -> Result<String> {
        let flat = tensor.flatten_all()?;
        let (data_type, raw_data) = if tensor.dtype() == DType::I64 {
            (INT64, flat.to_vec1::<i64>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
        } else {
            let values = flat.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            (FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect())
        };
        if self.graph.initializer.iter().all(|there| there.name != name) {
            let dims = tensor.dims().iter().map(|&d| d as i64).collect();
            self.graph.initializer.push(Values { dims, data_type, name: name.into(), raw_data });
        }
        Ok(name.into())
    }

    /// Adds an operation on named values; returns its output's name. `at`: the part of the network it
    /// belongs to.
    pub fn node(
        &mut self,
        at: &str,
        op: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
    ) -> String {
        let name = format!("{at}/{op}_{}", self.graph.node.len());
        self.graph.node.push(Node {
            input: inputs.iter().map(|name| name.to_string()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.into(),
            attribute: attributes,
        });
        name
    }

    /// Names the newest node's output.
    pub fn call(&mut self, name: &str) {
        if let Some(node) = self.graph.node.last_mut() {
            node.output = vec![name.into()];
        }
    }

    /// Permutes the dimensions of [.., i, j] to `order`.
    pub fn transpose(&mut self, at: &str, x: &str, order: &[i64]) -> String {
        self.node(at, "Transpose", &[x], vec![ints("perm", order)])
    }

    /// Reshapes to `shape`: -1 infers a dimension, 0 keeps it.
    pub fn reshape(&mut self, at: &str, x: &str, shape: &[i64]) -> Result<String> {
        let name = shape.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let shape = self.values(&format!("shape [{name}]"), &Tensor::new(shape, &Device::Cpu)?)?;
        Ok(self.node(at, "Reshape", &[x, &shape], Vec::new()))
    }
}

/// An integer attribute.
pub(super) fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(value), r#type: 2, ..Attribute::default() }
}

/// A list of integers as an attribute.
pub(super) fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute { name: name.into(), ints: values.into(), r#type: 7, ..Attribute::default() }
}

/// A float attribute.
pub(super) fn float(name: &str, value: f64) -> Attribute {
    Attribute { name: name.into(), f: Some(value as f32), r#type: 1, ..Attribute::default() }
}

/// A string attribute.
pub(super) fn text(name: &str, value: &str) -> Attribute {
    let value = Some(value.as_bytes().to_vec());
    Attribute { name: name.into(), s: value, r#type: 3, ..Attribute::default() }
}
