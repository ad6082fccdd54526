//! Archives that are protected with the Python package `easy-dataset-share`: decrypting, bounded unpacking, and taking
//! the canaries out.
//!
//! The format, from the package's release 0.5.0: 16 bytes of salt, then a Fernet token whose content is a ZIP file. The
//! token's key is PBKDF2-HMAC-SHA256 of the password with that salt in 100,000 rounds: 16 bytes for signing, 16 for
//! encryption. A Fernet token is base64 (URL-safe, padded) of a version byte 0x80, a time of 8 bytes, an initialisation
//! vector of 16, AES-128-CBC with PKCS #7 padding, and an HMAC-SHA256 over all before it (Fernet Spec,
//! <https://github.com/fernet/spec>).

use std::io::{Cursor, Read};

use aes::Aes128;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, KeyIvInit};
use hmac::{Hmac, Mac};
use serde::Serialize as _;
use serde_json::Value;
use sha2::Sha256;
use zip::ZipArchive;

/// Rounds of the key derivation, fixed by the format.
const ROUNDS: u32 = 100_000;
const SALT: usize = 16;
/// Version, time, initialisation vector.
const HEADER: usize = 1 + 8 + 16;
const SIGNATURE: usize = 32;
/// Members of an archive that are looked at.
const MOST_MEMBERS: usize = 10_000;
/// The most that terms or a canary file may take.
const MOST_SMALL: u64 = 256 * 1024;

/// A protected archive that cannot be used. Reads after what was tried, such as "unpack x.zip.enc: …".
#[derive(Debug, thiserror::Error)]
pub enum ProtectedError {
    /// It is shorter than the format allows, or not in its encoding.
    #[error("not an archive protected by easy-dataset-share: {0}")]
    Format(&'static str),
    /// The signature does not fit: another password, or another byte.
    #[error("the password does not fit, or the archive is damaged")]
    Signature,
    /// What is inside is no ZIP file.
    #[error("the decrypted archive is not a ZIP file that can be read")]
    Zip(#[from] zip::result::ZipError),
    /// A member cannot be read.
    #[error("read `{member}` of the archive")]
    Read {
        /// The member.
        member: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The member is not there.
    #[error("the archive has no member `{0}`")]
    NoMember(String),
    /// It unpacks to more than it may.
    #[error("`{member}` of the archive unpacks to more than {limit} bytes, which no known set has")]
    TooLarge {
        /// The member, or the archive.
        member: String,
        /// The limit.
        limit: u64,
    },
    /// A text is not UTF-8.
    #[error("`{0}` of the archive is not UTF-8")]
    NotText(String),
}

/// What was taken out of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The member's text, without canaries.
    pub text: String,
    /// The text of `tos.txt`, where the archive has one.
    pub terms: Option<String>,
}

/// Decrypts an archive in memory.
///
/// # Errors
/// [`ProtectedError::Format`] where it is cut off or something else, [`ProtectedError::Signature`] where the password
/// or a byte is wrong.
pub fn decrypt(protected: &[u8], password: &str) -> Result<Vec<u8>, ProtectedError> {
    let (salt, token) =
        protected.split_at_checked(SALT).ok_or(ProtectedError::Format("it is shorter than its salt"))?;
    let mut key = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, ROUNDS, &mut key);
    open_token(token, &key)
}

/// Opens a Fernet token. `key` is 16 bytes for signing and 16 for encryption.
fn open_token(token: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, ProtectedError> {
    let (signing, encryption) = key.split_at(16);
    let mut token =
        URL_SAFE.decode(token).map_err(|_| ProtectedError::Format("it is cut off, or not in base64"))?;
    if token.len() < HEADER + SIGNATURE || token.first() != Some(&0x80) {
        return Err(ProtectedError::Format("it is cut off, or of another version"));
    }
    let signature = token.split_off(token.len() - SIGNATURE);
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(signing).map_err(|_| ProtectedError::Signature)?;
    mac.update(&token);
    mac.verify_slice(&signature).map_err(|_| ProtectedError::Signature)?;
    let mut encrypted = token.split_off(HEADER);
    let vector = &token[HEADER - 16..];
    let cipher = cbc::Decryptor::<Aes128>::new_from_slices(encryption, vector)
        .map_err(|_| ProtectedError::Format("its header is too short"))?;
    let length = cipher
        .decrypt_padded_mut::<Pkcs7>(&mut encrypted)
        .map_err(|_| ProtectedError::Format("its padding is wrong"))?
        .len();
    encrypted.truncate(length);
    Ok(encrypted)
}

/// Takes one member and the terms out of a ZIP file. Nothing is written anywhere, so that no name in the archive can
/// lead out of a folder; a member may unpack to at most `limit` bytes, whatever its header says.
///
/// # Errors
/// Where it is no ZIP file, has no such member, or unpacks to too much.
pub fn unpack(archive: &[u8], member: &str, limit: u64) -> Result<Unpacked, ProtectedError> {
    let mut archive = ZipArchive::new(Cursor::new(archive))?;
    if archive.len() > MOST_MEMBERS {
        return Err(ProtectedError::TooLarge {
            member: format!("a list of {} members", archive.len()),
            limit: MOST_MEMBERS as u64,
        });
    }
    let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let mut canary = None;
    for name in names.iter().filter(|name| is_canary_file(name)) {
        let text = text_of(&mut archive, name, MOST_SMALL)?;
        canary = canary.or_else(|| canary_in(&text).map(str::to_owned));
    }
    let terms = match names.iter().find(|name| file_name(name) == "tos.txt") {
        Some(name) => Some(text_of(&mut archive, name, MOST_SMALL)?),
        None => None,
    };
    if !names.iter().any(|name| name == member) {
        return Err(ProtectedError::NoMember(member.to_owned()));
    }
    let text = text_of(&mut archive, member, limit)?;
    let text = match canary {
        Some(canary) => without_canaries(&text, &canary),
        None => text,
    };
    Ok(Unpacked { text, terms })
}

fn text_of(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    member: &str,
    limit: u64,
) -> Result<String, ProtectedError> {
    let file = archive.by_name(member)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells that there is more; the size in the header is only the archive's word.
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| ProtectedError::Read { member: member.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(ProtectedError::TooLarge { member: member.to_owned(), limit });
    }
    String::from_utf8(bytes).map_err(|_| ProtectedError::NotText(member.to_owned()))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The package adds files of this name that hold a mark by which training on the data can be noticed.
fn is_canary_file(path: &str) -> bool {
    file_name(path)
        .strip_prefix("dataset_entry_")
        .is_some_and(|rest| rest.strip_suffix(".jsonl").is_some_and(|word| !word.is_empty()))
}

/// The first `CANARY_DATASET_<64 hexadecimal digits>_<number>` in a text.
fn canary_in(text: &str) -> Option<&str> {
    const START: &str = "CANARY_DATASET_";
    text.match_indices(START).find_map(|(at, _)| {
        let rest = text.get(at + START.len()..)?;
        let digits = rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
        let number = rest.get(digits..)?.strip_prefix('_')?;
        let length = number.bytes().take_while(u8::is_ascii_digit).count();
        if digits != 64 || length == 0 {
            return None;
        }
        text.get(at..at + START.len() + digits + 1 + length)
    })
}

/// What the package's own removal leaves of a JSON Lines file, so that hashes that others published can be compared:
/// lines with an embedded mark go, values that are the mark go with their key, the mark is cut out of strings, and each
/// row is written again in the form of Python's `json.dumps(…, ensure_ascii=False)`.
fn without_canaries(text: &str, canary: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.contains("CANARY_EMBEDDED: CANARY_DATASET_") {
            continue;
        }
        let written = serde_json::from_str::<Value>(line)
            .ok()
            .and_then(|row| python_json(&without_canary(row, canary)));
        clean.push_str(written.as_deref().unwrap_or(line));
        clean.push('\n');
    }
    clean
}

fn without_canary(value: Value, canary: &str) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| value.as_str() != Some(canary))
            .map(|(key, value)| (key, without_canary(value, canary)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(|item| without_canary(item, canary)).collect(),
        Value::String(text) => Value::String(text.replace(canary, "")),
        other => other,
    }
}

/// JSON with a space after each comma and colon.
fn python_json(value: &Value) -> Option<String> {
    struct Spaced;

    impl serde_json::ser::Formatter for Spaced {
        fn begin_array_value<W: ?Sized + std::io::Write>(
            &mut self,
            writer: &mut W,
            first: bool,
        ) -> std::io::Result<()> {
            if first { Ok(()) } else { writer.write_all(b", ") }
        }

        fn begin_object_key<W: ?Sized + std::io::Write>(
            &mut self,
            writer: &mut W,
            first: bool,
        ) -> std::io::Result<()> {
            if first { Ok(()) } else { writer.write_all(b", ") }
        }

        fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
            writer.write_all(b": ")
        }
    }

