//! `/v1/completions`: plain text, with the prompt's own log-probabilities where they are asked for.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tiltmeter_core::id::Canonical;
use tiltmeter_local::EchoedToken;
use tiltmeter_models::{ChatResponse, FinishReason, TokenAlternatives, Usage};

use crate::Stage;
use crate::choices::{self, Choice, Progressed, finish, usage};
use crate::error::Refusal;
use crate::request::{self, Common};
use crate::tokens::text_tokens;

/// Tokens that are drawn where nothing is said.
const DEFAULT_TOKENS: u32 = 16;
/// The most prompts of one request.
const MOST_PROMPTS: usize = 128;

#[derive(Debug, Deserialize)]
struct Body {
    prompt: Prompts,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    echo: Option<bool>,
    #[serde(default)]
    logprobs: Option<u32>,
    /// vLLM's: likeliest tokens at each place of the prompt.
    #[serde(default)]
    prompt_logprobs: Option<u32>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "`prompt` is a text, a list of texts, a list of tokens or a list of lists of tokens; tokens are whole \
                 numbers from 0"
)]
enum Prompts {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    ListsOfTokens(Vec<Vec<u32>>),
}

impl Prompts {
    fn tokens(&self, stage: &Stage) -> Result<Vec<Arc<[u32]>>, Refusal> {
        let of_text = |text: &String| -> Result<Arc<[u32]>, Refusal> {
            stage.model.check_bytes(text.len())?;
            Ok(text_tokens(stage, text, true)?.into())
        };
        let all: Vec<Arc<[u32]>> = match self {
            Self::Text(text) => vec![of_text(text)?],
            Self::Tokens(tokens) => vec![tokens.as_slice().into()],
            Self::Texts(texts) => texts.iter().map(of_text).collect::<Result<_, _>>()?,
            Self::ListsOfTokens(lists) => lists.iter().map(|tokens| tokens.as_slice().into()).collect(),
        };
        if all.is_empty() || all.len() > MOST_PROMPTS || all.iter().any(|tokens| tokens.is_empty()) {
            let message =
                format!("`prompt` is from 1 to {MOST_PROMPTS} texts or lists of tokens, none of them empty");
            return Err(Refusal::field("prompt", message));
        }
        Ok(all)
    }
}

/// A prompt and what is known of it.
struct Asked {
    tokens: Arc<[u32]>,
    echoed: Option<Vec<EchoedToken>>,
}

pub(crate) async fn complete(
    State(stage): State<Arc<Stage>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body: Body = request::read(&bytes?)?;
    stage.check_model(&body.common.model)?;
    let count = body.common.count()?;
    let max_tokens = body.max_tokens.unwrap_or(DEFAULT_TOKENS);
    let echoes = body.echo == Some(true);
    if max_tokens == 0 && !echoes && body.prompt_logprobs.is_none() {
        return Err(Refusal::field("max_tokens", "`max_tokens` is 0, which gives nothing without `echo`"));
    }
    let sampling = body.common.sampling(Some(max_tokens), ("logprobs", body.logprobs))?;
    let most = [body.logprobs.filter(|_| echoes), body.prompt_logprobs].into_iter().flatten().max();
    // Refuses what is asked of the prompt as what is asked of the answer.
    body.common.sampling(None, ("prompt_logprobs", body.prompt_logprobs))?;

    let mut asked = Vec::new();
    for tokens in body.prompt.tokens(&stage)? {
        let echoed = match most {
            Some(most) => Some(stage.model.echo(Arc::clone(&tokens), most as usize).await?),
            None => None,
        };
        asked.push(Asked { tokens, echoed });
    }
    let choices: Vec<Choice> = asked
        .iter()
        .flat_map(|asked| (0..count).map(move |index| (asked, index)))
        .map(|(asked, index)| Choice {
            tokens: Arc::clone(&asked.tokens),
            sampling: sampling.clone(),
            seed: body.common.seed(seed(&asked.tokens), index),
        })
        .collect();
    let maker = Maker { stage: Arc::clone(&stage), asked, count: count as usize, echoes, body };
    let head = json!({
        "id": stage.reply_id("cmpl"),
        "object": "text_completion",
        "created": crate::now(),
        "model": stage.name,
    });
    if maker.body.common.stream == Some(true) && max_tokens > 0 {
        return Ok(streamed(maker, head, choices).await);
    }
    let answers = if max_tokens == 0 {
        let nothing = ChatResponse {
            finish: FinishReason::Length,
            log_probabilities: Some(Vec::new()),
            ..ChatResponse::default()
        };
        vec![nothing; choices.len()]
    } else {
        choices::whole(&stage.model, choices).await?
    };
    let mut reply = head;
    let mut total = maker.prompt_usage();
    let mut made = Vec::new();
    for (index, response) in answers.iter().enumerate() {
        total.output_tokens += response.usage.output_tokens;
        if index % maker.count == 0 {
            total.cached_input_tokens += response.usage.cached_input_tokens;
        }
        let alternatives = response.log_probabilities.as_deref().unwrap_or_default();
        let mut choice = maker.choice(index, &response.text, alternatives);
        choice["finish_reason"] = finish(response.finish).into();
        made.push(choice);
    }
    reply["choices"] = made.into();
    reply["usage"] = usage(&total);
    Ok(axum::Json(reply).into_response())
}

