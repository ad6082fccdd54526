//! Verdicts that are kept: by detector and content, so that a history that is sent again costs nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tiltmeter_core::id::ContentId;

use super::detector::Verdict;

/// Whose verdict on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VerdictKey {
    /// The detector's identity: another prompt, model or version is another detector.
    pub detector: ContentId,
    /// The content's address.
    pub content: ContentId,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<VerdictKey, Verdict> for Bytes {
    fn weight(&self, _: &VerdictKey, verdict: &Verdict) -> u64 {
        // With the cache's own entry, about as much again as the key.
        let fixed = 2 * size_of::<VerdictKey>() + size_of::<Verdict>();
        let finding = |code: &str| code.len() + size_of::<super::detector::Finding>();
        let findings: usize = verdict.findings.iter().map(|found| finding(&found.code)).sum();
        (fixed + findings) as u64
    }
}

/// How often verdicts were found, and not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Verdicts that were found.
    pub hits: u64,
    /// Verdicts that were asked for in vain.
    pub misses: u64,
}

/// A bounded store of verdicts in memory. Failures are not kept: what could not be checked is checked again.
///
/// What is put out is decided by use, so that one request of a hundred thousand new examples does not put out
/// what all others use.
pub struct VerdictCache {
    kept: Cache<VerdictKey, Verdict, Bytes>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// A verdict with few findings, for the first estimate of how many there will be.
const LIKELY_BYTES: u64 = 200;

impl VerdictCache {
    /// A cache of about so many bytes.
    pub fn new(bytes: u64) -> Self {
        let likely = usize::try_from(bytes / LIKELY_BYTES).unwrap_or(usize::MAX).clamp(16, 1 << 20);
        let kept = Cache::with_weighter(likely, bytes, Bytes);
        Self { kept, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// A verdict, if it is kept.
    pub fn get(&self, key: VerdictKey) -> Option<Verdict> {
        let found = self.kept.get(&key);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps a verdict.
    pub fn put(&self, key: VerdictKey, verdict: Verdict) {
        self.kept.insert(key, verdict);
    }

    /// How often verdicts were found so far.
    pub fn counts(&self) -> CacheCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheCounts { hits: count(&self.hits), misses: count(&self.misses) }
    }

    /// Bytes that are kept, about.
    pub fn bytes(&self) -> u64 {
        self.kept.weight()
    }
}

#[cfg(test)]
mod tests {
    use tiltmeter_core::id::Canonical;

    use super::*;

    fn key(detector: u64, content: u64) -> VerdictKey {
        let id = |number| Canonical::new("test").integer(number).finish();
        VerdictKey { detector: id(detector), content: id(content) }
    }

    #[test]
    fn verdicts_are_kept_by_detector_and_content() {
        let cache = VerdictCache::new(1 << 20);
        let verdict = Verdict { score: 0.5, is_flagged: true, ..Verdict::default() };
        assert_eq!(cache.get(key(1, 1)), None);
        cache.put(key(1, 1), verdict.clone());
        assert_eq!(cache.get(key(1, 1)), Some(verdict));
        assert_eq!(cache.get(key(2, 1)), None);
        assert_eq!(cache.get(key(1, 2)), None);
        assert_eq!(cache.counts(), CacheCounts { hits: 1, misses: 3 });
    }

    #[test]
    fn it_stays_within_its_bounds_and_keeps_what_is_used() {
        let bytes = 200_000;
        let cache = VerdictCache::new(bytes);
        let used: Vec<VerdictKey> = (0..50).map(|number| key(0, number)).collect();
        for number in 0..20_000 {
            if number % 100 == 0 {
                for &key in &used {
                    if cache.get(key).is_none() {
                        cache.put(key, Verdict::default());
                    }
                }
            }
            cache.put(key(1, number), Verdict::default());
            assert!(cache.bytes() <= bytes);
        }
        let kept = used.iter().filter(|key| cache.get(**key).is_some()).count();
        assert!(kept >= 45, "{kept} of 50");
    }
}
