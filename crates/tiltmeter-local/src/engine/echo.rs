//! Log-probabilities of all tokens of a given text, one after the other, with the likeliest ones at each place.
//!
//! Texts that are asked about one after the other often start alike, as those do that score answers to one context:
//! what the last text shares with the next is not computed again.

use super::job::{EchoWork, Reply};
use super::prefix::common;
use super::sampler::{log_probability, ordered};
use super::worker::{Worker, local};
use crate::decoder::{Hooks, Purpose, Run, SegmentId};
use tiltmeter_models::ModelError;

/// Rows whose logits are held at once.
const LOGIT_ROWS: usize = 64;

/// What is known of one place of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct EchoedToken {
    /// The token's number.
    pub id: u32,
    /// Natural log-probability after the tokens before it; nothing for the first of all.
    pub log_probability: Option<f64>,
    /// The likeliest tokens there with theirs, likeliest first: as many as were asked for.
    pub likeliest: Vec<(u32, f64)>,
}

/// The text that was asked about last.
#[derive(Debug)]
pub(super) struct Kept {
    segment: SegmentId,
    echoed: Vec<EchoedToken>,
    most: usize,
}

impl Worker {
    /// Bytes of the text that was asked about last.
    pub(super) fn echo_bytes(&self) -> u64 {
        self.echo.as_ref().map_or(0, |kept| self.bytes_of(kept.echoed.len()))
    }

    /// Forgets the text that was asked about last.
    pub(super) fn forget_echo(&mut self) {
        if let Some(kept) = self.echo.take() {
            self.cache.release(kept.segment);
        }
    }

    /// Serves one request.
    pub(super) fn serve_echo(&mut self, work: EchoWork) {
        let EchoWork { tokens, most, reply } = work;
        match self.echoed(&tokens, most, &reply) {
            Ok(Some(echoed)) => drop(reply.send(Ok(echoed))),
            // The caller has gone.
            Ok(None) => {}
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn echoed(
        &mut self,
        tokens: &[u32],
        most: usize,
        reply: &Reply<Vec<EchoedToken>>,
    ) -> Result<Option<Vec<EchoedToken>>, ModelError> {
        self.check_tokens(tokens)?;
        self.check_length(tokens.len())?;
        let (segment, mut echoed) = self.start_echo(tokens, most);
        if echoed.is_empty() {
            let first = tokens.first().copied().unwrap_or(0);
            echoed.push(EchoedToken { id: first, log_probability: None, likeliest: Vec::new() });
        }
        self.make_room_beside(segment, self.bytes_of(tokens.len()));
        // The last token is predicted, and predicts nothing that is asked for.
        let mut place = echoed.len() - 1;
        let end = tokens.len() - 1;
        while place < end {
            if reply.is_closed() {
                self.cache.release(segment);
                return Ok(None);
            }
            let length = self.limits.batch_tokens.min(end - place);
            let chunk = &tokens[place..place + length];
            let hidden = self.pass(&[Run { segment, tokens: chunk }], Purpose::Read, &mut Hooks::default());
            let rows: Vec<usize> = (0..length).collect();
            for rows in rows.chunks(LOGIT_ROWS) {
                let hidden: Vec<Vec<f32>> = rows.iter().map(|&row| hidden.row(row)).collect();
                for (row, logits) in rows.iter().zip(self.decoder.logits(&hidden)) {
                    match predicted(&logits, tokens[place + row + 1], most) {
                        Ok(token) => echoed.push(token),
                        Err(error) => {
                            self.cache.release(segment);
                            return Err(error);
                        }
                    }
                }
            }
            place += length;
        }
        // Not more than half of what may be kept for later, as for contexts.
        if self.bytes_of(tokens.len()) <= self.limits.prefix_cache_bytes / 2 {
            self.echo = Some(Kept { segment, echoed: echoed.clone(), most });
        } else {
            self.cache.release(segment);
        }
        Ok(Some(echoed))
    }

    /// The segment to append to, and what is known of the text's beginning: the segment holds all tokens of it but
    /// the last.
    fn start_echo(&mut self, tokens: &[u32], most: usize) -> (SegmentId, Vec<EchoedToken>) {
        if let Some(mut kept) = self.echo.take_if(|kept| kept.most == most) {
            let ids: Vec<u32> = kept.echoed.iter().map(|token| token.id).collect();
            let shared = common(&ids, tokens);
            if shared > 0 {
                kept.echoed.truncate(shared);
                self.cache.truncate(kept.segment, shared - 1);
                return (kept.segment, kept.echoed);
            }
            self.cache.release(kept.segment);
        }
        self.forget_echo();
        (self.cache.root(), Vec::new())
    }

    /// Whether all tokens are the model's, and there is one.
    pub(super) fn check_tokens(&self, tokens: &[u32]) -> Result<(), ModelError> {
        let wrong = |message: String| Err(ModelError::new(tiltmeter_models::ErrorKind::BadRequest, message));
        if tokens.is_empty() {
            return wrong("the prompt is empty".to_owned());
        }
        let count = self.vocabulary.len();
        match tokens.iter().find(|&&token| token as usize >= count) {
            Some(token) => wrong(format!("there is no token {token}: the model has {count}")),
            None => Ok(()),
        }
    }
}

/// A token's log-probability and the likeliest tokens in its place.
fn predicted(logits: &[f32], id: u32, most: usize) -> Result<EchoedToken, ModelError> {
    let log_probability = Some(self::log_probability(logits, id)?);
    let likeliest = ordered(logits, most)
        .into_iter()
        .map(|token| Ok((token, self::log_probability(logits, token)?)))
        .collect::<Result<_, ModelError>>()?;
    if logits.is_empty() {
        return Err(local("the model gave no logits"));
    }
    Ok(EchoedToken { id, log_probability, likeliest })
}
