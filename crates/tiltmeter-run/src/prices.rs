//! Prices and context lengths of well-known models, for estimates and warnings. A subject's own `price` goes
//! before them.

use tiltmeter_core::experiment::{ModelSettings, Price};

/// What is known of a model: its name, its price, and how many tokens it takes.
struct Known {
    /// `provider/model`; a longer name that goes on with a date is the same model's snapshot.
    model: &'static str,
    price: Price,
    context: u64,
}

const fn known(model: &'static str, input: f64, output: f64, context: u64) -> Known {
    Known { model, price: Price { input, output }, context }
}

/// List prices without discounts for caches and batches, as their providers published them in 2025. The more
/// particular name stands first.
static MODELS: [Known; 12] = [
    known("openai/gpt-4o-mini", 0.15, 0.60, 128_000),
    known("openai/gpt-4o", 2.50, 10.00, 128_000),
    known("openai/gpt-4.1-mini", 0.40, 1.60, 1_047_576),
    known("openai/gpt-4.1-nano", 0.10, 0.40, 1_047_576),
    known("openai/gpt-4.1", 2.00, 8.00, 1_047_576),
    known("gemini/gemini-2.5-flash-lite", 0.10, 0.40, 1_048_576),
    known("gemini/gemini-2.5-flash", 0.30, 2.50, 1_048_576),
    known("gemini/gemini-2.5-pro", 1.25, 10.00, 1_048_576),
    known("anthropic/claude-sonnet-4", 3.00, 15.00, 200_000),
    known("anthropic/claude-3-haiku", 0.25, 1.25, 200_000),
    known("xai/grok-4", 3.00, 15.00, 256_000),
    known("local/smollm2-135m-instruct", 0.0, 0.0, 8192),
];

/// The price of a model: the user's, or the built-in one; zero for a local model; `None` where it is not known.
pub fn price_of(settings: &ModelSettings) -> Option<Price> {
    if settings.price.is_some() {
        return settings.price;
    }
    let address = &settings.address;
    if address.provider == "local" {
        return Some(Price { input: 0.0, output: 0.0 });
    }
    find(settings).map(|known| known.price)
}

/// How many tokens a model takes, as far as is known beforehand. Only for a warning: the server's answer decides.
pub fn context_limit(settings: &ModelSettings) -> Option<u64> {
    find(settings).map(|known| known.context)
}

fn find(settings: &ModelSettings) -> Option<&'static Known> {
    let address = &settings.address;
    if address.base_url.is_some() {
        // Some other server: what is known of the provider's own says nothing about it.
        return None;
    }
    let name = format!("{}/{}", address.provider, address.model);
    MODELS.iter().find(|known| {
        name.strip_prefix(known.model).is_some_and(|rest| {
            // A snapshot is dated: "-2024-08-06", "-20250514", "-preview". "-mini" is another model.
            rest.is_empty() || rest.starts_with("-2") || rest.starts_with("-preview")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiltmeter_core::experiment::ModelAddress;

    #[test]
    fn snapshots_have_their_models_price_and_other_models_none() {
        let of = |provider: &str, model: &str, base_url: Option<&str>| {
            price_of(&ModelSettings {
                address: ModelAddress {
                    provider: provider.to_owned(),
                    model: model.to_owned(),
                    base_url: base_url.map(str::to_owned),
                    api_key_env: None,
                },
                stream: false,
                concurrency: None,
                rpm: None,
                timeout_s: None,
                extra_body: [].into_iter().collect(),
                price: None,
            })
            .map(|price| price.input)
        };
        assert_eq!(of("openai", "gpt-4o-2024-08-06", None), Some(2.50));
        assert_eq!(of("openai", "gpt-4o-mini-2024-07-18", None), Some(0.15));
        assert_eq!(of("openai", "gpt-4o-audio", None), None);
        assert_eq!(of("openai", "gpt-4o", Some("http://127.0.0.1:1/v1")), None);
        assert_eq!(of("local", "smollm2-135m-instruct", None), Some(0.0));
    }
}
