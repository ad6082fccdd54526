//! The log as a whole: written, rotated, verified, tampered with, without room.

use std::path::Path;

use proptest::prelude::*;
use secrecy::SecretString;
use tempfile::TempDir;

use super::super::file::{self, LogFile};
use super::super::verify;
use super::*;

const KEEPING: Keeping = Keeping { file_bytes: 1 << 30, keep_files: None };

fn entry(request: &str) -> Entry {
    Entry::new("decision", request, json!({ "text": "x".repeat(300) }).to_string())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn fill(folder: &Path, keeping: Keeping, count: usize, key: Option<&SecretString>) {
    let mut log = Log::open(folder, Chain::new(key), keeping).unwrap();
    let entries: Vec<Entry> = (0..count).map(|index| entry(&index.to_string())).collect();
    for group in entries.chunks(20) {
        log.commit(&group.iter().collect::<Vec<_>>()).unwrap();
    }
}

#[test]
fn records_are_chained_across_files_and_starts() {
    let folder = TempDir::new().unwrap();
    for _ in 0..3 {
        fill(folder.path(), Keeping { file_bytes: 40_000, keep_files: None }, 100, None);
    }
    let verified = verify(folder.path(), None, None).unwrap();
    assert_eq!((verified.records, verified.first, verified.last), (300, 1, 300));
    assert!(verified.files > 1, "{verified:?}");
    assert_eq!(verify(folder.path(), None, Some(&verified.head)).unwrap(), verified);
    // The newest file stands for its folder.
    let newest = folder.path().join(file::name(u32::try_from(verified.files).unwrap()));
    assert_eq!(verify(&newest, None, None).unwrap(), verified);
}

#[test]
fn what_retention_removes_is_recorded() {
    let folder = TempDir::new().unwrap();
    fill(folder.path(), Keeping { file_bytes: 40_000, keep_files: Some(2) }, 500, None);
    let verified = verify(folder.path(), None, None).unwrap();
    assert_eq!(verified.files, 2);
    assert!(verified.removed_files > 0 && verified.first > 1, "{verified:?}");
    // Somebody removes the older of the two as well.
    let first = file::numbers(folder.path()).unwrap()[0];
    std::fs::remove_file(folder.path().join(file::name(first))).unwrap();
    let error = verify(folder.path(), None, None).unwrap_err().to_string();
    assert!(error.contains(&format!("{} is missing, and no record says", file::name(first))), "{error}");
}

#[test]
fn a_keyed_chain_needs_its_secret() {
    let folder = TempDir::new().unwrap();
    let key = SecretString::from("a secret");
    fill(folder.path(), KEEPING, 3, Some(&key));
    verify(folder.path(), Some(&key), None).unwrap();
    assert!(matches!(verify(folder.path(), None, None), Err(AuditError::Keyed { is_keyed: true, .. })));
    let other = SecretString::from("another");
    assert!(matches!(verify(folder.path(), Some(&other), None), Err(AuditError::Broken { .. })));
    assert!(matches!(
        Log::open(folder.path(), Chain::new(Some(&other)), KEEPING),
        Err(AuditError::Broken { .. })
    ));
}

#[test]
fn one_process_writes() {
    let folder = TempDir::new().unwrap();
    let _open = Log::open(folder.path(), Chain::new(None), KEEPING).unwrap();
    assert!(matches!(Log::open(folder.path(), Chain::new(None), KEEPING), Err(AuditError::Locked(_))));
}

#[test]
fn an_end_that_is_cut_off_is_seen_by_whoever_kept_the_head() {
    let folder = TempDir::new().unwrap();
    fill(folder.path(), KEEPING, 5, None);
    let head = verify(folder.path(), None, None).unwrap().head;
    let file = LogFile::open(&folder.path().join(file::name(1))).unwrap();
    file.connection.execute("DELETE FROM record WHERE seq = 5", []).unwrap();
    drop(file);
    assert_eq!(verify(folder.path(), None, None).unwrap().last, 4);
    let error = verify(folder.path(), None, Some(&head)).unwrap_err().to_string();
    assert!(error.contains("the end of the log was cut off"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any change of any field of any record but the last one's deletion is found, and where.
    #[test]
    fn tampering_is_found(seq in 1_u64..20, change in 0_usize..8) {
        let folder = TempDir::new().unwrap();
        fill(folder.path(), KEEPING, 20, None);
        let path = folder.path().join(file::name(1));
        let file = LogFile::open(&path).unwrap();
        let statement = [
            "UPDATE record SET payload = payload || ' ' WHERE seq = ?1",
            "UPDATE record SET at = 'then' WHERE seq = ?1",
            "UPDATE record SET kind = 'outcome' WHERE seq = ?1",
            "UPDATE record SET request = 'other' WHERE seq = ?1",
            "UPDATE record SET hash = zeroblob(32) WHERE seq = ?1",
            "UPDATE record SET content_hash = zeroblob(32) WHERE seq = ?1",
            "DELETE FROM record WHERE seq = ?1",
            "INSERT INTO record SELECT -seq, at, kind, request, payload, content_hash, content, hash FROM record WHERE seq = ?1",
        ][change];
        file.connection.execute(statement, [i64::try_from(seq).unwrap()]).unwrap();
        drop(file);
        let error = verify(folder.path(), None, None).unwrap_err();
        prop_assert!(matches!(error, AuditError::Broken { .. }), "{error}");
        if change < 4 {
            prop_assert!(error.to_string().contains(&format!("record {seq} was changed")), "{error}");
        }
    }
}

#[test]
fn content_can_be_deleted_but_not_changed() {
    let folder = TempDir::new().unwrap();
    let mut log = Log::open(folder.path(), Chain::new(None), KEEPING).unwrap();
    log.commit(&[&Entry { content: Some(b"body".to_vec()), ..entry("a") }, &entry("b")]).unwrap();
    drop(log);
    let file = LogFile::open(&folder.path().join(file::name(1))).unwrap();
    file.connection.execute("UPDATE record SET content = x'00' WHERE seq = 1", []).unwrap();
    let error = verify(folder.path(), None, None).unwrap_err().to_string();
    assert!(error.contains("the content of record 1 was changed"), "{error}");
    file.connection.execute("UPDATE record SET content = NULL", []).unwrap();
    verify(folder.path(), None, None).unwrap();
}

#[test]
fn a_record_that_is_acknowledged_is_there() {
    let folder = TempDir::new().unwrap();
    let log = Log::open(folder.path(), Chain::new(None), KEEPING).unwrap();
    let audit = Audit::with(log, 8, AuditFailure::Refuse).unwrap();
    runtime().block_on(async {
        audit.write(entry("one")).await.unwrap();
        // Seen by another connection, while the writer goes on.
        let file = LogFile::open_to_read(&folder.path().join(file::name(1))).unwrap();
        assert!(file.find("decision", "one").unwrap().is_some());
        for index in 0..100 {
            audit.push(entry(&index.to_string())).await.unwrap();
        }
        audit.stop().await;
    });
    assert_eq!(verify(folder.path(), None, None).unwrap().records, 101);
}

/// Where there is no room, acknowledgement never comes, and the watch says so.
#[test]
fn without_room_nothing_is_acknowledged() {
    for policy in [AuditFailure::Refuse, AuditFailure::Count] {
        let folder = TempDir::new().unwrap();
        let log = Log::open(folder.path(), Chain::new(None), KEEPING).unwrap();
        log.limit_pages(8);
        let audit = Audit::with(log, 64, policy).unwrap();
        let watch = Arc::clone(audit.watch());
        let (mut acknowledged, mut refused) = (0, 0);
        runtime().block_on(async {
            for index in 0..400 {
                if watch.is_broken() {
                    break;
                }
                let write = audit.write(entry(&index.to_string()));
                match tokio::time::timeout(Duration::from_secs(2), write).await {
                    Ok(Ok(())) => acknowledged += 1,
                    _ => refused += 1,
                }
            }
            assert!(watch.is_broken());
            audit.stop().await;
        });
        assert_eq!(refused, 1);
        assert_eq!(watch.lost(), 1, "{policy:?}");
        assert_eq!(watch.written(), acknowledged);
        let verified = verify(folder.path(), None, None).unwrap();
        // Where there is room for that, the last record tells of the gap.
        assert_eq!(verified.records - u64::from(verified.lost > 0), acknowledged);
    }
}

#[test]
fn a_gap_is_recorded_once_there_is_room() {
    let folder = TempDir::new().unwrap();
    let log = Log::open(folder.path(), Chain::new(None), KEEPING).unwrap();
    let watch = Arc::new(AuditWatch::default());
    let mut writer =
        Writer { log, watch: Arc::clone(&watch), on_failure: AuditFailure::Count, unrecorded: 0 };
    let job = |name: &str| Job { entry: entry(name), since: Instant::now(), written: None };
    writer.log.limit_pages(5);
    let large = Entry::new("decision", "large", "x".repeat(1 << 20));
    assert_eq!(writer.write(vec![Job { entry: large, since: Instant::now(), written: None }, job("b")]), 2);
    assert!(watch.is_broken());
    writer.log.limit_pages(10_000);
    assert_eq!(writer.write(vec![job("c")]), 0);
    assert!(!watch.is_broken());
    drop(writer);
    let verified = verify(folder.path(), None, None).unwrap();
    assert_eq!((verified.records, verified.lost), (2, 2));
}
