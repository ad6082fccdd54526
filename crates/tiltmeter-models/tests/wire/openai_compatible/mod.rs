//! OpenAI's chat completions.

mod errors;
mod replies;
mod requests;