/// The seed of a prompt that comes without one.
fn seed(tokens: &[u32]) -> u64 {
    let start = Canonical::new("tiltmeter.serve.prompt/1").integer(tokens.len() as u64);
    tokens.iter().fold(start, |canonical, &token| canonical.integer(token.into())).finish().generator_seed()
}

async fn streamed(maker: Maker, head: Value, choices: Vec<Choice>) -> Response {
    let includes_usage = maker.body.common.includes_usage();
    let chunk = move |choice: Vec<Value>, usage: Value| {
        let mut chunk = head.clone();
        chunk["choices"] = choice.into();
        if includes_usage {
            chunk["usage"] = usage;
        }
        chunk
    };
    let pieces = choices::pieces(&maker.stage.model, choices.clone());
    let mut first = Vec::new();
    if maker.echoes || maker.body.prompt_logprobs.is_some() {
        first =
            (0..choices.len()).map(|index| chunk(vec![maker.choice(index, "", &[])], Value::Null)).collect();
    }
    let of_last = chunk.clone();
    let mut total = maker.prompt_usage();
    let mut characters: Vec<usize> = (0..choices.len()).map(|index| maker.prompt_characters(index)).collect();
    let wants = maker.body.logprobs.is_some();
    let events_of = move |index: usize, progress: Progressed| {
        let choice = |text: &str, logprobs: Value, reason: Option<&str>| json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason });
        let choice = match progress {
            Progressed::Piece(piece) => {
                let mut logprobs = Value::Null;
                if let (Some(one), Some(start), true) =
                    (&piece.log_probabilities, characters.get_mut(index), wants)
                {
                    let mut list = LogProbabilities::default();
                    list.drawn(std::slice::from_ref(one), *start);
                    logprobs = list.into();
                    *start += one.chosen.token.chars().count();
                }
                choice(&piece.text, logprobs, None)
            }
            Progressed::End(reason) => choice("", Value::Null, Some(finish(reason))),
        };
        vec![chunk(vec![choice], Value::Null)]
    };
    let last = move |drawn: Usage| {
        total.output_tokens = drawn.output_tokens;
        total.cached_input_tokens = drawn.cached_input_tokens;
        includes_usage.then(|| of_last(Vec::new(), usage(&total)))
    };
    choices::events(pieces, first, events_of, last).await
}

/// Makes choices of prompts and answers.
struct Maker {
    stage: Arc<Stage>,
    asked: Vec<Asked>,
    /// Answers to each prompt.
    count: usize,
    echoes: bool,
    body: Body,
}

impl Maker {
    fn of(&self, index: usize) -> Option<&Asked> {
        self.asked.get(index / self.count)
    }

    fn prompt_usage(&self) -> Usage {
        let input_tokens = self.asked.iter().map(|asked| asked.tokens.len() as u64).sum();
        Usage { input_tokens, ..Usage::default() }
    }

