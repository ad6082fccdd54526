//! Servers that echo the prompt with its log-probabilities.

use reqwest::Url;
use serde::Deserialize;
use tiltmeter_core::prompt::Prompt;

use super::super::body::ChatCompletions;
use super::ask;
use crate::body::BodyWriter;
use crate::error::{ErrorKind, ModelError};
use crate::protocol::Client;
use crate::request::{ScoreRequest, TextScore};

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    logprobs: Option<Echoed>,
}

/// The tokens of prompt, text and what was generated after them.
#[derive(Clone, Debug, Deserialize)]
struct Echoed {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    /// Where each token starts, in characters.
    #[serde(default)]
    text_offset: Vec<usize>,
}

pub(super) async fn score(
    url: &Url,
    client: &Client<ChatCompletions>,
    request: &ScoreRequest,
) -> Result<TextScore, ModelError> {
    let transport = &client.transport;
    let (prompt, text) = plain_text(&request.prompt, &request.continuation)?;
    let shown = client.contexts.shown(&request.prompt);
    let mut writer = BodyWriter::default();
    writer.raw("{\"model\":");
    writer.json(&transport.endpoint.model);
    writer.raw(",\"prompt\":\"");
    if let Some(system) = &shown.system {
        shown.write(&system.parts, &mut writer);
        writer.text(BETWEEN);
    }
    shown.write(&shown.question.parts, &mut writer);
    writer.text(&text);
    // Several servers refuse to generate nothing; the one token is not looked at.
    writer.raw("\",\"max_tokens\":1,\"temperature\":0,\"echo\":true,\"logprobs\":1}");
    let what = "a completion that echoes its prompt with log-probabilities";
    let reply: Completion = ask(transport, url, writer.finish()?, what).await?;
    let echoed = reply.choices.into_iter().next().and_then(|choice| choice.logprobs);
    let echoed = echoed.ok_or_else(|| {
        ModelError::unsupported("the server does not echo a prompt with log-probabilities: it cannot score")
    })?;
    echoed.score(&prompt, &text)
}

/// Between the system message and the question.
const BETWEEN: &str = "\n\n";

/// The prompt as plain text, and the text with what separates it from the prompt.
fn plain_text(prompt: &Prompt, text: &str) -> Result<(String, String), ModelError> {
    if !prompt.context.turns.is_empty() {
        let message = "this model is scored on plain text, which has no place for the turns of a chat: use the \
                       placement `first-user` or `system`";
        return Err(ModelError::new(ErrorKind::BadRequest, message));
    }
    let messages: Vec<String> = prompt.messages().map(|message| message.text()).collect();
    let shown = messages.join(BETWEEN);
    let is_apart = shown.ends_with(char::is_whitespace) || text.starts_with(char::is_whitespace);
    let text = if is_apart { text.to_owned() } else { format!(" {text}") };
    Ok((shown, text))
}

impl Echoed {
    fn score(&self, prompt: &str, text: &str) -> Result<TextScore, ModelError> {
        let wrong = |message: &str| Err(ModelError::new(ErrorKind::BadRequest, message));
        let Some((start, end)) = self.by_spelling(prompt, text).or_else(|| self.by_offsets(prompt, text))
        else {
            return wrong(
                "no token starts where the prompt ends and the text begins, so that the text cannot be scored \
                 by itself: change how the prompt ends, or how the text begins",
            );
        };
        let values = self.token_logprobs.get(start..end).unwrap_or_default();
        let found: Option<Vec<f32>> = values.iter().map(|value| value.map(narrow)).collect();
        match found.filter(|found| !found.is_empty() && start > 0) {
            Some(found) => {
                Ok(TextScore { token_log_probabilities: found, prompt_tokens: start as u64, shift: None })
            }
            None => wrong("the server gave no log-probability for a token of the text"),
        }
    }

    /// The range of the text's tokens, found by putting the tokens together. A token that starts the sequence, such
    /// as `<s>`, may stand before the prompt.
    fn by_spelling(&self, prompt: &str, text: &str) -> Option<(usize, usize)> {
        let spelled = self.tokens.concat();
        let first = self.tokens.first().map_or(0, String::len);
        let is_prompt = |start: &usize| {
            let rest = spelled.get(*start..).and_then(|rest| rest.strip_prefix(prompt));
            rest.is_some_and(|rest| rest.starts_with(text))
        };
        let before = [0, first].into_iter().find(is_prompt)?;
        let lengths = self.tokens.iter().map(String::len);
        range(starts(lengths), before + prompt.len(), before + prompt.len() + text.len())
    }

