//! JSON as Python's `json` writes it.

/// Python writes NaN and Infinity bare, which is not JSON: the first means nothing is there, the second is kept as a
/// string so that it is found to be no score. `None`: the line holds neither.
pub fn without_bare_words(line: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [(&[u8], &[u8]); 3] =
        [(b"NaN", b"null"), (b"-Infinity", b"\"-Infinity\""), (b"Infinity", b"\"Infinity\"")];
    let mut text = Vec::with_capacity(line.len() + 16);
    let mut rest = line;
    let (mut quoted, mut replaced) = (false, false);
    while let Some((&byte, after)) = rest.split_first() {
        if !quoted && let Some((word, other)) = WORDS.iter().find(|(word, _)| rest.starts_with(word)) {
            text.extend_from_slice(other);
            rest = rest.get(word.len()..).unwrap_or_default();
            replaced = true;
            continue;
        }
        text.push(byte);
        rest = after;
        match (byte, rest.split_first()) {
            (b'\\', Some((&escaped, after))) if quoted => {
                text.push(escaped);
                rest = after;
            }
            (b'"', _) => quoted = !quoted,
            _ => {}
        }
    }
    replaced.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_words_are_replaced_outside_strings_alone() {
        let cases = [
            (r#"{"a": NaN, "b": "NaN \" NaN"}"#, Some(r#"{"a": null, "b": "NaN \" NaN"}"#)),
            (r#"{"a": -Infinity, "b": Infinity}"#, Some(r#"{"a": "-Infinity", "b": "Infinity"}"#)),
            (r#"{"a": "NaN"}"#, None),
            (r#"{"a": "\\", "b": NaN}"#, Some(r#"{"a": "\\", "b": null}"#)),
        ];
        for (line, expected) in cases {
            assert_eq!(
                without_bare_words(line.as_bytes()),
                expected.map(|text| text.as_bytes().to_vec()),
                "{line}"
            );
        }
    }
}
