//! Data and scripts within a page: what a browser takes as data stays data, and nothing but the page's own script runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// JSON that no HTML parser can take for anything but text: within a string, what could end the element or begin
/// another is written as an escape.
pub(crate) fn json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(inert(&serde_json::to_string(value)?))
}

/// JSON text, made inert.
pub(crate) fn inert(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 16);
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A block of data. Browsers do not run it, and the content security policy does not concern it.
pub(crate) fn data_block(id: &str, json: &str) -> Markup {
    html! { script type="application/json" id=(id) { (PreEscaped(json)) } }
}

/// A directive's source for exactly this text.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// The policy of a page with one style sheet and one script: nothing is loaded, nothing is sent, and no other script or
/// style counts, wherever it came from.
pub(crate) fn policy(style: &str, script: &str) -> String {
    format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        source(script),
        source(style)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_end_its_element_and_reads_back_as_it_was() {
        let hostile = "</script><script>alert(1)</script><!-- ]]> & \u{2028}\u{2029}\0\u{1b}[31m\u{202e}\"\\";
        let text = json(&[hostile]).unwrap();
        assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\0']), "{text}");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, [hostile]);
    }

    #[test]
    fn the_policy_names_the_script_by_its_hash() {
        // printf 'a' | openssl dgst -sha256 -binary | base64
        let policy = policy("", "a");
        assert!(
            policy.contains("script-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"));
    }
}