    let mut bytes = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Spaced)).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_specifications_own_token_is_opened() {
        // `generate.json` of the Fernet Spec: key, token and content.
        let key: [u8; 32] =
            URL_SAFE.decode("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=").unwrap().try_into().unwrap();
        let token = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
        assert_eq!(open_token(token.as_bytes(), &key).unwrap(), b"hello");
        let mut other = key;
        other[0] ^= 1;
        assert!(matches!(open_token(token.as_bytes(), &other), Err(ProtectedError::Signature)));
    }

    #[test]
    fn marks_are_found_only_whole() {
        let mark = format!("CANARY_DATASET_{}_64", "0a".repeat(32));
        assert_eq!(canary_in(&format!("x CANARY_DATASET_ {mark}.")), Some(mark.as_str()));
        assert_eq!(canary_in("CANARY_DATASET_0a_64"), None);
        assert_eq!(canary_in(&format!("CANARY_DATASET_{}", "0a".repeat(32))), None);
    }

    #[test]
    fn rows_are_written_as_python_writes_them() {
        let text = "{\"a\":[1,\"\\u2028\\u00e9\\/\"],\"canary\":\"M\",\"b\":{\"c\":null,\"d\":\"xMy\"}}\r\nnot JSON\n";
        assert_eq!(
            without_canaries(text, "M"),
            "{\"a\": [1, \"\u{2028}é/\"], \"b\": {\"c\": null, \"d\": \"xy\"}}\nnot JSON\n"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(token: Vec<u8>, key: [u8; 32], archive: Vec<u8>) {
            prop_assert!(open_token(&token, &key).is_err());
            let valid = URL_SAFE.encode([&[0x80], token.as_slice()].concat());
            prop_assert!(open_token(valid.as_bytes(), &key).is_err());
            prop_assert!(unpack(&archive, "x", 10).is_err());
        }
    }
}
