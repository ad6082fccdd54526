//! Prices and context lengths of well-known models. A subject's own `price` goes before the user's table, and that
//! before the built-in one.

use indexmap::IndexMap;
use tiltmeter_core::experiment::file::PriceFile;
use tiltmeter_core::experiment::{ModelSettings, Price, Rates};

/// What is known of a model: its name, its price, and how many tokens it takes.
struct Known {
    /// `provider/model`; a longer name that goes on with a date is the same model's snapshot.
    model: &'static str,
    price: Price,
    context: u64,
}

const fn known(model: &'static str, rates: Rates, context: u64) -> Known {
    let price = Price { base: rates, ..Price::new(0.0, 0.0) };
    Known { model, price, context }
}

impl Known {
    /// The same with other rates for prompts above so many tokens.
    const fn above(mut self, tokens: u64, rates: Rates) -> Self {
        self.price.above[0] = Some((tokens, rates));
        self
    }
}

const fn rates(input: f64, cached: f64, output: f64) -> Rates {
    Rates::new(input, output).with_cached(cached)
}

const fn anthropic(model: &'static str, input: f64, output: f64) -> Known {
    // Reading a cache costs a tenth, writing one a quarter more.
    let base = Rates { cache_write: Some(input * 1.25), ..rates(input, input / 10.0, output) };
    known(model, base, 200_000)
}

/// List prices without discounts for batches, as their providers published them up to early 2026. The more
/// particular name stands first.
static MODELS: [Known; 16] = [
    known("openai/gpt-4o-mini", rates(0.15, 0.075, 0.60), 128_000),
    known("openai/gpt-4o", rates(2.50, 1.25, 10.00), 128_000),
    known("openai/gpt-4.1-mini", rates(0.40, 0.10, 1.60), 1_047_576),
    known("openai/gpt-4.1-nano", rates(0.10, 0.025, 0.40), 1_047_576),
    known("openai/gpt-4.1", rates(2.00, 0.50, 8.00), 1_047_576),
    known("gemini/gemini-2.5-flash-lite", rates(0.10, 0.01, 0.40), 1_048_576),
    known("gemini/gemini-2.5-flash", rates(0.30, 0.03, 2.50), 1_048_576),
    known("gemini/gemini-2.5-pro", rates(1.25, 0.125, 10.00), 1_048_576)
        .above(200_000, rates(2.50, 0.25, 15.00)),
    known("gemini/gemini-3-flash", rates(0.50, 0.05, 3.00), 1_048_576),
    known("gemini/gemini-3-pro", rates(2.00, 0.20, 12.00), 1_048_576)
        .above(200_000, rates(4.00, 0.40, 18.00)),
    anthropic("anthropic/claude-sonnet-4", 3.00, 15.00),
    anthropic("anthropic/claude-3-haiku", 0.25, 1.25),
    known("xai/grok-4-1-fast", rates(0.20, 0.05, 0.50), 2_000_000).above(128_000, rates(0.40, 0.05, 1.00)),
    known("xai/grok-4", rates(3.00, 0.75, 15.00), 256_000).above(128_000, rates(6.00, 0.75, 30.00)),
    known("moonshot/kimi-k2", rates(0.60, 0.15, 2.50), 262_144),
    known("local/smollm2-135m-instruct", rates(0.0, 0.0, 0.0), 8192),
];

/// The price table: the user's entries before the built-in ones.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// `provider/model` and price, in the file's order.
    own: Vec<(String, Price)>,
}

/// A price file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// It is no TOML, or not of the right form.
    #[error(
        "the price file is not of the form `[\"provider/model\"]` with `input = …` and `output = …`: {0}"
    )]
    Syntax(#[from] toml::de::Error),
    /// A price is below zero or no number, or its steps are out of order.
    #[error("the price of `{model}` {wrong}")]
    Price {
        /// Whose.
        model: String,
        /// What is wrong.
        wrong: &'static str,
    },
}