    /// The same, by what the server says of where tokens start: some tokens are parts of characters, and spell
    /// nothing by themselves. The others must stand where the server says.
    fn by_offsets(&self, prompt: &str, text: &str) -> Option<(usize, usize)> {
        if self.text_offset.len() != self.tokens.len() {
            return None;
        }
        let whole = format!("{prompt}{text}");
        let bytes: Vec<usize> = whole.char_indices().map(|(byte, _)| byte).chain([whole.len()]).collect();
        let start = prompt.chars().count();
        // Only where a token was generated is it said where the text ends.
        let end = start + text.chars().count();
        let stands = |(token, &offset): (&String, &usize)| {
            let is_part = token.starts_with("bytes:") || token.contains('\u{fffd}');
            let rest = || bytes.get(offset).and_then(|&byte| whole.get(byte..));
            offset >= end || is_part || rest().is_some_and(|rest| rest.starts_with(token.as_str()))
        };
        let all_stand = self.tokens.iter().zip(&self.text_offset).all(stands);
        all_stand.then(|| range(self.text_offset.iter().copied(), start, end)).flatten()
    }
}

/// Where each token starts, and at last where the last one ends.
fn starts(lengths: impl Iterator<Item = usize>) -> impl Iterator<Item = usize> {
    let mut next = 0;
    let ends = lengths.map(move |length| {
        next += length;
        next
    });
    std::iter::once(0).chain(ends)
}

/// The first token that starts at `start`, and the first that starts at `end`, which is the next after the range.
fn range(starts: impl Iterator<Item = usize>, start: usize, end: usize) -> Option<(usize, usize)> {
    let starts: Vec<usize> = starts.collect();
    let first = starts.iter().position(|&it| it == start)?;
    let after = starts.iter().position(|&it| it == end)?;
    Some((first, after))
}

#[expect(clippy::cast_possible_truncation, reason = "models compute in no more than 32 bits")]
fn narrow(value: f64) -> f32 {
    value.min(0.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echoed(tokens: &[&str], offsets: &[usize]) -> Echoed {
        let values = (0..tokens.len()).map(|index| (index > 0).then_some(-0.5 * index as f64));
        Echoed {
            tokens: tokens.iter().map(|&token| token.to_owned()).collect(),
            token_logprobs: values.collect(),
            text_offset: offsets.to_vec(),
        }
    }

    #[test]
    fn the_texts_tokens_are_found_exactly_or_not_at_all() {
        let found = |first: usize, last: usize| Some((first, last));
        let cases = [
            // Generated tokens follow, or not.
            (echoed(&["How", "?", " Put", " it", "."], &[]), "How?", " Put it", found(2, 3)),
            (echoed(&["How", "?", " Put", " it"], &[]), "How?", " Put it", found(2, 3)),
            // A token that starts the sequence.
            (echoed(&["<s>", "How", "?", " Put", " it", "!"], &[]), "How?", " Put it", found(3, 4)),
            // A token that spans the end of the prompt, or of the text.
            (echoed(&["How", "? Put", " it", "."], &[]), "How?", " Put it", None),
            (echoed(&["How", "?", " Put", " it."], &[]), "How?", " Put it", None),
            // Parts of characters, found by offsets.
            (
                echoed(&["How", "?", "bytes: \\xe2", "bytes:\\x98\\x95", "."], &[0, 3, 4, 5, 6]),
                "How?",
                " ☕",
                found(2, 3),
            ),
            (echoed(&["Who", "?", " �", "�", "."], &[0, 3, 4, 5, 6]), "How?", " ☕", None),
            (echoed(&["How", "?", " �", "�", "."], &[]), "How?", " ☕", None),
            // The server shows another prompt.
            (echoed(&["Who", "?", " Put", " it", "."], &[]), "How?", " Put it", None),
            // Nothing before the text.
            (echoed(&[" Put", " it", "."], &[]), "", " Put it", None),
        ];
        for (echoed, prompt, text, expected) in cases {
            let score = echoed.score(prompt, text);
            match expected {
                None => assert_eq!(score.unwrap_err().kind, ErrorKind::BadRequest, "{echoed:?}"),
                Some((first, last)) => {
                    let values: Vec<f32> = (first..=last).map(|index| -0.5 * index as f32).collect();
                    let expected = TextScore {
                        token_log_probabilities: values,
                        prompt_tokens: first as u64,
                        shift: None,
                    };
                    assert_eq!(score.unwrap(), expected, "{echoed:?}");
                }
            }
        }
    }
}
