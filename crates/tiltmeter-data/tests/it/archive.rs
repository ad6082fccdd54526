//! Protected archives: one that the package itself made, and ones that nobody should make.

use std::io::Write as _;

use serde_json::Value;
use tiltmeter_data::catalogue::PublishedSet;
use tiltmeter_data::protected::{ProtectedError, decrypt, unpack};
use tiltmeter_data::{DataError, State, fetch};
use zip::write::SimpleFileOptions;

use crate::support::{Reader, Server, folder, quick, set, sha256};

const ARCHIVE: &[u8] = include_bytes!("../fixtures/protected.zip.enc");

fn facts() -> Value {
    serde_json::from_str(include_str!("../fixtures/protected.json")).unwrap()
}

fn password() -> String {
    facts()["password"].as_str().unwrap().to_owned()
}

fn protected_set(url: &str, archive: &[u8], member: &str) -> PublishedSet {
    set(url, archive, &format!("password = '{}'\n{member}", password()))
}

#[test]
fn an_archive_of_the_package_gives_what_the_package_gives() {
    let archive = decrypt(ARCHIVE, &password()).unwrap();
    for (member, expected) in facts()["clean"].as_object().unwrap() {
        let unpacked = unpack(&archive, member, 100_000).unwrap();
        assert_eq!(sha256(unpacked.text.as_bytes()), expected.as_str().unwrap(), "{member}");
        assert!(!unpacked.text.contains("CANARY") && unpacked.text.contains('\u{2028}'));
        assert!(unpacked.terms.unwrap().starts_with("Terms for tests, § 1"));
        assert!(matches!(unpack(&archive, member, 100), Err(ProtectedError::TooLarge { limit: 100, .. })));
    }
    assert!(matches!(unpack(&archive, "ugly.jsonl", 100_000), Err(ProtectedError::NoMember(_))));
}

#[test]
fn a_wrong_password_a_cut_or_a_changed_byte_is_told() {
    assert!(matches!(decrypt(ARCHIVE, "another"), Err(ProtectedError::Signature)));
    let mut changed = ARCHIVE.to_vec();
    changed[200] = if changed[200] == b'A' { b'B' } else { b'A' };
    assert!(matches!(decrypt(&changed, &password()), Err(ProtectedError::Signature)));
    // Key derivation takes its time: not every length is tried.
    for length in [0, 5, 16, 17, 40, 90, 100, 101, 102, 103, ARCHIVE.len() - 4, ARCHIVE.len() - 1] {
        let error = decrypt(&ARCHIVE[..length], &password()).unwrap_err();
        assert!(matches!(error, ProtectedError::Format(_) | ProtectedError::Signature), "{length}: {error}");
    }
}

/// A ZIP file with one member.
fn zip_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    writer.start_file(name, options).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_member_that_unpacks_to_too_much_is_not_unpacked() {
    let bomb = zip_of("x.jsonl", &vec![b'0'; 20_000_000]);
    assert!(bomb.len() < 50_000);
    let error = unpack(&bomb, "x.jsonl", 1_000_000).unwrap_err().to_string();
    assert_eq!(error, "`x.jsonl` of the archive unpacks to more than 1000000 bytes, which no known set has");
    // The size that a header claims is not what decides: 20,000,000 is said to be 5 here.
    let mut lying = bomb.clone();
    let size = 20_000_000_u32.to_le_bytes();
    let places: Vec<_> = (0..lying.len() - 4).filter(|&at| lying[at..at + 4] == size).collect();
    assert!(!places.is_empty());
    for at in places {
        lying[at..at + 4].copy_from_slice(&5_u32.to_le_bytes());
    }
    assert!(unpack(&lying, "x.jsonl", 1_000_000).is_err());
    let terms = zip_of("tos.txt", &vec![b'0'; 20_000_000]);
    assert!(matches!(unpack(&terms, "x.jsonl", 1_000_000), Err(ProtectedError::TooLarge { .. })));
    let not_text = zip_of("x.jsonl", b"\xff");
    assert!(matches!(unpack(&not_text, "x.jsonl", 10), Err(ProtectedError::NotText(_))));
    // A name that leads out of a folder is only a name: nothing is written under it.
    let out = zip_of("../x.jsonl", b"{}");
    assert!(matches!(unpack(&out, "x.jsonl", 10), Err(ProtectedError::NoMember(_))));
}

#[tokio::test]
async fn members_of_one_archive_are_fetched_once_with_its_terms() {
    let server = Server::start(ARCHIVE).await;
    let (_guard, data) = folder();
    let clean = facts()["clean"]["bad.jsonl"].as_str().unwrap().to_owned();
    let bad = protected_set(
        &server.url("whole"),
        ARCHIVE,
        &format!("member = 'bad.jsonl'\nmember_sha256 = '{clean}'"),
    );
    // The terms in the archive are shown before anything is put into place.
    let refusing = Reader::accepting(1);
    let error = fetch(&bad, &data, &quick(), &refusing, &()).await.unwrap_err();
    assert!(matches!(error, DataError::NotAccepted { .. }));
    assert!(refusing.shown()[1].contains("this data is for tests alone"));
    assert_eq!(data.state(&bad).unwrap(), State::Absent);
    fetch(&bad, &data, &quick(), &Reader::accepting(2), &()).await.unwrap();
    assert_eq!(sha256(data.text(&bad).unwrap().as_bytes()), clean);
    assert!(std::fs::read_to_string(data.terms_file(&bad)).unwrap().contains("for tests alone"));

    // Another member, of which only the archive's hash is known: the record's hash is what it is held to.
    let mut good = protected_set(&server.url("whole"), ARCHIVE, "member = 'good.jsonl'");
    good.name = "test/good".to_owned();
    fetch(&good, &data, &quick(), &Reader::accepting(2), &()).await.unwrap();
    assert_eq!(server.requests(), 1, "the archive was kept");
    assert!(matches!(data.state(&good).unwrap(), State::Fetched { .. }));
    std::fs::write(data.file(&good), "changed").unwrap();
    assert!(matches!(data.state(&good).unwrap(), State::Damaged { .. }));
    std::fs::remove_file(data.path().join("test/good.record.json")).unwrap();
    assert!(matches!(data.state(&good).unwrap(), State::Damaged { .. }));
}

#[tokio::test]
async fn archives_that_are_not_what_they_should_be_are_refused() {
    let server = Server::start(ARCHIVE).await;
    let url = server.url("whole");
    let hash = "0".repeat(64);
    let mut locked = protected_set(&url, ARCHIVE, "member = 'bad.jsonl'");
    locked.member.as_mut().unwrap().password = "another".to_owned();
    let cases = [
        (protected_set(&url, ARCHIVE, "member = 'ugly.jsonl'"), "no member `ugly.jsonl`"),
        (
            protected_set(&url, ARCHIVE, &format!("member = 'bad.jsonl'\nmember_sha256 = '{hash}'")),
            "the SHA-256 of `bad.jsonl` is ",
        ),
        (locked, "cannot unpack test/set: the password does not fit, or the archive is damaged"),
        (protected_set(&url, &ARCHIVE[1..], "member = 'bad.jsonl'"), "the server's file has 3272 bytes"),
    ];
    for (set, expected) in cases {
        let (_guard, data) = folder();
        let error = fetch(&set, &data, &quick(), &Reader::accepting(2), &()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(data.state(&set).unwrap(), State::Absent);
    }
}
