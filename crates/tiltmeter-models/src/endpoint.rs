//! Where a model is served and how it wants to be asked.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::openai_compatible::Dialect;
use crate::presets::{Api, Provider};

/// The address of a server, up to and without what a protocol adds, such as `/chat/completions`.
///
/// An address may carry credentials, as `https://user:password@host` or `?key=…`. They are sent to the server,
/// and never shown: neither `Display` nor `Debug` prints user-info, query or fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EndpointUrl(Url);

/// An address that cannot be used. The address itself is not repeated, as it may hold credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointUrlError {
    /// The text is not an absolute address.
    #[error("the base URL is not an absolute address: write it as in `http://127.0.0.1:8000/v1`")]
    NotAnAddress,
    /// The scheme is another than `http` or `https`.
    #[error("the base URL must start with `http://` or `https://`")]
    Scheme,
}

impl EndpointUrl {
    /// An address below the base, such as `/chat/completions`. A base that already ends so is taken as it is.
    pub(crate) fn join(&self, suffix: &str) -> Url {
        let mut url = self.0.clone();
        let path = url.path().trim_end_matches('/');
        let path = if path.ends_with(suffix) { path.to_owned() } else { format!("{path}{suffix}") };
        url.set_path(&path);
        url
    }

    /// Whether the server is on this machine, by its name or address.
    pub fn is_local(&self) -> bool {
        // The brackets of an IPv6 address are part of `host_str`.
        let host = self.0.host_str().unwrap_or("").trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for EndpointUrl {
    type Err = EndpointUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut url = Url::parse(text.trim()).map_err(|_| EndpointUrlError::NotAnAddress)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EndpointUrlError::Scheme);
        }
        if url.host_str().is_none() {
            return Err(EndpointUrlError::NotAnAddress);
        }
        url.set_fragment(None);
        Ok(Self(url))
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or(""))?;
        if let Some(port) = self.0.port() {
            write!(formatter, ":{port}")?;
        }
        formatter.write_str(self.0.path().trim_end_matches('/'))
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The field that limits the answer's length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenField {
    /// `max_tokens`, which all servers but OpenAI's newer models take.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`, which counts reasoning as well.
    MaxCompletionTokens,
}

impl TokenField {
    /// The field's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::MaxTokens => Self::MaxCompletionTokens,
            Self::MaxCompletionTokens => Self::MaxTokens,
        }
    }
}

/// Whether the temperature is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TemperatureField {
    /// Always. A server's own default may be another than 1: vLLM takes it from the model's files.
    #[default]
    Always,
    /// Unless it is 1: for models that draw at 1 and refuse the field.
    UnlessOne,
}

/// How a server gives log-probabilities of given text, where it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scoring {
    /// It does not.
    #[default]
    None,
    /// vLLM's: the prompt becomes tokens by `/tokenize` and the model's chat template, the text by `/tokenize`
    /// alone, and `/completions` gives `prompt_logprobs` of both in one row. Where the prompt ends is exact by
    /// construction: no token can span it.
    VllmTokens,
    /// `/completions` with `echo` and `logprobs`. The prompt is plain text, without a chat template: for base
    /// models, and only for contexts that are not turns of a chat. Where the prompt does not end in white space,
    /// a space goes between, and is scored with the text. That a token ends where the prompt does is checked.
    EchoPlainText,
}

/// Whether a server has its provider's batch interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Batches {
    /// It has not, or nobody knows: servers of the same protocol often lack it.
    #[default]
    None,
    /// It has.
    Served,
}

/// Whether a long context is put into the provider's cache by name.
///
/// Only Gemini's own protocol, and its models behind OpenRouter, have a choice. Anthropic's models have nothing but
/// marks in the request, which are always set, and OpenAI's find what they have seen lately by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextCaching {
    /// The provider finds by itself what it has seen lately, and promises nothing. Costs nothing.
    #[default]
    Implicit,
    /// The context is stored by name, and its requests refer to it. Every hit is sure, and storage costs by the
    /// hour and token: worth it where a context is asked about often within its time.
    ///
    /// Only for demonstrations as turns of the chat or in the system message. What is stored is whole messages, so
    /// that a question behind demonstrations in the same user message would become a message of its own: another
    /// prompt. For these, the provider's own finding must do.
    Explicit {
        /// How long a context is kept, from its storing on, in whole seconds; it is stored anew, and paid for anew,
        /// when it is needed later. Up to ten seconds nothing is stored. Behind OpenRouter it is the provider's own,
        /// five minutes.
        time_to_live: Duration,
    },
}

