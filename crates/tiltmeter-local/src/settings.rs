//! How a local model is run.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::decoder::KeyValuePrecision;
use crate::memory;
use crate::weights::WeightsSettings;

/// The environment variable that says on how many threads local models compute.
pub const THREADS_VARIABLE: &str = "TILTMETER_THREADS";
/// The most threads that can be asked for: more than any machine's cores are of no use.
pub const MOST_THREADS: NonZeroUsize = at_least_one(256);
/// The environment variable that says how many GiB local models may take.
pub const MEMORY_VARIABLE: &str = "TILTMETER_MEMORY_GIB";
/// The shortest context that can be asked for, in tokens: a shorter one leaves no place for a question.
pub const LEAST_CONTEXT: usize = 16;
/// The environment variable that names the folder in which contexts are kept.
pub const CONTEXT_FOLDER_VARIABLE: &str = "TILTMETER_CONTEXT_DIR";
/// The environment variable that says how many GiB that folder may take.
pub const CONTEXT_FOLDER_SIZE_VARIABLE: &str = "TILTMETER_CONTEXT_GIB";

/// An environment variable that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {variable} is `{value}`; {expected}")]
pub struct SettingsError {
    /// The variable.
    pub variable: &'static str,
    /// What it holds.
    pub value: String,
    /// What it should hold.
    pub expected: &'static str,
}

/// Settings of a local model. But for the precision of keys and values, none of them changes a result: they are about
/// time and memory.
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
    /// The context length in tokens, from [`LEAST_CONTEXT`] to what the model was made for; `None`: that.
    pub context_length: Option<NonZeroUsize>,
    /// Bytes that weights, keys and values may take together; `None`: three quarters of what the system, and
    /// on Linux the process's control groups, leave when the model is opened. No limit where neither is known.
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
            batch_sequences: at_least_one(96),
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
    /// What the user has set in the environment; see the variables of this module. None of them changes a result.
    ///
    /// # Errors
    /// For the first variable whose value makes no sense.
    pub fn from_environment(
        environment: &(impl Fn(&str) -> Option<String> + ?Sized),
    ) -> Result<Self, SettingsError> {
        let text = |variable: &str| environment(variable).filter(|value| !value.trim().is_empty());
        let threads = match text(THREADS_VARIABLE) {
            Some(value) => Some(threads(value.trim()).map_err(|expected| SettingsError {
                variable: THREADS_VARIABLE,
                value,
                expected,
            })?),
            None => None,
        };
        let bytes = |variable: &'static str| match text(variable) {
            Some(value) => match value.trim().parse::<f64>() {
                Ok(gib) if gib > 0.0 && gib <= 1e6 => Ok(Some(bytes_of(gib))),
                _ => Err(SettingsError {
                    variable,
                    value,
                    expected: "it must be a number of GiB, such as 1.5",
                }),
            },
            None => Ok(None),
        };
        let defaults = Self::default();
        Ok(Self {
            threads,
            memory_limit: bytes(MEMORY_VARIABLE)?,
            context_folder: text(CONTEXT_FOLDER_VARIABLE).map(PathBuf::from),
            context_folder_bytes: bytes(CONTEXT_FOLDER_SIZE_VARIABLE)?
                .unwrap_or(defaults.context_folder_bytes),
            ..defaults
        })
    }

    /// Threads that compute.
    pub(crate) fn thread_count(&self) -> NonZeroUsize {
        self.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    /// Bytes that the model may take.
    pub(crate) fn memory(&self) -> u64 {
        let available = || memory::available(Path::new("/"));
        self.memory_limit.or_else(|| available().map(|bytes| bytes / 4 * 3)).unwrap_or(u64::MAX)
    }
}

/// The number of threads in a text. The error says what is expected.
///
/// # Errors
/// For what is not a whole number from 1 to [`MOST_THREADS`].
pub fn threads(text: &str) -> Result<NonZeroUsize, &'static str> {
    let number = text.parse().ok().filter(|threads: &NonZeroUsize| *threads <= MOST_THREADS);
    number.ok_or("it must be a whole number of threads, from 1 to 256")
}

/// Bytes of so many GiB, at most a million.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is positive and not too large"
)]
fn bytes_of(gib: f64) -> u64 {
    (gib * f64::from(1 << 30)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Result<LocalSettings, SettingsError> {
        LocalSettings::from_environment(&|name: &str| {
            set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn settings_come_from_the_environment() {
        let settings = of(&[
            (THREADS_VARIABLE, "3"),
            (MEMORY_VARIABLE, " 1.5 "),
            (CONTEXT_FOLDER_VARIABLE, "kept/here"),
            (CONTEXT_FOLDER_SIZE_VARIABLE, "2"),
        ])
        .unwrap();
        assert_eq!(settings.thread_count().get(), 3);
        assert_eq!(settings.memory(), 3 << 29);
        assert_eq!(threads("256").unwrap(), MOST_THREADS);
        assert_eq!(settings.context_folder, Some(PathBuf::from("kept/here")));
        assert_eq!(settings.context_folder_bytes, 2 << 30);
        let nothing = of(&[(THREADS_VARIABLE, ""), (CONTEXT_FOLDER_VARIABLE, " ")]).unwrap();
        assert_eq!((nothing.threads, nothing.memory_limit, nothing.context_folder), (None, None, None));
        for (variable, value) in [
            (THREADS_VARIABLE, "0"),
            (THREADS_VARIABLE, "two"),
            (THREADS_VARIABLE, "257"),
            (THREADS_VARIABLE, "99999999999999999999"),
            (MEMORY_VARIABLE, "-1"),
            (MEMORY_VARIABLE, "NaN"),
            (MEMORY_VARIABLE, "inf"),
            (CONTEXT_FOLDER_SIZE_VARIABLE, "8 GB"),
        ] {
            let error = of(&[(variable, value)]).unwrap_err();
            assert_eq!((error.variable, error.value.as_str()), (variable, value));
            assert!(error.to_string().contains(variable));
        }
    }
}
