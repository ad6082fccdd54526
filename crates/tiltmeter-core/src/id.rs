//! Content addresses.
//!
//! Everything that is stored is named by a hash of what determines it, so that running again finds what is
//! already there. The hash goes over a canonical form that is written field by field for this purpose
//! ([`Canonical`]), never over a serialisation that a library might change.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes the canonical form of a value into a hash: a domain tag, then length-prefixed fields.
///
/// Two values have the same hash exactly if the same fields were written in the same order. Each field is
/// prefixed by its kind and length, so that `("ab", "c")` and `("a", "bc")` differ.
pub struct Canonical {
    hasher: blake3::Hasher,
}

impl Canonical {
    /// Starts a canonical form. `domain` names what is hashed and its version, such as `tiltmeter.sample/1`.
    pub fn new(domain: &str) -> Self {
        let mut canonical = Self { hasher: blake3::Hasher::new() };
        canonical.write(b'd', domain.as_bytes());
        canonical
    }

    fn write(&mut self, kind: u8, bytes: &[u8]) {
        self.hasher.update(&[kind]);
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    /// Adds a text field.
    #[must_use]
    pub fn text(mut self, value: &str) -> Self {
        self.write(b't', value.as_bytes());
        self
    }

    /// Adds an optional text field; an absent one differs from an empty one.
    #[must_use]
    pub fn optional_text(mut self, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.write(b't', value.as_bytes()),
            None => self.write(b'n', &[]),
        }
        self
    }

    /// Adds a field of bytes.
    #[must_use]
    pub fn bytes(mut self, value: &[u8]) -> Self {
        self.write(b'b', value);
        self
    }

    /// Adds an integer field.
    #[must_use]
    pub fn integer(mut self, value: u64) -> Self {
        self.write(b'i', &value.to_le_bytes());
        self
    }

    /// Adds a number field, by its bits; negative zero counts as zero.
    #[must_use]
    pub fn number(mut self, value: f64) -> Self {
        let value = if value == 0.0 { 0.0 } else { value };
        self.write(b'f', &value.to_bits().to_le_bytes());
        self
    }

    /// Adds another content address.
    #[must_use]
    pub fn id(mut self, value: &ContentId) -> Self {
        self.write(b'h', &value.0);
        self
    }

    /// The first 128 bits of the BLAKE3 hash of all that was added.
    pub fn finish(self) -> ContentId {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.hasher.finalize().as_bytes()[..16]);
        ContentId(bytes)
    }
}

/// A content address: the first 128 bits of a BLAKE3 hash, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId([u8; 16]);

impl ContentId {
    /// Takes an id from its 16 bytes, as the store keeps it.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A seed for whoever answers, derived from the id: 31 bits, because some providers take `int32` only.
    pub fn request_seed(&self) -> u32 {
        u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]) & 0x7fff_ffff
    }

    /// A 64-bit seed for a local generator, derived from the id.
    pub fn generator_seed(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[8..]);
        u64::from_le_bytes(bytes)
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an id: expected 32 hexadecimal digits")]
pub struct ParseIdError(String);

impl std::str::FromStr for ContentId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.is_ascii() {
            return Err(ParseIdError(text.to_owned()));
        }
        u128::from_str_radix(text, 16)
            .map(|value| Self(value.to_be_bytes()))
            .map_err(|_| ParseIdError(text.to_owned()))
    }
}

impl Serialize for ContentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The SHA-like name of a whole text, such as a data set's file: used to say which version was read.
pub fn text_hash(text: &str) -> ContentId {
    Canonical::new("tiltmeter.text/1").text(text).finish()
}

/// The name of a whole file that is not text.
pub fn bytes_hash(bytes: &[u8]) -> ContentId {
    Canonical::new("tiltmeter.bytes/1").bytes(bytes).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let id = |a: &str, b: &str| Canonical::new("test/1").text(a).text(b).finish();
        assert_ne!(id("ab", "c"), id("a", "bc"));
        assert_ne!(
            Canonical::new("test/1").optional_text(None).finish(),
            Canonical::new("test/1").optional_text(Some("")).finish()
        );
        assert_eq!(Canonical::new("t").number(0.0).finish(), Canonical::new("t").number(-0.0).finish());
    }

    #[test]
    fn the_address_of_a_known_value_never_changes() {
        let id = Canonical::new("tiltmeter.test/1").text("context").integer(16).number(1.0).finish();
        assert_eq!(id.to_string().parse::<ContentId>().unwrap(), id);
        insta::assert_snapshot!(id, @"ed61844f2169589841b51061f2c1fd95");
    }

    #[test]
    fn a_broken_id_is_refused() {
        for text in ["", "abc", "zz000000000000000000000000000000", "é0000000000000000000000000000000"] {
            assert!(text.parse::<ContentId>().is_err(), "{text}");
        }
    }
}
