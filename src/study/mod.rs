//! (being written)
/// Placeholder.
#[derive(Debug, thiserror::Error)]
pub enum Error {}
