//! Fixtures and comparisons that all tests share.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use tiltmeter_stats::ClusterCount;

pub(crate) fn fixture<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let rows: Vec<T> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(!rows.is_empty(), "{name}");
    rows
}

pub(crate) fn assert_relative(actual: f64, expected: f64, tolerance: f64, what: &str) {
    assert!(
        (actual - expected).abs() <= tolerance * expected.abs(),
        "{what}: {actual} instead of {expected}"
    );
}

pub(crate) fn assert_absolute(actual: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((actual - expected).abs() <= tolerance, "{what}: {actual} instead of {expected}");
}

pub(crate) fn clusters(counts: &[(u64, u64)]) -> Vec<ClusterCount> {
    counts.iter().map(|&(successes, trials)| ClusterCount { successes, trials }).collect()
}
