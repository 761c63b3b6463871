//! The network: ConvNeXt encoder, two bidirectional LSTMs, two heads, channels last.
//!
//! [`classifier::Classifier`] is the notebook's `TimmModelType2`. Weights live in the layout the
//! products want; [`weights`] changes them to and from PyTorch's on the way in and out, [`onnx`]
//! writes the whole network as a graph. [`description`] says what layers and weights there are,
//! and `device_ops` what a device does with them.

pub mod buffers;
pub mod classifier;
pub mod convnext;
mod counts;
pub mod description;
pub(crate) mod device_ops;
pub mod encoder;
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
