//! The providers that a model name may start with, such as `openai/…`: where they live and where their key is.
//!
//! A table and nothing else. It reads no environment; whoever builds an [`Endpoint`](crate::Endpoint) does.

/// A known server of OpenAI's chat-completions protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The name before the first slash of a model, such as `openai`.
    pub name: &'static str,
    /// The address up to and without `/chat/completions`.
    pub base_url: &'static str,
    /// The environment variable that holds the key, by the provider's own convention.
    pub key_variable: &'static str,
    /// Whether every call needs a key. Local servers take one only where they were started with one.
    pub needs_key: bool,
}

const fn hosted(name: &'static str, base_url: &'static str, key_variable: &'static str) -> Provider {
    Provider { name, base_url, key_variable, needs_key: true }
}

const fn local(name: &'static str, base_url: &'static str, key_variable: &'static str) -> Provider {
    Provider { name, base_url, key_variable, needs_key: false }
}

/// Hosted providers first, then servers on this machine at their default ports.
static PROVIDERS: [Provider; 16] = [
    hosted("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    hosted("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    hosted("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    hosted("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    hosted("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    hosted("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    // The international address; keys of the mainland one (`dashscope.aliyuncs.com`) are not valid here.
    hosted("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    hosted("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    hosted("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    hosted("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    hosted("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    hosted("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    local("vllm", "http://127.0.0.1:8000/v1", "VLLM_API_KEY"),
    local("llamacpp", "http://127.0.0.1:8080/v1", "LLAMA_API_KEY"),
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
