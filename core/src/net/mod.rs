//! The network: ConvNeXt encoder, two bidirectional LSTMs, two heads, channels last.
//!
//! [`classifier::Classifier`] is the notebook's `TimmModelType2`. Weights are stored in the layout that
//! the matrix products need; [`weights`] converts them from and to PyTorch's when they are loaded and
//! saved. [`onnx`] writes the whole network as a graph. [`description`] lists the layers and weights,
//! and `device_ops` holds the operations of each device.

pub mod buffers;
pub mod classifier;
pub mod convnext;
mod counts;
pub mod description;
pub(crate) mod device_ops;
pub mod encoder;
pub mod graph;
pub mod head;
mod layout;
pub mod lstm;
pub mod onnx;
pub mod ops;
pub mod parameters;
pub mod recurrent;
pub mod spec;
pub mod summary;
pub(crate) mod views;
pub mod weights;

pub use classifier::Classifier;
pub use spec::{Spec, Stem};
