//! The shape of a model, as the `config.json` of a published folder states it.
//!
//! Names and defaults are those of the `transformers` library, which the published files are written for. What would
//! change the results and is not computed here is refused.

use serde_json::Value;

use super::config::{
    Config, Family, Heads, LARGEST_SIZE, LARGEST_VOCABULARY, LONGEST_CONTEXT, MOST_LAYERS, Pairs,
    RotaryScaling, refuse,
};
use crate::compute::single;
use crate::gguf::GgufError;

/// Head width of Qwen 3 where nothing is said.
const QWEN_3_HEAD_WIDTH: usize = 128;

/// Base of the rotary embedding where nothing is said.
const ROTARY_BASE: f64 = 10_000.0;

/// An object of the file, and its name for messages.
struct Entries<'a> {
    object: &'a Value,
    place: &'a str,
}

impl Entries<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}{name} (config.json)", self.place)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn size(&self, name: &str, most: usize) -> Result<Option<usize>, GgufError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64().and_then(|size| usize::try_from(size).ok()) {
            Some(size) if (1..=most).contains(&size) => Ok(Some(size)),
            _ => refuse(&self.key(name), format!("is {}; from 1 to {most} is supported", shown(value))),
        }
    }

    fn needed(&self, name: &str, most: usize) -> Result<usize, GgufError> {
        match self.size(name, most)? {
            Some(size) => Ok(size),
            None => refuse(&self.key(name), "is missing".to_owned()),
        }
    }

    fn positive(&self, name: &str, default: Option<f64>) -> Result<f64, GgufError> {
        let number = match self.get(name) {
            Some(value) => value.as_f64(),
            None if default.is_none() => return refuse(&self.key(name), "is missing".to_owned()),
            None => default,
        };
        match number {
            Some(number) if number > 0.0 && number.is_finite() => Ok(number),
            _ => refuse(&self.key(name), "is not a positive number".to_owned()),
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, GgufError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_bool() {
            Some(flag) => Ok(Some(flag)),
            None => refuse(&self.key(name), "is neither true nor false".to_owned()),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&str>, GgufError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_str() {
            Some(text) => Ok(Some(text)),
            None => refuse(&self.key(name), "is not a text".to_owned()),
        }
    }
}

/// A value in a message, however long it is.
fn shown(value: &Value) -> String {
    const MOST: usize = 40;
    let text = value.to_string();
    if text.chars().count() > MOST { text.chars().take(MOST).chain(['…']).collect() } else { text }
}

/// Whether the output shares the embedding's weights, where the file says so.
pub(crate) fn is_tied(config: &Value) -> Option<bool> {
    config.get("tie_word_embeddings").and_then(Value::as_bool)
}

impl Config {
    /// Reads the object in `config.json`.
    pub(crate) fn from_hub(config: &Value) -> Result<Self, GgufError> {
        let entries = Entries { object: config, place: "" };
        let model_type = entries.text("model_type")?.unwrap_or("");
        let Some(family) = Family::of(model_type) else {
            let reason = format!("is `{model_type}`; llama, qwen2 and qwen3 are supported");
            return refuse(&entries.key("model_type"), reason);
        };
        refuse_variants(&entries, family)?;
        let width = entries.needed("hidden_size", LARGEST_SIZE)?;
        let fixed = (family == Family::Qwen3).then_some(QWEN_3_HEAD_WIDTH);
        let (heads, key_value_heads, head_width) = Heads {
            width,
            queries: (
                entries.needed("num_attention_heads", LARGEST_SIZE)?,
                "num_attention_heads (config.json)",
            ),
            key_values: (
                entries.size("num_key_value_heads", LARGEST_SIZE)?,
                "num_key_value_heads (config.json)",
            ),
            length: (entries.size("head_dim", LARGEST_SIZE)?.or(fixed), "head_dim (config.json)"),
        }
        .checked()?;
        if !head_width.is_multiple_of(2) {
            return refuse(&entries.key("head_dim"), format!("is {head_width}, not even"));
        }
        let context = entries.needed("max_position_embeddings", LONGEST_CONTEXT)?;
        let (rotary_base, rotary_scaling) = rotary(&entries, context)?;
        Ok(Self {
            family,
            layers: entries.needed("num_hidden_layers", MOST_LAYERS)?,
            width,
            heads,
            key_value_heads,
            head_width,
            feed_forward: entries.needed("intermediate_size", LARGEST_SIZE)?,
            vocabulary: entries.needed("vocab_size", LARGEST_VOCABULARY)?,
            context: rotary_scaling.context(context),
            epsilon: single(entries.positive("rms_norm_eps", Some(1e-6))?),
            rotated: head_width,
            rotary_base,
            rotary_scaling,
            pairs: Pairs::Halves,
        })
    }
}

/// Settings of the families that are not computed here.
fn refuse_variants(entries: &Entries<'_>, family: Family) -> Result<(), GgufError> {
    let mut off = vec!["mlp_bias", "use_sliding_window"];
    if family != Family::Qwen2 {
        off.push("attention_bias");
    }
    for name in off {
        if entries.flag(name)? == Some(true) {
            return refuse(&entries.key(name), "is true, which is not supported".to_owned());
        }
    }
    if entries.get("quantization_config").is_some() {
        let reason = "says that the weights are quantised, which is supported in GGUF files only; use the \
                      repository of the full weights, or a GGUF file"
            .to_owned();
        return refuse(&entries.key("quantization_config"), reason);
    }
    if let Some(activation) = entries.text("hidden_act")?
        && !matches!(activation, "silu" | "swish")
    {
        return refuse(&entries.key("hidden_act"), format!("is `{activation}`; silu is supported"));
    }
    if let Some(factor) = entries.get("partial_rotary_factor")
        && factor.as_f64() != Some(1.0)
    {
        return refuse(&entries.key("partial_rotary_factor"), "is not 1, which is not supported".to_owned());
    }
    let kinds = entries.get("layer_types").and_then(Value::as_array).into_iter().flatten();
    if let Some(kind) = kinds.filter_map(Value::as_str).find(|kind| *kind != "full_attention") {
        let reason = format!("names `{}`; full_attention is supported", kind.escape_debug());
        return refuse(&entries.key("layer_types"), reason);
    }
    Ok(())
}

/// The base of the rotary embedding and how it is stretched, in the form of either major version of the library, or in
/// both where they say the same.
fn rotary(entries: &Entries<'_>, context: usize) -> Result<(f64, RotaryScaling), GgufError> {
    let base = entries.get("rope_theta").map(|_| entries.positive("rope_theta", None)).transpose()?;
    let mut said: Option<(f64, RotaryScaling)> = None;
    for (name, place) in [("rope_parameters", "rope_parameters."), ("rope_scaling", "rope_scaling.")] {
        let Some(object) = entries.get(name) else { continue };
        let new = stretched(&Entries { object, place }, base.or(said.map(|(base, _)| base)), context)?;
        if said.as_ref().is_some_and(|said| *said != new) {
            return refuse(&entries.key(name), "contradicts `rope_parameters`; keep one of them".to_owned());
        }
        said = Some(new);
    }
    Ok(said.unwrap_or((base.unwrap_or(ROTARY_BASE), RotaryScaling::None)))
}

/// What one object says, where the file states this base beside it.
fn stretched(
    scaling: &Entries<'_>,
    base: Option<f64>,
    context: usize,
) -> Result<(f64, RotaryScaling), GgufError> {
    let own = scaling.positive("rope_theta", Some(base.unwrap_or(ROTARY_BASE)))?;
    if base.is_some_and(|base| base.to_bits() != own.to_bits()) {
        return refuse(&scaling.key("rope_theta"), "contradicts `rope_theta`; keep one of them".to_owned());
    }
    let base = own;
    let (key, old) = (scaling.text("rope_type")?, scaling.text("type")?);
    if key.is_some() && old.is_some() && key != old {
        return refuse(&scaling.key("type"), "contradicts `rope_type`; keep one of them".to_owned());
    }
    let key = if key.is_some() { "rope_type" } else { "type" };
    let factor = || scaling.positive("factor", None);
    let original =
        || scaling.positive("original_max_position_embeddings", Some(context as f64)).map(|it| it.max(1.0));
    let kind = match scaling.text(key)?.unwrap_or("default") {
        "default" => RotaryScaling::None,
        "linear" => RotaryScaling::Linear { factor: factor()? },
        "llama3" => RotaryScaling::Llama3 {
            factor: factor()?,
            low: scaling.positive("low_freq_factor", None)?,
            high: scaling.positive("high_freq_factor", None)?,
            original: original()?,
        },
        "yarn" => {
            for name in ["mscale", "mscale_all_dim"] {
                if scaling.get(name).is_some() {
                    return refuse(&scaling.key(name), "is given, which is not supported".to_owned());
                }
            }
            if scaling.flag("truncate")? == Some(false) {
                return refuse(&scaling.key("truncate"), "is false, which is not supported".to_owned());
            }
            let factor = factor()?;
            let amplitude = RotaryScaling::yarn_amplitude(factor);
            RotaryScaling::Yarn {
                factor,
                fast: scaling.positive("beta_fast", Some(32.0))?,
                slow: scaling.positive("beta_slow", Some(1.0))?,
                original: original()?,
                amplitude: scaling.positive("attention_factor", Some(amplitude))?,
            }
        }
        other => {
            let reason =
                format!("is `{}`; default, linear, llama3 and yarn are supported", other.escape_debug());
            return refuse(&scaling.key(key), reason);
        }
    };
    Ok((base, kind))
}
