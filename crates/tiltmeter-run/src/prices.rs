//! Prices and context lengths of well-known models. A subject's own `price` goes before the user's table, and that
//! before the built-in one.

use indexmap::IndexMap;
use tiltmeter_core::experiment::file::PriceFile;
use tiltmeter_core::experiment::{ModelSettings, Price};

/// What is known of a model: its name, its price, and how many tokens it takes.
struct Known {
    /// `provider/model`; a longer name that goes on with a date is the same model's snapshot.
    model: &'static str,
    price: Price,
    context: u64,
}

const fn known(model: &'static str, input: f64, cached: f64, output: f64, context: u64) -> Known {
    Known { model, price: Price { cached_input: Some(cached), ..Price::new(input, output) }, context }
}

const fn anthropic(model: &'static str, input: f64, output: f64) -> Known {
    // Reading a cache costs a tenth, writing one a quarter more.
    let price = Price {
        cached_input: Some(input / 10.0),
        cache_write: Some(input * 1.25),
        ..Price::new(input, output)
    };
    Known { model, price, context: 200_000 }
}

/// List prices without discounts for batches, as their providers published them in 2025. The more particular name
/// stands first.
static MODELS: [Known; 12] = [
    known("openai/gpt-4o-mini", 0.15, 0.075, 0.60, 128_000),
    known("openai/gpt-4o", 2.50, 1.25, 10.00, 128_000),
    known("openai/gpt-4.1-mini", 0.40, 0.10, 1.60, 1_047_576),
    known("openai/gpt-4.1-nano", 0.10, 0.025, 0.40, 1_047_576),
    known("openai/gpt-4.1", 2.00, 0.50, 8.00, 1_047_576),
    known("gemini/gemini-2.5-flash-lite", 0.10, 0.025, 0.40, 1_048_576),
    known("gemini/gemini-2.5-flash", 0.30, 0.075, 2.50, 1_048_576),
    known("gemini/gemini-2.5-pro", 1.25, 0.31, 10.00, 1_048_576),
    anthropic("anthropic/claude-sonnet-4", 3.00, 15.00),
    anthropic("anthropic/claude-3-haiku", 0.25, 1.25),
    known("xai/grok-4", 3.00, 0.75, 15.00, 256_000),
    known("local/smollm2-135m-instruct", 0.0, 0.0, 0.0, 8192),
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
    /// A price is below zero or no number.
    #[error("the price of `{model}` must be 0 or more US dollars per million tokens")]
    Price {
        /// Whose.
        model: String,
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
            .map(|(model, price)| {
                let price = Price::from(price);
                if price.is_valid() { Ok((model, price)) } else { Err(PricesError::Price { model }) }
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
        let name = format!("{}/{}", address.provider, address.model);
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
    let name = format!("{}/{}", address.provider, address.model);
    MODELS.iter().find(|known| is_model(&name, known.model))
}

/// Whether a name is a model's own or a snapshot's: "-2024-08-06", "-20250514", "-preview". "-mini" is another model.
fn is_model(name: &str, model: &str) -> bool {
    name.strip_prefix(model)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("-2") || rest.starts_with("-preview"))
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
            Prices::default().of(&settings(provider, model, base_url)).map(|price| price.input)
        };
        assert_eq!(of("openai", "gpt-4o-2024-08-06", None), Some(2.50));
        assert_eq!(of("openai", "gpt-4o-mini-2024-07-18", None), Some(0.15));
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
        assert_eq!(of("gpt-4o-2024-08-06", None).unwrap().cached_input, Some(0.5));
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