impl Prices {
    /// Reads the user's table: TOML, with a table for each `provider/model` that has the fields of a `price` in an
    /// experiment file.
    ///
    /// # Errors
    /// If it cannot be read, or holds a price that is none.
    pub fn from_toml(text: &str) -> Result<Self, PricesError> {
        let entries: IndexMap<String, PriceFile> = toml::from_str(text)?;
        let own = entries
            .into_iter()
            .map(|(model, price)| match Price::from_file(&price) {
                Ok(price) => Ok((model, price)),
                Err(wrong) => Err(PricesError::Price { model, wrong }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { own })
    }

    /// The price of a model: its own setting, or the user's table's, or the built-in one; zero for a local model;
    /// `None` where it is not known.
    pub fn of(&self, settings: &ModelSettings) -> Option<Price> {
        if settings.price.is_some() {
            return settings.price;
        }
        let address = &settings.address;
        let name = full_name(settings);
        // The longest name is the most particular.
        let own =
            self.own.iter().filter(|(model, _)| is_model(&name, model)).max_by_key(|(model, _)| model.len());
        if let Some((_, price)) = own {
            return Some(*price);
        }
        if address.provider == "local" {
            return Some(Price::new(0.0, 0.0));
        }
        find(settings).map(|known| known.price)
    }
}

/// How many tokens a model takes, as far as is known beforehand. Only for a warning: the server's answer decides.
pub fn context_limit(settings: &ModelSettings) -> Option<u64> {
    find(settings).map(|known| known.context)
}

fn find(settings: &ModelSettings) -> Option<&'static Known> {
    let address = &settings.address;
    if address.base_url.is_some() || settings.endpoints.iter().any(|endpoint| endpoint.base_url.is_some()) {
        // Some other server: what is known of the provider's own says nothing about it.
        return None;
    }
    let name = full_name(settings);
    MODELS.iter().find(|known| is_model(&name, known.model))
}

/// The model's name in tables: it costs the same in whatever protocol it is asked.
fn full_name(settings: &ModelSettings) -> String {
    let address = &settings.address;
    let provider = match address.provider.as_str() {
        "openai-responses" => "openai",
        "gemini-openai" => "gemini",
        "anthropic-openai" => "anthropic",
        other => other,
    };
    format!("{provider}/{}", address.model)
}

/// Whether a name is a model's own or a snapshot's or mode's: "-2024-08-06", "-0905-preview", "-thinking". "-mini" is another
/// model.
fn is_model(name: &str, model: &str) -> bool {
    name.strip_prefix(model).is_some_and(|rest| {
        rest.is_empty()
            || ["-0", "-2", "-preview", "-thinking", "-reasoning", "-non-reasoning"]
                .iter()
                .any(|snapshot| rest.starts_with(snapshot))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiltmeter_core::experiment::ModelAddress;

    fn settings(provider: &str, model: &str, base_url: Option<&str>) -> ModelSettings {
        ModelSettings {
            address: ModelAddress {
                provider: provider.to_owned(),
                model: model.to_owned(),
                base_url: base_url.map(str::to_owned),
                api_key_env: None,
            },
            stream: false,
            concurrency: None,
            rpm: None,
            tpm: None,
            endpoints: Vec::new(),
            timeout_s: None,
            outage_s: None,
            extra_body: IndexMap::default(),
            price: None,
            scoring: None,
            context_cache: tiltmeter_core::experiment::ContextCache::Implicit,
        }
    }

    #[test]
    fn snapshots_have_their_models_price_and_other_models_none() {
        let of = |provider: &str, model: &str, base_url: Option<&str>| {
            Prices::default().of(&settings(provider, model, base_url)).map(|price| price.base.input)
        };
        assert_eq!(of("openai", "gpt-4o-2024-08-06", None), Some(2.50));
        assert_eq!(of("openai", "gpt-4o-mini-2024-07-18", None), Some(0.15));
        assert_eq!(of("openai-responses", "gpt-4o", None), Some(2.50));
        assert_eq!(of("gemini-openai", "gemini-3-pro-preview", None), Some(2.00));
        assert_eq!(of("moonshot", "kimi-k2-thinking", None), Some(0.60));
        assert_eq!(of("xai", "grok-4-1-fast-reasoning", None), Some(0.20));
        assert_eq!(of("openai", "gpt-4o-audio", None), None);
        assert_eq!(of("openai", "gpt-4o", Some("http://127.0.0.1:1/v1")), None);
        assert_eq!(of("local", "smollm2-135m-instruct", None), Some(0.0));
    }

    #[test]
    fn the_users_table_goes_before_the_built_in_one_and_after_a_models_own_price() {
        let prices = Prices::from_toml(
            "['openai/gpt-4o']\ninput = 1\noutput = 2\ncached_input = 0.5\n['openai/mine']\ninput = 3\noutput = 4\n",
        )
        .unwrap();
        let of = |model: &str, base_url: Option<&str>| prices.of(&settings("openai", model, base_url));
        assert_eq!(of("gpt-4o-2024-08-06", None).unwrap().base.cached_input, Some(0.5));
        assert_eq!(
            of("gpt-4o-mini", None).unwrap(),
            Prices::default().of(&settings("openai", "gpt-4o-mini", None)).unwrap()
        );
        assert_eq!(of("mine", Some("http://127.0.0.1:1/v1")), Some(Price::new(3.0, 4.0)));
        assert_eq!(of("other", None), None);
        let own = ModelSettings { price: Some(Price::new(9.0, 9.0)), ..settings("openai", "gpt-4o", None) };
        assert_eq!(prices.of(&own), Some(Price::new(9.0, 9.0)));
        for (text, expected) in [
            ("[a]\ninput = 1", "missing field `output`"),
            ("[a]\ninput = 1\noutput = 1\nouput = 2", "unknown field `ouput`"),
            ("[a]\ninput = -1\noutput = 1", "the price of `a` must be 0 or more"),
        ] {
            let error = Prices::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
