//! The names of tensors in published folders, and in GGUF files, which the decoder goes by.

/// Parts of a layer: GGUF's name and the published one.
const PARTS: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
/// Tensors outside the layers.
const ENDS: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output.weight", "lm_head.weight"),
    ("output_norm.weight", "model.norm.weight"),
];

/// GGUF's name of a published tensor; itself where it has none.
pub(super) fn from_published(name: &str) -> String {
    if let Some((own, _)) = ENDS.iter().find(|(_, published)| *published == name) {
        return (*own).to_owned();
    }
    let of_layer = || {
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        // Only numbers as they are written by whoever publishes, so that no two names mean one tensor.
        let number: usize = layer.parse().ok().filter(|number: &usize| number.to_string() == layer)?;
        let (part, kind) = rest.rsplit_once('.')?;
        let (own, _) = PARTS.iter().find(|(_, published)| *published == part)?;
        Some(format!("blk.{number}.{own}.{kind}"))
    };
    of_layer().unwrap_or_else(|| name.to_owned())
}

/// The published name of a tensor that GGUF's name is given of.
pub(super) fn to_published(name: &str) -> String {
    if let Some((_, published)) = ENDS.iter().find(|(own, _)| *own == name) {
        return (*published).to_owned();
    }
    let of_layer = || {
        let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
        let (part, kind) = rest.rsplit_once('.')?;
        let (_, published) = PARTS.iter().find(|(own, _)| *own == part)?;
        Some(format!("model.layers.{layer}.{published}.{kind}"))
    };
    of_layer().unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_both_ways() {
        for (published, own) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("lm_head.weight", "output.weight"),
            ("model.norm.weight", "output_norm.weight"),
            ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
            ("model.layers.12.self_attn.q_proj.bias", "blk.12.attn_q.bias"),
            ("model.layers.3.self_attn.k_norm.weight", "blk.3.attn_k_norm.weight"),
            ("model.layers.3.mlp.down_proj.weight", "blk.3.ffn_down.weight"),
        ] {
            assert_eq!(from_published(published), own);
            assert_eq!(to_published(own), published);
        }
        for other in
            ["model.layers.x.mlp.up_proj.weight", "model.layers.01.mlp.up_proj.weight", "visual.x", ""]
        {
            assert_eq!(from_published(other), other);
        }
    }
}
