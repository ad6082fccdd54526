//! Between texts and tokens: the vocabulary, the chat template, and prompts as tokens.

mod published;
mod template;
mod vocabulary;

pub(crate) use published::Published;
pub(crate) use template::ChatTemplate;
pub use template::TemplateError;
pub use vocabulary::TokenizerError;
pub(crate) use vocabulary::Vocabulary;
