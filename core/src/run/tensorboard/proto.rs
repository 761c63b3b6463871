//! The messages of an event file, limited to the fields used here.
//!
//! Names and numbers of the fields are from `event.proto` and `summary.proto` in
//! tensorboard/compat/proto. The members of a `oneof` are optional fields here.

use prost::Message;

/// A record.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Unix time, in seconds.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// The training step.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// Version of the format, in a file's first record.
    #[prost(string, optional, tag = "3")]
    pub file_version: Option<String>,
    /// Values of the step.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Summary>,
    /// A change of the training's state.
    #[prost(message, optional, tag = "7")]
    pub session_log: Option<SessionLog>,
}

/// Values of a step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A value with its tag.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// The tag, `train/loss`.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// The value.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
}

/// A change of the training's state.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// 1: training starts, and later steps in earlier files are void.
    #[prost(int32, tag = "1")]
    pub status: i32,
}
