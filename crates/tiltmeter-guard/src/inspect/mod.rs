//! The inspectors: what looks at a context and says what is to be thought of it. No HTTP server here.
//!
//! A request is split into examples ([`split()`]), and every example is addressed by its content, so that a history that
//! is sent again costs nothing and one bad example never condemns a session.

mod example;
mod few_shot;
mod split;

pub use example::{Content, Example, ExampleKind};
pub use split::{Split, split};
