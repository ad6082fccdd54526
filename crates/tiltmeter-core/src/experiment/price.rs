//! What a model's tokens cost.

use super::file::{PriceFile, PriceStepFile};

/// US dollars per million tokens. Some providers charge more for long prompts: then the price has steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// For prompts up to the first step, or all where there is none.
    pub base: Rates,
    /// For longer prompts: the number of prompt tokens that must be exceeded, and the rates from there on for all
    /// tokens of the call; by rising number.
    pub above: [Option<(u64, Rates)>; Price::MOST_STEPS],
}

/// US dollars per million tokens, whatever the prompt's length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Per million input tokens.
    pub input: f64,
    /// Per million output tokens.
    pub output: f64,
    /// Per million input tokens that come from a cache, where that is known to be another price.
    pub cached_input: Option<f64>,
    /// Per million input tokens that are put into a cache, where that is known to be another price.
    pub cache_write: Option<f64>,
}

impl Rates {
    /// Rates without some of their own for cached tokens.
    pub const fn new(input: f64, output: f64) -> Self {
        Self { input, output, cached_input: None, cache_write: None }
    }

    /// The same with a rate for input tokens from a cache.
    #[must_use]
    pub const fn with_cached(self, cached_input: f64) -> Self {
        Self { cached_input: Some(cached_input), ..self }
    }

    /// Per million input tokens from a cache.
    pub fn cached(&self) -> f64 {
        self.cached_input.unwrap_or(self.input)
    }

    /// Per million input tokens that are put into a cache.
    pub fn written(&self) -> f64 {
        self.cache_write.unwrap_or(self.input)
    }

    fn is_valid(&self) -> bool {
        [Some(self.input), Some(self.output), self.cached_input, self.cache_write]
            .into_iter()
            .flatten()
            .all(|part| part.is_finite() && part >= 0.0)
    }
}

impl Price {
    /// The most steps for long prompts.
    pub const MOST_STEPS: usize = 3;

    /// A price without steps, and without one of its own for cached tokens.
    pub const fn new(input: f64, output: f64) -> Self {
        Self { base: Rates::new(input, output), above: [None; Self::MOST_STEPS] }
    }

    /// The rates for a call with so many prompt tokens, cached ones included.
    pub fn at(&self, prompt_tokens: u64) -> Rates {
        let step = self.above.iter().flatten().rfind(|(above, _)| prompt_tokens > *above);
        step.map_or(self.base, |(_, rates)| *rates)
    }

    /// Reads a price as it is written.
    ///
    /// # Errors
    /// What is wrong with it, in words that read after the name of the field.
    pub fn from_file(file: &PriceFile) -> Result<Self, &'static str> {
        let base = Rates {
            input: file.input,
            output: file.output,
            cached_input: file.cached_input,
            cache_write: file.cache_write,
        };
        let mut price = Self { base, above: [None; Self::MOST_STEPS] };
        if file.above.len() > Self::MOST_STEPS {
            return Err("has more than three steps");
        }
        if !file.above.is_sorted_by(|one, next| one.tokens < next.tokens) {
            return Err("must have its steps by rising number of tokens");
        }
        for (slot, step) in price.above.iter_mut().zip(&file.above) {
            let &PriceStepFile { tokens, input, output, cached_input, cache_write } = step;
            *slot = Some((tokens, Rates { input, output, cached_input, cache_write }));
        }
        let mut all =
            std::iter::once(&price.base).chain(price.above.iter().flatten().map(|(_, rates)| rates));
        if all.all(Rates::is_valid) {
            Ok(price)
        } else {
            Err("must be 0 or more US dollars per million tokens")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_prompts_have_their_own_rates() {
        let file: PriceFile = toml::from_str(
            "input = 1\noutput = 2\nabove = [{ tokens = 100, input = 3, output = 4 }, { tokens = 200, input = 5, output = 6 }]",
        )
        .unwrap();
        let price = Price::from_file(&file).unwrap();
        for (tokens, expected) in [(0, 1.0), (100, 1.0), (101, 3.0), (200, 3.0), (201, 5.0), (u64::MAX, 5.0)]
        {
            assert!((price.at(tokens).input - expected).abs() < 1e-12, "{tokens}");
        }
        for (text, expected) in [
            ("input = -1\noutput = 2", "must be 0 or more"),
            ("input = 1\noutput = nan", "must be 0 or more"),
            ("input = 1\noutput = 2\nabove = [{ tokens = 9, input = inf, output = 1 }]", "must be 0 or more"),
            (
                "input = 1\noutput = 2\nabove = [{ tokens = 9, input = 1, output = 1 }, { tokens = 9, input = 1, output = 1 }]",
                "rising",
            ),
        ] {
            let error = Price::from_file(&toml::from_str(text).unwrap()).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
