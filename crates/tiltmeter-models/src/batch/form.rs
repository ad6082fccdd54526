//! How requests are put into a batch, which providers differ in by a few words.

use std::collections::HashSet;
use std::sync::Arc;

use super::{BatchItem, BatchLimits};
use crate::body::BodyWriter;
use crate::endpoint::Endpoint;
use crate::error::{ErrorKind, ModelError};
use crate::protocol::{Client, Protocol};
use crate::terms::Terms;
use crate::transport::Transport;

/// The most characters of keys and tags: Anthropic's limit for keys, which is the least.
const MOST_CHARACTERS: usize = 64;

/// What stands around a request's key and body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) before: &'static str,
    pub(super) between: &'static str,
    pub(super) after: &'static str,
    pub(super) separator: &'static str,
}

impl Form {
    fn len(&self, key: &str) -> u64 {
        // With the key's quotes.
        let own = self.before.len() + self.between.len() + self.after.len() + self.separator.len();
        (own + key.len() + 2) as u64
    }
}

/// A client whose requests are put into batches.
pub(crate) struct Batched<P> {
    client: Arc<Client<P>>,
    /// The same, asked without streaming.
    endpoint: Endpoint,
}

impl<P: Protocol> Batched<P> {
    pub(super) fn new(client: &Arc<Client<P>>) -> Self {
        let endpoint = Endpoint { stream: false, ..client.endpoint().clone() };
        Self { client: Arc::clone(client), endpoint }
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.client.transport
    }

    /// Bytes that an item takes.
    pub(super) fn size(&self, form: Form, item: &BatchItem) -> Result<u64, ModelError> {
        let written = self.client.written(&self.endpoint, &item.request, self.client.terms())?;
        Ok(written.body.len() + form.len(&item.key))
    }

    /// Bytes that all items take.
    pub(super) fn total(&self, form: Form, items: &[BatchItem]) -> Result<u64, ModelError> {
        items.iter().map(|item| self.size(form, item)).sum()
    }

    /// The settings that these items are sent without, by what is known now.
    pub(super) fn dropped(&self, items: &[BatchItem]) -> Result<Vec<&'static str>, ModelError> {
        let first =
            items.first().map(|item| self.client.written(&self.endpoint, &item.request, self.client.terms()));
        Ok(first.transpose()?.map(|written| written.dropped).unwrap_or_default())
    }

    /// Writes all items, and gives the settings that they are sent without.
    pub(super) fn write(
        &self,
        writer: &mut BodyWriter,
        form: Form,
        limits: BatchLimits,
        items: &[BatchItem],
    ) -> Result<Vec<&'static str>, ModelError> {
        check_items(limits, items)?;
        let terms = self.client.terms();
        let mut all_dropped = None;
        let mut bytes = 0;
        for (index, item) in items.iter().enumerate() {
            let (body, dropped) = self.item(item, terms)?;
            bytes += body.len() + form.len(&item.key);
            if bytes > limits.most_bytes {
                return Err(wrong(format!(
                    "a batch of this provider takes at most {} MB: submit fewer requests at a time",
                    limits.most_bytes / 1_000_000
                )));
            }
            if *all_dropped.get_or_insert_with(|| dropped.clone()) != dropped {
                return Err(wrong(format!(
                    "request `{}` asks for settings that the model does not take, and others of its batch do not: \
                     submit them apart",
                    item.key
                )));
            }
            writer.raw(if index == 0 { "" } else { form.separator });
            writer.raw(form.before);
            writer.json(&item.key);
            writer.raw(form.between);
            writer.body(&body);
            writer.raw(form.after);
        }
        Ok(all_dropped.unwrap_or_default())
    }

    fn item(
        &self,
        item: &BatchItem,
        terms: Terms,
    ) -> Result<(crate::body::Body, Vec<&'static str>), ModelError> {
        let written = self.client.written(&self.endpoint, &item.request, terms).map_err(|error| {
            ModelError { message: format!("request `{}`: {}", item.key, error.message), ..error }
        })?;
        Ok((written.body, written.dropped))
    }
}

fn wrong(message: String) -> ModelError {
    ModelError::new(ErrorKind::BadRequest, message)
}

fn check_items(limits: BatchLimits, items: &[BatchItem]) -> Result<(), ModelError> {
    if items.is_empty() {
        return Err(wrong("a batch needs at least one request".to_owned()));
    }
    if items.len() > limits.most_requests {
        return Err(wrong(format!(
            "a batch of this provider takes at most {} requests, not {}: submit fewer at a time",
            limits.most_requests,
            items.len()
        )));
    }
    let mut keys = HashSet::new();
    for BatchItem { key, .. } in items {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if key.is_empty() || key.len() > MOST_CHARACTERS || !key.chars().all(is_fit) {
            return Err(wrong(format!(
                "`{}` cannot be a request's key: from 1 to {MOST_CHARACTERS} of A–Z a–z 0–9 _ - can",
                key.escape_debug()
            )));
        }
        if !keys.insert(key.as_str()) {
            return Err(wrong(format!("two requests of the batch have the key `{key}`: each needs its own")));
        }
    }
    Ok(())
}

/// Checks a batch's tag.
pub(super) fn check_tag(tag: &str) -> Result<(), ModelError> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if tag.is_empty() || tag.len() > MOST_CHARACTERS || !tag.chars().all(is_fit) {
        return Err(wrong(format!(
            "`{}` cannot be a batch's tag: from 1 to {MOST_CHARACTERS} of A–Z a–z 0–9 . _ - can",
            tag.escape_debug()
        )));
    }
    Ok(())
}