/// How long to wait for what. Each limit is an error of kind
/// [`TimedOut`](crate::ErrorKind::TimedOut), but for `connect`, which is
/// [`Unreachable`](crate::ErrorKind::Unreachable).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first packet to an open connection, encryption included.
    pub connect: Duration,
    /// From sending to the first byte of a streamed reply's body. A reply that is not streamed comes in one
    /// piece when the whole answer is drawn, so that only `total` limits it.
    pub first_byte: Duration,
    /// Between two pieces of a streamed reply; a server's keep-alive counts as one.
    pub between_events: Duration,
    /// From sending to the end of the reply.
    pub total: Duration,
}

impl Default for Timeouts {
    /// Ten seconds to connect, three minutes to the first byte (a long context must be read first), one minute
    /// between events, ten minutes in all.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_mins(3),
            between_events: Duration::from_mins(1),
            total: Duration::from_mins(10),
        }
    }
}

/// A model on a server.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The server's address.
    pub base_url: EndpointUrl,
    /// The key, sent in the header that the protocol has for it.
    pub api_key: Option<SecretString>,
    /// The model as the server names it, without a provider's prefix.
    pub model: String,
    /// Whether replies are asked for piece by piece. Shows a stalled server sooner, and keeps proxies from closing
    /// a connection that is silent while the model thinks.
    pub stream: bool,
    /// Whether stop texts are sent, as many as the protocol takes. Several reasoning models refuse the field, and the
    /// engine cuts the answer itself.
    pub send_stop: bool,
    /// Fields to send as they are. They replace the provider's own (Gemini's `generationConfig` field by field),
    /// except those without which it would be another request, such as `model`, `messages` and `stream`: these are
    /// refused.
    pub extra_body: Map<String, Value>,
    /// The field that limits the answer's length.
    pub token_field: TokenField,
    /// Whether the temperature is sent.
    pub temperature_field: TemperatureField,
    /// Whose way of asking the server follows, where its protocol has several.
    pub dialect: Dialect,
    /// How given text is scored.
    pub scoring: Scoring,
    /// Whether the server has its provider's batch interface.
    pub batches: Batches,
    /// Whether long contexts are put into the provider's cache by name.
    pub context_caching: ContextCaching,
    /// Time limits.
    pub timeouts: Timeouts,
}

