//! Between texts and tokens: the vocabulary, the chat template, and prompts as tokens.

mod bounded;
mod published;
mod template;
mod thoughts;
mod vocabulary;

pub(crate) use published::Published;
pub(crate) use template::ChatTemplate;
pub use template::TemplateError;
pub use thoughts::{Split, Thinking, Thoughts};
pub use vocabulary::TokenizerError;
pub(crate) use vocabulary::Vocabulary;
