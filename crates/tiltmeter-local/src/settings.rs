//! How a local model is run.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::decoder::KeyValuePrecision;
use crate::weights::WeightsSettings;

/// Settings of a local model. None of them changes a result: they are about time and memory.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// Threads that compute; `None`: as many as this process may use at once.
    pub threads: Option<NonZeroUsize>,
    /// Bytes of keys and values of contexts that are kept for later requests. The context in use may take more.
    pub prefix_cache_bytes: u64,
    /// Tokens that are computed in one pass: more is faster up to some hundreds, and takes more memory.
    pub batch_tokens: NonZeroUsize,
    /// The most answers that are drawn at once.
    pub batch_sequences: NonZeroUsize,
    /// The context length in tokens; `None`: what the model was made for. Never more than that.
    pub context_length: Option<NonZeroUsize>,
    /// Bytes that weights, keys and values may take together; `None`: three quarters of what the system has
    /// available when the model is opened, where it says so.
    pub memory_limit: Option<u64>,
    /// A folder in which contexts that were read are kept from one run of the program to the next; `None`: nowhere.
    pub context_folder: Option<PathBuf>,
    /// Bytes that contexts in that folder may take together. The ones that were not used for the longest time go.
    pub context_folder_bytes: u64,
    /// How keys and values are kept. The one setting that changes results: by some hundred-thousandths of a
    /// log-probability.
    pub key_values: KeyValuePrecision,
    /// Requests that may wait; further callers wait to be let in.
    pub queue: NonZeroUsize,
    /// Where the weights of known models come from.
    pub weights: WeightsSettings,
}

const fn at_least_one(value: usize) -> NonZeroUsize {
    match NonZeroUsize::new(value) {
        Some(value) => value,
        None => NonZeroUsize::MIN,
    }
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            threads: None,
            prefix_cache_bytes: 512 << 20,
            batch_tokens: at_least_one(512),
            batch_sequences: at_least_one(32),
            context_length: None,
            memory_limit: None,
            context_folder: None,
            context_folder_bytes: 8 << 30,
            key_values: KeyValuePrecision::default(),
            queue: at_least_one(1024),
            weights: WeightsSettings::default(),
        }
    }
}

impl LocalSettings {
    /// Threads that compute.
    pub(crate) fn thread_count(&self) -> NonZeroUsize {
        self.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    /// Bytes that the model may take.
    pub(crate) fn memory(&self) -> u64 {
        let available =
            || fs_err::read_to_string("/proc/meminfo").ok().and_then(|text| available_bytes(&text));
        self.memory_limit.or_else(|| available().map(|bytes| bytes / 4 * 3)).unwrap_or(u64::MAX)
    }
}

/// What Linux says can be used without swapping.
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        let cases = [
            ("MemTotal:  100 kB\nMemAvailable:   24 kB\nX: 1 kB\n", Some(24 * 1024)),
            ("MemTotal: 100 kB\n", None),
            ("MemAvailable: many kB\n", None),
            ("MemAvailable: 18446744073709551615 kB\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(available_bytes(text), expected, "{text:?}");
        }
        assert_eq!(LocalSettings { memory_limit: Some(7), ..LocalSettings::default() }.memory(), 7);
    }
}
