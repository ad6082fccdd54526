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
        position(self.0.len(), id, |index| self.0[index].0).map(|index| &self.0[index].1)
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
        position(self.0.len(), id, |index| self.0[index]).is_some()
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

/// The place of an id in a sorted table. Ids are hashes and therefore spread evenly: where one stands is guessed from
/// its first bytes, and looked for around the guess.
fn position(count: usize, id: &ContentId, at: impl Fn(usize) -> ContentId) -> Option<usize> {
    let last = count.checked_sub(1)?;
    let guess = usize::try_from((first_bytes(id) * count as u128) >> 64).unwrap_or(last).min(last);
    let (mut low, mut high, mut step) = (guess, guess, 8);
    // Widened until the id would have to stand between the two.
    while low > 0 && at(low) > *id {
        low = low.saturating_sub(step);
        step *= 2;
    }
    step = 8;
    while high < last && at(high) < *id {
        high = high.saturating_add(step).min(last);
        step *= 2;
    }
    while low < high {
        let middle = usize::midpoint(low, high);
        if at(middle) < *id { low = middle + 1 } else { high = middle }
    }
    (at(low) == *id).then_some(low)
}

fn first_bytes(id: &ContentId) -> u128 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(id.as_bytes()) {
        *to = *from;
    }
    u64::from_be_bytes(bytes).into()
}

#[cfg(test)]
mod tests {
    use tiltmeter_core::id::text_hash;

    use super::*;

    #[test]
    fn every_id_is_found_and_no_other() {
        for count in [0_usize, 1, 2, 3, 10, 1000] {
            let ids: Vec<ContentId> = (0..count).map(|number| text_hash(&number.to_string())).collect();
            let set = IdSet::new(ids.clone());
            assert!(ids.iter().all(|id| set.contains(id)), "{count}");
            assert!((count..count + 1000).all(|number| !set.contains(&text_hash(&number.to_string()))));
        }
        // Also where they are not spread evenly, at the ends and beyond.
        let bytes = |byte: u8, last: u8| {
            let mut bytes = [byte; 16];
            bytes[15] = last;
            ContentId::from_bytes(bytes)
        };
        let ids: Vec<ContentId> =
            (0..=200).map(|last| bytes(0, last)).chain([bytes(255, 0), bytes(255, 255)]).collect();
        let set = IdSet::new(ids.clone());
        assert!(ids.iter().all(|id| set.contains(id)));
        assert!(
            ![bytes(0, 201), bytes(1, 0), bytes(254, 9), bytes(255, 1)].iter().any(|id| set.contains(id))
        );
    }
}