    /// The prompt's text: the token that texts start with is not part of it.
    fn prompt_text(&self, asked: &Asked) -> String {
        let model = &self.stage.model;
        let start = usize::from(asked.tokens.first().copied() == model.start_token());
        let bytes: Vec<u8> =
            asked.tokens.iter().skip(start).flat_map(|&token| model.token_bytes(token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Characters before the answer.
    fn prompt_characters(&self, index: usize) -> usize {
        match self.of(index) {
            Some(asked) if self.echoes => self.prompt_text(asked).chars().count(),
            _ => 0,
        }
    }

    fn choice(&self, index: usize, text: &str, drawn: &[TokenAlternatives]) -> Value {
        let Some(asked) = self.of(index) else { return Value::Null };
        let prompt = if self.echoes { self.prompt_text(asked) } else { String::new() };
        let logprobs = match self.body.logprobs {
            None => Value::Null,
            Some(most) => {
                let mut list = LogProbabilities::default();
                if self.echoes {
                    list.echoed(&self.stage, asked.echoed.as_deref().unwrap_or_default(), most as usize);
                }
                list.drawn(drawn, prompt.chars().count());
                list.into()
            }
        };
        let mut choice = json!({
            "index": index,
            "text": prompt + text,
            "logprobs": logprobs,
            "finish_reason": null,
        });
        if let (Some(most), Some(echoed)) = (self.body.prompt_logprobs, &asked.echoed) {
            choice["prompt_logprobs"] = prompt_log_probabilities(&self.stage, echoed, most as usize);
        }
        choice
    }
}

/// Log-probabilities in the form of completions.
#[derive(Debug, Default)]
struct LogProbabilities {
    tokens: Vec<String>,
    values: Vec<Option<f64>>,
    top: Vec<Value>,
    /// In characters.
    offsets: Vec<usize>,
}

impl LogProbabilities {
    fn echoed(&mut self, stage: &Stage, echoed: &[EchoedToken], most: usize) {
        let shown = |id: u32| String::from_utf8_lossy(stage.model.token_bytes(id)).into_owned();
        let mut bytes: Vec<u8> = Vec::new();
        for (place, token) in echoed.iter().enumerate() {
            self.tokens.push(shown(token.id));
            self.values.push(token.log_probability);
            // Only characters that are whole before the token count.
            let is_inside = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
            let own = stage.model.token_bytes(token.id);
            let starts = bytes.iter().filter(|byte| !is_inside(byte)).count();
            let is_cut = own.first().is_some_and(is_inside);
            self.offsets.push(if is_cut { starts.saturating_sub(1) } else { starts });
            if !(place == 0 && Some(token.id) == stage.model.start_token()) {
                bytes.extend(own);
            }
            self.top.push(if token.log_probability.is_none() {
                Value::Null
            } else {
                let likeliest = token.likeliest.iter().take(most);
                let map: Map<String, Value> =
                    likeliest.map(|&(id, value)| (shown(id), value.into())).collect();
                map.into()
            });
        }
    }

    /// The answer's tokens, behind so many characters.
    fn drawn(&mut self, drawn: &[TokenAlternatives], mut characters: usize) {
        for place in drawn {
            self.tokens.push(place.chosen.token.clone());
            self.values.push(Some(place.chosen.log_probability));
            let map: Map<String, Value> =
                place.top.iter().map(|token| (token.token.clone(), token.log_probability.into())).collect();
            self.top.push(map.into());
            self.offsets.push(characters);
            characters += place.chosen.token.chars().count();
        }
    }
}

impl From<LogProbabilities> for Value {
    fn from(list: LogProbabilities) -> Self {
        json!({
            "tokens": list.tokens,
            "token_logprobs": list.values,
            "top_logprobs": list.top,
            "text_offset": list.offsets,
        })
    }
}

/// The prompt's log-probabilities in vLLM's form.
fn prompt_log_probabilities(stage: &Stage, echoed: &[EchoedToken], most: usize) -> Value {
    let entry = |id: u32, value: f64, rank: Option<usize>| {
        let decoded = String::from_utf8_lossy(stage.model.token_bytes(id)).into_owned();
        json!({ "logprob": value, "rank": rank, "decoded_token": decoded })
    };
    let place = |token: &EchoedToken| {
        let Some(value) = token.log_probability else { return Value::Null };
        let mut map = Map::new();
        let rank = token.likeliest.iter().position(|(id, _)| *id == token.id).map(|place| place + 1);
        map.insert(token.id.to_string(), entry(token.id, value, rank));
        for (place, &(id, value)) in token.likeliest.iter().take(most).enumerate() {
            map.entry(id.to_string()).or_insert_with(|| entry(id, value, Some(place + 1)));
        }
        map.into()
    };
    echoed.iter().map(place).collect()
}
