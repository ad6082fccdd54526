//! vLLM: tokens of prompt and text in one row, and the log-probabilities of that row.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::Url;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tiltmeter_core::id::ContentId;
use tokio::sync::OnceCell;

use super::super::body::{ChatCompletions, write_messages};
use super::{ask, fetch, sibling};
use crate::body::BodyWriter;
use crate::error::{ErrorKind, ModelError};
use crate::protocol::Client;
use crate::recent::Recent;
use crate::request::{ScoreRequest, TextScore};
use crate::tools::Style;
use crate::transport::Transport;

/// Prompts whose tokens are kept. All texts about a prompt are asked for one after the other.
const KEPT_PROMPTS: usize = 8;
/// Texts whose tokens are kept: an experiment's pairs of answers come back with every context.
const KEPT_TEXTS: usize = 512;

/// Fields of the endpoint that bear on what the prompt is.
const TEMPLATE_FIELDS: [&str; 2] = ["chat_template", "chat_template_kwargs"];

/// A value that the first who needs it fetches while others wait for it.
type Once<T> = Arc<OnceCell<T>>;

/// A prompt's tokens, written once for all requests.
#[derive(Clone, Debug)]
struct PromptTokens {
    /// Each number with a comma behind it.
    json: Bytes,
    count: usize,
}

/// Tokens of prompts and texts.
pub(super) struct Tokens {
    tokenize: Url,
    detokenize: Url,
    prompts: Recent<ContentId, Once<PromptTokens>>,
    texts: Recent<Arc<str>, Once<Arc<[u32]>>>,
}

#[derive(Deserialize)]
struct Tokenized {
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct Detokenized {
    prompt: String,
}

impl Tokens {
    pub(super) fn new(transport: &Transport) -> Self {
        // They stand beside `/v1`, not below it.
        let beside = |path: &str| {
            let mut url = sibling(transport, "");
            let base = url.path().trim_end_matches('/');
            let base = base.strip_suffix("/v1").unwrap_or(base).to_owned();
            url.set_path(&format!("{base}{path}"));
            url
        };
        Self {
            tokenize: beside("/tokenize"),
            detokenize: beside("/detokenize"),
            prompts: Recent::new(KEPT_PROMPTS),
            texts: Recent::new(KEPT_TEXTS),
        }
    }

    pub(super) async fn score(
        &self,
        completions: &Url,
        client: &Client<ChatCompletions>,
        request: &ScoreRequest,
    ) -> Result<TextScore, ModelError> {
        let transport = &client.transport;
        let once = self.prompts.get(request.prompt.id(), Once::default);
        let prompt = once.get_or_try_init(|| self.tokens_of_prompt(client, request)).await?;
        let once = self.texts.get(Arc::clone(&request.continuation), Once::default);
        let text = once.get_or_try_init(|| self.tokens_of_text(transport, &request.continuation)).await?;

        let mut writer = BodyWriter::default();
        writer.raw("{\"model\":");
        writer.json(&transport.endpoint.model);
        writer.raw(",\"prompt\":[");
        writer.shared(&prompt.json);
        for (index, token) in text.iter().enumerate() {
            writer.raw(if index == 0 { "" } else { "," });
            writer.json(token);
        }
        // One token is the least that may be generated; it is not looked at. The likeliest token comes along at
        // each position because some versions take 0 for "none".
        writer.raw("],\"max_tokens\":1,\"temperature\":0,\"prompt_logprobs\":1}");
        let what = "a completion with `prompt_logprobs`";
        let reply = fetch(transport, completions, writer.finish()?, what).await?;
        let not_it = || transport.malformed(&format!("the reply is not {what}"), &reply);
        let mut reader = serde_json::Deserializer::from_slice(&reply);
        let asked = AskedTokens { before: prompt.count, text };
        let found = asked.deserialize(&mut reader).map_err(|_| not_it())?.ok_or_else(not_it)?;
        Ok(TextScore { token_log_probabilities: found, prompt_tokens: prompt.count as u64, shift: None })
    }

