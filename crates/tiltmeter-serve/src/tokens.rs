//! vLLM's `/tokenize` and `/detokenize`, by which given text is scored exactly.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::Stage;
use crate::error::Refusal;
use crate::request::{self, Message, TemplateSettings};

#[derive(Debug, Deserialize)]
struct Text {
    model: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    /// Whether the token that texts start with is put before the text; it is where nothing is said.
    add_special_tokens: Option<bool>,
    add_generation_prompt: Option<bool>,
    #[serde(default)]
    chat_template_kwargs: TemplateSettings,
}

pub(crate) async fn tokenize(
    State(stage): State<Arc<Stage>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body: Text = request::read(&bytes?)?;
    if let Some(model) = &body.model {
        stage.check_model(model)?;
    }
    let tokens = match (&body.prompt, &body.messages) {
        (Some(text), None) => text_tokens(&stage, text, body.add_special_tokens != Some(false))?,
        (None, Some(messages)) => {
            if body.add_generation_prompt == Some(false) {
                return Err(Refusal::unsupported("add_generation_prompt"));
            }
            let prompt = request::prompt(messages)?;
            stage.model.prompt_tokens(&prompt, body.chat_template_kwargs.thinking())?
        }
        _ => return Err(Refusal::bad("give either `prompt` or `messages`")),
    };
    let most = stage.model.description().context_length;
    let reply = json!({ "count": tokens.len(), "max_model_len": most, "tokens": tokens });
    Ok(axum::Json(reply).into_response())
}

/// The tokens of a text, behind the token that texts start with where that is wanted and there is one.
pub(crate) fn text_tokens(stage: &Stage, text: &str, adds_start: bool) -> Result<Vec<u32>, Refusal> {
    let mut tokens: Vec<u32> = stage.model.start_token().filter(|_| adds_start).into_iter().collect();
    tokens.extend(stage.model.text_tokens(text)?);
    Ok(tokens)
}

#[derive(Debug, Deserialize)]
struct Tokens {
    model: Option<String>,
    tokens: Vec<u32>,
}

pub(crate) async fn detokenize(
    State(stage): State<Arc<Stage>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body: Tokens = request::read(&bytes?)?;
    if let Some(model) = &body.model {
        stage.check_model(model)?;
    }
    let bytes: Vec<u8> =
        body.tokens.iter().flat_map(|&token| stage.model.token_bytes(token)).copied().collect();
    Ok(axum::Json(json!({ "prompt": String::from_utf8_lossy(&bytes) })).into_response())
}
