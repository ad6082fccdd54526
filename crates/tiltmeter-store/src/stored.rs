//! What is stored already, by content address: sorted tables rather than hash tables, which take more than twice the
//! memory where millions of ids are held.

use tiltmeter_core::id::ContentId;

/// A response that is stored already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// Its row.
    pub row: i64,
    /// Whether there is an answer to judge: no refusal by the provider's word, nothing withheld.
    pub is_answer: bool,
}

/// What is stored already, by content address.
#[derive(Clone, Debug, Default)]
pub struct StoredIds {
    /// Responses.
    pub responses: StoredResponses,
    /// Judgements.
    pub judgements: IdSet,
    /// Scored texts.
    pub scores: IdSet,
}

/// Stored responses by content address.
#[derive(Clone, Debug, Default)]
pub struct StoredResponses(Vec<(ContentId, StoredResponse)>);

impl StoredResponses {
    pub(crate) fn new(mut responses: Vec<(ContentId, StoredResponse)>) -> Self {
        responses.sort_unstable_by_key(|&(id, _)| id);
        Self(responses)
    }

    /// The response of this id, if it is stored.
    pub fn get(&self, id: &ContentId) -> Option<&StoredResponse> {
        let index = self.0.binary_search_by_key(id, |&(id, _)| id).ok()?;
        self.0.get(index).map(|(_, response)| response)
    }

    /// Whether the response of this id is stored.
    pub fn contains_key(&self, id: &ContentId) -> bool {
        self.get(id).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Content addresses.
#[derive(Clone, Debug, Default)]
pub struct IdSet(Vec<ContentId>);

impl IdSet {
    pub(crate) fn new(mut ids: Vec<ContentId>) -> Self {
        // Takes no time where they are sorted already.
        ids.sort_unstable();
        Self(ids)
    }

    /// Whether it holds this id.
    pub fn contains(&self, id: &ContentId) -> bool {
        self.0.binary_search(id).is_ok()
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
