//! The providers that a model name may start with, such as `openai/…`: where they live, where their key is, and
//! which protocol they are asked in.
//!
//! A table and nothing else. It reads no environment; whoever builds an [`Endpoint`] does.

use std::sync::Arc;

use crate::anthropic::Anthropic;
use crate::endpoint::Endpoint;
use crate::error::ModelError;
use crate::gemini::Gemini;
use crate::openai_compatible::{Dialect, OpenAiCompatible};
use crate::openai_responses::OpenAiResponses;
use crate::request::ChatModel;

/// The protocol that a provider's models are asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's chat completions.
    ChatCompletions,
    /// OpenAI's Responses API.
    Responses,
    /// Gemini's own.
    Gemini,
    /// Anthropic's own.
    Anthropic,
}

impl Api {
    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat-completions",
            Self::Responses => "responses",
            Self::Gemini => "gemini",
            Self::Anthropic => "anthropic",
        }
    }

    /// A model that is asked in this protocol. Nothing is sent yet.
    ///
    /// # Errors
    /// As [`OpenAiCompatible::new`].
    pub fn open(self, endpoint: Endpoint) -> Result<Arc<dyn ChatModel>, ModelError> {
        Ok(match self {
            Self::ChatCompletions => Arc::new(OpenAiCompatible::new(endpoint)?),
            Self::Responses => Arc::new(OpenAiResponses::new(endpoint)?),
            Self::Gemini => Arc::new(Gemini::new(endpoint)?),
            Self::Anthropic => Arc::new(Anthropic::new(endpoint)?),
        })
    }
}

/// A known provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The name before the first slash of a model, such as `openai`.
    pub name: &'static str,
    /// The address up to and without what the protocol adds, such as `/chat/completions`.
    pub base_url: &'static str,
    /// The environment variable that holds the key, by the provider's own convention.
    pub key_variable: &'static str,
    /// Whether every call needs a key. Local servers take one only where they were started with one.
    pub needs_key: bool,
    /// The protocol that its models are asked in.
    pub api: Api,
    /// Whose way of asking it follows, where the protocol has several.
    pub dialect: Dialect,
}

const fn hosted(name: &'static str, base_url: &'static str, key_variable: &'static str) -> Provider {
    let (api, dialect) = (Api::ChatCompletions, Dialect::OpenAi);
    Provider { name, base_url, key_variable, needs_key: true, api, dialect }
}

const fn local(name: &'static str, base_url: &'static str, key_variable: &'static str) -> Provider {
    Provider { needs_key: false, ..hosted(name, base_url, key_variable) }
}

impl Provider {
    const fn asked_in(self, api: Api) -> Self {
        Self { api, ..self }
    }

    const fn speaking(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }
}

/// Hosted providers first, then servers on this machine at their default ports. Those whose name ends in
/// `-openai` are the same as without it, asked in OpenAI's protocol.
static PROVIDERS: [Provider; 19] = [
    hosted("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    hosted("openai-responses", "https://api.openai.com/v1", "OPENAI_API_KEY").asked_in(Api::Responses),
    hosted("gemini", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY")
        .asked_in(Api::Gemini),
    hosted("gemini-openai", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    hosted("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY").asked_in(Api::Anthropic),
    hosted("anthropic-openai", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY")
        .speaking(Dialect::Anthropic),
    hosted("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY").speaking(Dialect::OpenRouter),
    hosted("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    hosted("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY").speaking(Dialect::Moonshot),
    // The international address; keys of the mainland one (`dashscope.aliyuncs.com`) are not valid here.
    hosted("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY")
        .speaking(Dialect::DashScope),
    hosted("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY").speaking(Dialect::Together),
    hosted("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    hosted("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY").speaking(Dialect::DeepSeek),
    hosted("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    hosted("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    local("vllm", "http://127.0.0.1:8000/v1", "VLLM_API_KEY").speaking(Dialect::Vllm),
    local("llamacpp", "http://127.0.0.1:8080/v1", "LLAMA_API_KEY").speaking(Dialect::LlamaCpp),
    local("ollama", "http://127.0.0.1:11434/v1", "OLLAMA_API_KEY"),
    local("lmstudio", "http://127.0.0.1:1234/v1", "LM_API_TOKEN"),
];

/// The known providers, in table order.
pub fn providers() -> &'static [Provider] {
    &PROVIDERS
}

/// The provider of a name; `None` where the name is not known.
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::EndpointUrl;

    #[test]
    fn every_preset_is_usable() {
        let names: BTreeSet<_> = providers().iter().map(|provider| provider.name).collect();
        assert_eq!(names.len(), providers().len(), "names are unique");
        for preset in providers() {
            let url: EndpointUrl = preset.base_url.parse().unwrap();
            assert_eq!(url.to_string(), preset.base_url);
            assert_eq!(url.is_local(), !preset.needs_key, "{}", preset.name);
            assert_eq!(provider(preset.name), Some(preset));
        }
        assert_eq!(provider("OpenAI"), None);
    }
}