impl Endpoint {
    /// A model on a server, with defaults that most servers take, and without a key.
    pub fn new(base_url: EndpointUrl, model: impl Into<String>) -> Self {
        Self {
            base_url,
            api_key: None,
            model: model.into(),
            stream: false,
            send_stop: false,
            extra_body: Map::new(),
            token_field: TokenField::default(),
            temperature_field: TemperatureField::default(),
            dialect: Dialect::default(),
            scoring: Scoring::default(),
            batches: Batches::default(),
            context_caching: ContextCaching::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// A model of a known provider, with what its models are known to want, and without a key.
    ///
    /// # Errors
    /// Where the provider's address cannot be used; never for those in [`providers`](crate::providers).
    pub fn of_provider(provider: &Provider, model: impl Into<String>) -> Result<Self, EndpointUrlError> {
        let mut endpoint = Self::new(provider.base_url.parse()?, model);
        endpoint.dialect = provider.dialect;
        if matches!(provider.name, "openai" | "openai-responses")
            || matches!(provider.api, Api::Gemini | Api::Anthropic)
        {
            endpoint.batches = Batches::Served;
        }
        match (provider.name, provider.api) {
            ("openai" | "openai-responses", _) if is_openai_reasoning_model(&endpoint.model) => {
                endpoint.token_field = TokenField::MaxCompletionTokens;
                endpoint.temperature_field = TemperatureField::UnlessOne;
            }
            // Kimi's models draw at 1 and refuse anything else; Moonshot's older ones do not.
            ("moonshot", _) if endpoint.model.starts_with("kimi-") => {
                endpoint.temperature_field = TemperatureField::UnlessOne;
            }
            ("vllm", _) => endpoint.scoring = Scoring::VllmTokens,
            // Models that think refuse a request that is not streamed; the others take either.
            ("dashscope", _) => endpoint.stream = true,
            // Stopping early saves tokens, and no model refuses the field.
            (_, Api::Gemini) => endpoint.send_stop = true,
            (_, Api::Anthropic) => {
                endpoint.send_stop = true;
                // It is the default, and newer models refuse the very field.
                endpoint.temperature_field = TemperatureField::UnlessOne;
            }
            _ => {}
        }
        Ok(endpoint)
    }
}

/// OpenAI's o-series and GPT-5 and later refuse `max_tokens`, and a temperature other than 1.
pub(crate) fn is_openai_reasoning_model(model: &str) -> bool {
    // A fine-tuned model is named `ft:<base model>:…`.
    let model = model.strip_prefix("ft:").unwrap_or(model);
    let starts_with_digit = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    let generation =
        |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
    model.strip_prefix('o').is_some_and(starts_with_digit)
        || model.strip_prefix("gpt-").is_some_and(|rest| generation(rest) >= 5_u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::provider;

    #[test]
    fn an_address_joins_and_hides_its_credentials() {
        let cases = [
            // text, shown, asked at
            (
                "http://127.0.0.1:8000/v1",
                "http://127.0.0.1:8000/v1",
                "http://127.0.0.1:8000/v1/chat/completions",
            ),
            (
                "http://127.0.0.1:8000/v1/",
                "http://127.0.0.1:8000/v1",
                "http://127.0.0.1:8000/v1/chat/completions",
            ),
            ("https://example.com", "https://example.com", "https://example.com/chat/completions"),
            (
                "https://example.com/v1/chat/completions/",
                "https://example.com/v1/chat/completions",
                "https://example.com/v1/chat/completions",
            ),
            (
                " https://me:hunter2@example.com/v1?key=hunter2#hunter2 ",
                "https://example.com/v1",
                "https://me:hunter2@example.com/v1/chat/completions?key=hunter2",
            ),
            ("http://[::1]:8000/v1", "http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
        ];
        for (text, shown, asked_at) in cases {
            let url: EndpointUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(url.join("/chat/completions").as_str(), asked_at);
        }
        for (text, expected) in [
            ("", EndpointUrlError::NotAnAddress),
            ("127.0.0.1:8000", EndpointUrlError::NotAnAddress),
            ("localhost:8000/v1", EndpointUrlError::Scheme),
            ("file:///etc/passwd", EndpointUrlError::Scheme),
            ("http://", EndpointUrlError::NotAnAddress),
        ] {
            assert_eq!(text.parse::<EndpointUrl>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (text, local) in [
            ("http://127.0.0.1:1/v1", true),
            ("http://127.1.2.3/v1", true),
            ("http://localhost:1", true),
            ("http://[::1]:1", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(text.parse::<EndpointUrl>().unwrap().is_local(), local, "{text}");
        }
    }

    #[test]
    fn newer_openai_models_are_asked_their_way() {
        let cases = [
            ("openai", "gpt-4o-2024-08-06", TokenField::MaxTokens),
            ("openai", "gpt-4.1-mini", TokenField::MaxTokens),
            ("openai", "o3-mini", TokenField::MaxCompletionTokens),
            ("openai", "gpt-5-nano", TokenField::MaxCompletionTokens),
            ("openai", "gpt-5.2", TokenField::MaxCompletionTokens),
            ("openai", "ft:gpt-4o:me::x", TokenField::MaxTokens),
            ("openai", "omni-moderation", TokenField::MaxTokens),
            ("openrouter", "gpt-5", TokenField::MaxTokens),
        ];
        for (name, model, expected) in cases {
            let endpoint = Endpoint::of_provider(provider(name).unwrap(), model).unwrap();
            assert_eq!(endpoint.token_field, expected, "{name}/{model}");
        }
    }
}
