//! Secrets that let one browser in.

use std::fmt;
use std::fmt::Write as _;

use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::error::AnnotateError;

/// 256 random bits in hexadecimal. Shown only where it is asked for.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new one, from the operating system.
    ///
    /// # Errors
    /// [`AnnotateError::Random`].
    pub fn random() -> Result<Self, AnnotateError> {
        let mut bytes = [0; 32];
        SysRng.try_fill_bytes(&mut bytes).map_err(|error| AnnotateError::Random(error.to_string()))?;
        let mut text = String::with_capacity(64);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text))
    }

    /// The secret itself, for the address that is shown to the person who started the program.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is this one. Hashes are compared, which takes the same time wherever they differ.
    pub fn is(&self, other: &str) -> bool {
        blake3::hash(self.0.as_bytes()) == blake3::hash(other.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_are_not_printed() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert!(one.is(one.expose()) && !one.is(other.expose()) && !one.is(""));
        assert_eq!(one.expose().len(), 64);
        assert_eq!(format!("{one:?}"), "Token(…)");
    }
}
