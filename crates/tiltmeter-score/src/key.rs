//! The values of the grouping columns of a row as one string of bytes, which is what a row's group is looked up by.

/// Builds keys in one buffer.
#[derive(Debug, Default)]
pub(crate) struct KeyBuilder(Vec<u8>);

impl KeyBuilder {
    /// Starts a new key.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a value. Its length goes first, so that ("ab", "c") and ("a", "bc") differ.
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value);
    }

    /// The key so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The values of a key, as text.
pub(crate) fn values(mut key: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    while let Some((length, rest)) = key.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((value, rest)) = rest.split_at_checked(length) else { break };
        values.push(String::from_utf8_lossy(value).into_owned());
        key = rest;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_gives_its_values_back(parts in prop::collection::vec(".*", 0..5)) {
            let mut builder = KeyBuilder::default();
            builder.push(b"left over");
            builder.clear();
            for part in &parts {
                builder.push(part.as_bytes());
            }
            prop_assert_eq!(values(builder.bytes()), parts);
        }
    }
}
