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
pub struct StoredResponses(Sorted<StoredResponse>);

impl StoredResponses {
    pub(crate) fn new(responses: Vec<(ContentId, StoredResponse)>) -> Self {
        Self(Sorted::new(responses))
    }

    /// The response of this id, if it is stored.
    pub fn get(&self, id: &ContentId) -> Option<&StoredResponse> {
        self.0.get(id)
    }

    /// Whether the response of this id is stored.
    pub fn contains_key(&self, id: &ContentId) -> bool {
        self.get(id).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }
}

/// Content addresses.
#[derive(Clone, Debug, Default)]
pub struct IdSet(Sorted<()>);

impl IdSet {
    pub(crate) fn new(ids: Vec<ContentId>) -> Self {
        Self(Sorted::new(ids.into_iter().map(|id| (id, ())).collect()))
    }

    /// Whether it holds this id.
    pub fn contains(&self, id: &ContentId) -> bool {
        self.0.get(id).is_some()
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }
}

/// Entries in the order of their ids, with the places where equal shares of the range of ids begin. Ids are hashes and
/// therefore spread evenly, so that each share holds a few.
#[derive(Clone, Debug)]
struct Sorted<T> {
    entries: Vec<(ContentId, T)>,
    /// One more than there are shares: where the last one ends.
    begins: Vec<u32>,
}

/// Entries in a share, about: a short look in one place of memory.
const SHARE: usize = 4;

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), begins: Vec::new() }
    }
}

impl<T> Sorted<T> {
    fn new(mut entries: Vec<(ContentId, T)>) -> Self {
        // Takes no time where they are sorted already.
        entries.sort_unstable_by_key(|(id, _)| *id);
        let shares = entries.len() / SHARE + 1;
        let mut begins = Vec::with_capacity(shares + 1);
        for (place, (id, _)) in entries.iter().enumerate() {
            while begins.len() <= share(id, shares) {
                begins.push(u32::try_from(place).unwrap_or(u32::MAX));
            }
        }
        begins.resize(shares + 1, u32::try_from(entries.len()).unwrap_or(u32::MAX));
        Self { entries, begins }
    }

    fn get(&self, id: &ContentId) -> Option<&T> {
        let shares = self.begins.len().checked_sub(1)?;
        let share = share(id, shares);
        let (from, to) = (*self.begins.get(share)? as usize, *self.begins.get(share + 1)? as usize);
        let entries = self.entries.get(from..to)?;
        let place = entries.binary_search_by_key(id, |(id, _)| *id).ok()?;
        entries.get(place).map(|(_, value)| value)
    }
}

/// Which of so many equal shares of the range of ids an id belongs to.
fn share(id: &ContentId, shares: usize) -> usize {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(id.as_bytes()) {
        *to = *from;
    }
    let share = (u128::from(u64::from_be_bytes(bytes)) * shares as u128) >> 64;
    usize::try_from(share).unwrap_or(0)
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
