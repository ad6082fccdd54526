//! Contexts that were read, kept for the requests that share them.

use tiltmeter_core::id::ContentId;

use crate::decoder::{Cache, SegmentId};

/// Contexts kept at most, whatever their size.
const MOST_ENTRIES: usize = 64;

/// A context that was read.
#[derive(Clone, Debug)]
struct Entry {
    segment: SegmentId,
    tokens: Vec<u32>,
    /// What its keys and values were computed under: a context that was read under an intervention holds others than
    /// the same context without.
    under: Option<ContentId>,
    last_use: u64,
}

/// All contexts that are kept, none of them in use between groups of requests.
#[derive(Debug)]
pub(super) struct Prefixes {
    entries: Vec<Entry>,
    most_bytes: u64,
    token_bytes: u64,
    uses: u64,
}

/// A context to read on: the first `reused` of the wanted tokens are in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) segment: SegmentId,
    pub(super) reused: usize,
}

/// The number of tokens that two texts start with in common.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Prefixes {
    pub(super) fn new(most_bytes: u64, token_bytes: u64) -> Self {
        Self { entries: Vec::new(), most_bytes, token_bytes, uses: 0 }
    }

    /// Finds or makes a segment to hold the wanted tokens. Where it holds fewer, the caller appends the others, and
    /// tells so with [`Prefixes::extended`].
    ///
    /// A context that goes on from a kept one extends it, which is what nested contexts need. One that turns off
    /// early gets a segment of its own, so that the other is kept as well. Contexts that were read under different
    /// interventions have nothing in common.
    pub(super) fn start(&mut self, wanted: &[u32], under: Option<ContentId>, cache: &mut Cache) -> Start {
        self.uses += 1;
        let overlap = |entry: &Entry| if entry.under == under { common(&entry.tokens, wanted) } else { 0 };
        let best = (0..self.entries.len()).max_by_key(|&index| overlap(&self.entries[index]));
        let reused = best.map_or(0, |index| overlap(&self.entries[index]));
        if let Some(entry) = best.and_then(|index| self.entries.get_mut(index)).filter(|_| reused > 0) {
            let tail = entry.tokens.len() - reused;
            if reused == wanted.len() || tail <= reused / 4 {
                entry.last_use = self.uses;
                if reused < wanted.len() {
                    cache.truncate(entry.segment, reused);
                    entry.tokens.truncate(reused);
                }
                let segment = entry.segment;
                self.evict(segment, wanted.len(), cache);
                return Start { segment, reused };
            }
        }
        let segment = match best.filter(|_| reused > 0) {
            Some(index) => cache.copy(self.entries[index].segment, reused),
            None => cache.root(),
        };
        let tokens = wanted[..reused].to_vec();
        self.entries.push(Entry { segment, tokens, under, last_use: self.uses });
        self.evict(segment, wanted.len(), cache);
        Start { segment, reused }
    }

    /// Records that tokens were appended to a segment.
    pub(super) fn extended(&mut self, segment: SegmentId, tokens: &[u32]) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.segment == segment) {
            entry.tokens.extend(tokens);
        }
    }

    /// Puts another segment, which holds the given tokens, in the place of one.
    pub(super) fn replace(&mut self, old: SegmentId, new: SegmentId, tokens: &[u32], cache: &mut Cache) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.segment == old) {
            entry.segment = new;
            entry.tokens = tokens.to_vec();
        }
        cache.release(old);
    }

    /// The tokens that a segment holds.
    pub(super) fn tokens(&self, segment: SegmentId) -> &[u32] {
        self.entries.iter().find(|entry| entry.segment == segment).map_or(&[], |entry| &entry.tokens)
    }

    /// Bytes of all that is kept.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.tokens.len() as u64 * self.token_bytes).sum()
    }

    /// Frees what was not used for the longest time, until the rest and the segment in use fit.
    fn evict(&mut self, in_use: SegmentId, wanted: usize, cache: &mut Cache) {
        let wanted = wanted as u64 * self.token_bytes;
        self.free_until(in_use, cache, |entries, kept| {
            kept + wanted <= entries.most_bytes && entries.entries.len() <= MOST_ENTRIES
        });
    }

    /// Frees what was not used for the longest time, until all that is left takes no more than so many bytes.
    pub(super) fn shrink(&mut self, in_use: SegmentId, most: u64, cache: &mut Cache) {
        self.free_until(in_use, cache, |entries, _| entries.bytes() <= most);
    }

    /// Frees the oldest but for the segment in use, until it is enough; told are the bytes of all others.
    fn free_until(&mut self, in_use: SegmentId, cache: &mut Cache, is_enough: impl Fn(&Self, u64) -> bool) {
        loop {
            let others = self.entries.iter().filter(|entry| entry.segment != in_use);
            let kept = others.map(|entry| entry.tokens.len() as u64 * self.token_bytes).sum();
            let oldest = (0..self.entries.len())
                .filter(|&index| self.entries[index].segment != in_use)
                .min_by_key(|&index| self.entries[index].last_use);
            match oldest {
                Some(index) if !is_enough(self, kept) => {
                    cache.release(self.entries.swap_remove(index).segment);
                }
                _ => return,
            }
        }
    }
}
