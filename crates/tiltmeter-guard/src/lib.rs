//! A gateway in front of models, OpenAI-compatible and Anthropic's: it inspects the contexts of requests, acts on what it
//! finds, and keeps an audit log that cannot be changed unseen.
//!
//! Bodies are forwarded byte for byte. What an action changes in a request is cut out of or put into its bytes; nothing
//! is parsed and written again.

pub mod conversation;
pub mod detection;
pub mod inspect;
pub mod inspection;
mod literal;
