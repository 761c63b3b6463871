//! The network: ConvNeXt encoder, two bidirectional LSTMs, two heads, channels last.

pub mod ops;