    /// The tokens of a prompt up to where the model's answer starts.
    async fn tokens_of_prompt(
        &self,
        client: &Client<ChatCompletions>,
        request: &ScoreRequest,
    ) -> Result<PromptTokens, ModelError> {
        let transport = &client.transport;
        let mut fields = transport.endpoint.extra_body.clone();
        fields.retain(|name, _| TEMPLATE_FIELDS.contains(&name.as_str()));
        let prompt = client.contexts.shown(&request.prompt);
        // As the chat's own requests declare them, so that the template writes the same.
        fields.extend(prompt.tool_fields(Style::ChatCompletions));
        let mut writer = BodyWriter::default();
        writer.raw("{\"model\":");
        writer.json(&transport.endpoint.model);
        writer.raw(",\"messages\":[");
        write_messages(&prompt, &mut writer);
        writer.raw("],\"add_generation_prompt\":true");
        writer.fields(&fields);
        writer.raw("}");
        let reply: Tokenized = ask(transport, &self.tokenize, writer.finish()?, "tokens").await?;
        if reply.tokens.is_empty() {
            // The first token of all has no log-probability.
            return Err(transport.malformed("the server gave no tokens for a prompt", b""));
        }
        let mut json = BodyWriter::default();
        for token in &reply.tokens {
            json.json(token);
            json.raw(",");
        }
        Ok(PromptTokens { json: json.into_bytes(), count: reply.tokens.len() })
    }

    /// The tokens of a text as the model could have written them, checked by turning them back.
    async fn tokens_of_text(&self, transport: &Transport, text: &str) -> Result<Arc<[u32]>, ModelError> {
        let model = &transport.endpoint.model;
        let write = |fields: Value| {
            let mut writer = BodyWriter::default();
            writer.json(&fields);
            writer.finish()
        };
        let body = write(serde_json::json!({ "model": model, "prompt": text, "add_special_tokens": false }))?;
        let tokens = ask::<Tokenized>(transport, &self.tokenize, body, "tokens").await?.tokens;
        let body = write(serde_json::json!({ "model": model, "tokens": tokens }))?;
        let back = ask::<Detokenized>(transport, &self.detokenize, body, "text of tokens").await?.prompt;
        if tokens.is_empty() || back != text {
            let message = "the model's tokens do not spell the text that is to be scored, so that its \
                           log-probability would be another text's: take out characters that the tokenizer \
                           changes, such as white space at the ends";
            return Err(ModelError::new(ErrorKind::BadRequest, message));
        }
        Ok(tokens.into())
    }
}

/// Reads the log-probabilities of a text's tokens out of a completion, without building the rest of it: for a
/// long prompt, that is tens of megabytes. `None` where the row is not the one that was asked about.
#[derive(Clone, Copy)]
struct AskedTokens<'a> {
    /// Tokens before the text.
    before: usize,
    text: &'a [u32],
}

/// The log-probabilities, once they are found.
type Found = Option<Vec<f32>>;

impl<'de> DeserializeSeed<'de> for AskedTokens<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer
            .deserialize_map(Field { name: "choices", inside: First(Field { name: ROW, inside: Row(self) }) })
    }
}

/// The field of a choice that holds the row.
const ROW: &str = "prompt_logprobs";

/// One field of an object; the others are passed over.
#[derive(Clone, Copy)]
struct Field<S> {
    name: &'static str,
    inside: S,
}

impl<'de, S: DeserializeSeed<'de, Value = Found> + Copy> DeserializeSeed<'de> for Field<S> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: DeserializeSeed<'de, Value = Found> + Copy> Visitor<'de> for Field<S> {
    type Value = Found;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object with `{}`", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == self.name {
                found = map.next_value_seed(self.inside)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// The first element of a list; the others are passed over.
#[derive(Clone, Copy)]
struct First<S>(S);

impl<'de, S: DeserializeSeed<'de, Value = Found> + Copy> DeserializeSeed<'de> for First<S> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de, Value = Found> + Copy> Visitor<'de> for First<S> {
    type Value = Found;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let found = list.next_element_seed(self.0)?.flatten();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// The row: nothing for the first token, and for each other one an object with the token's number.
#[derive(Clone, Copy)]
struct Row<'a>(AskedTokens<'a>);

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = Found;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of log-probabilities")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let AskedTokens { before, text } = self.0;
        for _ in 0..before {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let mut found = Vec::with_capacity(text.len());
        for token in text {
            let Some(position) = list.next_element::<Value>()? else { return Ok(None) };
            let value = position.get(token.to_string()).and_then(|entry| entry.get("logprob")?.as_f64());
            let Some(value) = value else {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            };
            #[expect(clippy::cast_possible_truncation, reason = "models compute in no more than 32 bits")]
            found.push(value.min(0.0) as f32);
        }
        let is_longer = list.next_element::<IgnoredAny>()?.is_some();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok((!is_longer).then_some(found))
    }
}
