//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tiltmeter_local::{Thinking, Thoughts};
use tiltmeter_models::{TokenAlternatives, TokenLogProbability};

use crate::Stage;
use crate::choices::{self, Choice, Progressed, Total, finish, usage};
use crate::error::Refusal;
use crate::request::{self, Common, Message, TemplateSettings};

#[derive(Debug, Deserialize)]
struct Body {
    messages: Vec<Message>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    logprobs: Option<bool>,
    #[serde(default)]
    top_logprobs: Option<u32>,
    #[serde(default)]
    chat_template_kwargs: Option<TemplateSettings>,
    #[serde(default)]
    reasoning_effort: Option<String>,
    #[serde(flatten)]
    common: Common,
}

impl Body {
    fn thinking(&self) -> Result<Thinking, Refusal> {
        let said = self.chat_template_kwargs.as_ref().map(TemplateSettings::thinking).unwrap_or_default();
        match self.reasoning_effort.as_deref() {
            None => Ok(said),
            // Models on this machine think or do not.
            Some("none") if said != Thinking::On => Ok(Thinking::Off),
            Some(_) => Err(Refusal::unsupported("reasoning_effort")),
        }
    }

    fn alternatives(&self) -> Result<Option<u32>, Refusal> {
        match (self.logprobs == Some(true), self.top_logprobs) {
            (true, count) => Ok(Some(count.unwrap_or(0))),
            (false, None | Some(0)) => Ok(None),
            (false, Some(_)) => {
                Err(Refusal::field("top_logprobs", "`top_logprobs` needs `logprobs` to be true"))
            }
        }
    }
}

pub(crate) async fn complete(
    State(stage): State<Arc<Stage>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body: Body = request::read(&bytes?)?;
    stage.check_model(&body.common.model)?;
    let count = body.common.count()?;
    let max_tokens = body.max_completion_tokens.or(body.max_tokens);
    let sampling = body.common.sampling(max_tokens, ("top_logprobs", body.alternatives()?))?;
    let prompt = request::prompt(&body.messages)?;
    // Templates may strip what is said.
    stage.model.check_bytes(prompt.messages().map(|message| message.text().trim().len()).sum())?;
    let tokens: Arc<[u32]> = stage.model.prompt_tokens(&prompt, body.thinking()?)?.into();
    let seed = prompt.id().generator_seed();
    let choices = (0..count)
        .map(|index| Choice {
            tokens: Arc::clone(&tokens),
            sampling: sampling.clone(),
            seed: body.common.seed(seed, index),
        })
        .collect();
    let id = stage.reply_id("chatcmpl");
    if body.common.stream == Some(true) {
        return Ok(streamed(&stage, &id, choices, body.common.includes_usage()).await);
    }
    let mut total = Total::default();
    let answers = choices::whole(&stage.model, choices).await?;
    let answers: Vec<Value> = answers
        .into_iter()
        .enumerate()
        .map(|(index, response)| {
            total.add(&response.usage);
            let (reasoning, text) = Thoughts::split(&response.text);
            let mut message = json!({ "role": "assistant", "content": text, "refusal": null });
            if let Some(reasoning) = reasoning {
                message["reasoning_content"] = reasoning.into();
            }
            json!({
                "index": index,
                "message": message,
                "logprobs": response.log_probabilities.as_deref().map(log_probabilities),
                "finish_reason": finish(response.finish),
            })
        })
        .collect();
    Ok(axum::Json(json!({
        "id": id,
        "object": "chat.completion",
        "created": crate::now(),
        "model": stage.name,
        "choices": answers,
        "usage": usage(&total.usage),
    }))
    .into_response())
}

async fn streamed(stage: &Stage, id: &str, choices: Vec<Choice>, includes_usage: bool) -> Response {
    let head = json!({
        "id": id,
        "object": "chat.completion.chunk",
        "created": crate::now(),
        "model": stage.name,
    });
    let chunk = move |choices: Value, usage: Value| {
        let mut chunk = head.clone();
        chunk["choices"] = choices;
        if includes_usage {
            chunk["usage"] = usage;
        }
        chunk
    };
    let choice = |index: usize, delta: &Value, logprobs: &Value, reason: Option<&str>| json!([{ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason }]);
    let count = choices.len();
    let opening = json!({ "role": "assistant", "content": "", "refusal": null });
    let first =
        (0..count).map(|index| chunk(choice(index, &opening, &Value::Null, None), Value::Null)).collect();
    let mut thoughts: Vec<Thoughts> = (0..count).map(|_| Thoughts::default()).collect();
    let delta = |reasoning: String, text: String| {
        let mut delta = json!({});
        if !reasoning.is_empty() {
            delta["reasoning_content"] = reasoning.into();
        }
        if !text.is_empty() {
            delta["content"] = text.into();
        }
        delta
    };
    let of_last = chunk.clone();
    let events_of = move |index: usize, progress: Progressed| {
        let Some(thoughts) = thoughts.get_mut(index) else { return Vec::new() };
        match progress {
            Progressed::Piece(piece) => {
                let split = thoughts.push(&piece.text);
                let logprobs = piece.log_probabilities.map_or(Value::Null, |one| log_probabilities(&[one]));
                if split.text.is_empty() && split.reasoning.is_empty() && logprobs.is_null() {
                    return Vec::new();
                }
                vec![chunk(choice(index, &delta(split.reasoning, split.text), &logprobs, None), Value::Null)]
            }
            Progressed::End(reason) => {
                let rest = thoughts.finish();
                let reason = Some(finish(reason));
                let delta = delta(rest.reasoning, rest.text);
                vec![chunk(choice(index, &delta, &Value::Null, reason), Value::Null)]
            }
        }
    };
    let last = move |total: tiltmeter_models::Usage| {
        includes_usage.then(|| of_last(Value::Array(Vec::new()), usage(&total)))
    };
    choices::events(choices::pieces(&stage.model, choices), first, events_of, last).await
}

/// Log-probabilities in OpenAI's form for chats.
fn log_probabilities(all: &[TokenAlternatives]) -> Value {
    let one = |token: &TokenLogProbability| {
        // A part of a character cannot be told by its text.
        let is_whole = !token.token.contains('\u{fffd}');
        json!({
            "token": token.token,
            "logprob": token.log_probability,
            "bytes": is_whole.then_some(token.token.as_bytes()),
        })
    };
    let content: Vec<Value> = all
        .iter()
        .map(|place| {
            let mut chosen = one(&place.chosen);
            chosen["top_logprobs"] = place.top.iter().map(one).collect();
            chosen
        })
        .collect();
    json!({ "content": content, "refusal": null })
}
