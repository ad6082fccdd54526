//! The chain: each record's hash holds that of the one before, so that none can be changed, left out or put in between
//! without all that follow being wrong.

use secrecy::{ExposeSecret as _, SecretString};

/// The hash that the first record of all follows.
pub(super) const GENESIS: [u8; 32] = [0; 32];

/// What is hashed, and its version.
const DOMAIN: &[u8] = b"tiltmeter.audit/1";

/// Hashes records, with a secret where there is one.
#[derive(Clone)]
pub(super) struct Chain {
    key: Option<[u8; 32]>,
}

/// What a record consists of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'a> {
    pub(super) seq: u64,
    pub(super) at: &'a str,
    pub(super) kind: &'a str,
    pub(super) request: &'a str,
    pub(super) payload: &'a str,
    /// The content's, so that the content can be deleted without breaking the chain.
    pub(super) content_hash: Option<[u8; 32]>,
}

impl Chain {
    pub(super) fn new(secret: Option<&SecretString>) -> Self {
        let derive = |secret: &SecretString| {
            blake3::derive_key("tiltmeter audit chain 1", secret.expose_secret().as_bytes())
        };
        Self { key: secret.map(derive) }
    }

    pub(super) fn is_keyed(&self) -> bool {
        self.key.is_some()
    }

    /// The hash of a record that follows one with the hash `previous`. Each field is preceded by its length.
    pub(super) fn hash(&self, previous: &[u8; 32], link: &Link<'_>) -> [u8; 32] {
        let mut hasher = self.key.as_ref().map_or_else(blake3::Hasher::new, blake3::Hasher::new_keyed);
        let seq = link.seq.to_le_bytes();
        let content = link.content_hash.as_ref().map_or(&[][..], |hash| &hash[..]);
        let fields: [&[u8]; 8] = [
            DOMAIN,
            previous,
            &seq,
            link.at.as_bytes(),
            link.kind.as_bytes(),
            link.request.as_bytes(),
            link.payload.as_bytes(),
            content,
        ];
        for field in fields {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_and_the_key_change_the_hash() {
        let link = Link { seq: 1, at: "t", kind: "k", request: "r", payload: "p", content_hash: None };
        let plain = Chain::new(None);
        let base = plain.hash(&GENESIS, &link);
        let others = [
            plain.hash(&[1; 32], &link),
            plain.hash(&GENESIS, &Link { seq: 2, ..link }),
            plain.hash(&GENESIS, &Link { at: "u", ..link }),
            plain.hash(&GENESIS, &Link { at: "tk", kind: "", ..link }),
            plain.hash(&GENESIS, &Link { request: "", ..link }),
            plain.hash(&GENESIS, &Link { payload: "", ..link }),
            plain.hash(&GENESIS, &Link { content_hash: Some([0; 32]), ..link }),
            Chain::new(Some(&SecretString::from("s"))).hash(&GENESIS, &link),
        ];
        for other in others {
            assert_ne!(base, other);
        }
        assert_eq!(base, plain.hash(&GENESIS, &link));
    }
}
