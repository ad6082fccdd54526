//! Differences of clustered rates, and rates corrected by the labels of several conditions, against numerical
//! derivatives and `scipy`.

use serde::Deserialize;
use tiltmeter_stats::compare::clustered_difference;
use tiltmeter_stats::correct::{JudgedRow, Label, rogan_gladen_pooled};
use tiltmeter_stats::{ClusterCount, Confidence};

use crate::support::{assert_absolute, fixture};

#[derive(Deserialize)]
struct DifferenceRow {
    first: Vec<(u64, u64)>,
    second: Vec<(u64, u64)>,
    level: f64,
    estimate: f64,
    low: f64,
    high: f64,
}

#[test]
fn clustered_differences_match_the_score_test_and_numerical_derivatives() {
    let clusters = |table: &[(u64, u64)]| -> Vec<ClusterCount> {
        table.iter().map(|&(successes, trials)| ClusterCount { successes, trials }).collect()
    };
    let rows = fixture::<DifferenceRow>("clustered_differences.json");
    assert_eq!(rows.len(), 8);
    for row in rows {
        let level = Confidence::new(row.level).unwrap();
        let result = clustered_difference(&clusters(&row.first), &clusters(&row.second), level).unwrap();
        let what = format!("{} clusters, level {}", row.first.len(), row.level);
        assert_absolute(result.estimate, row.estimate, 1e-12, &what);
        assert_absolute(result.low, row.low, 1e-9, &what);
        assert_absolute(result.high, row.high, 1e-9, &what);
    }
}

/// The judge's decision, the label, its inclusion probability, the cluster.
type Judged = (f64, Option<f64>, f64, u64);

#[derive(Deserialize)]
struct PooledRow {
    conditions: Vec<Vec<Judged>>,
    estimate: f64,
    error: f64,
    low: f64,
    high: f64,
}

#[test]
fn pooled_corrections_match_numerical_derivatives() {
    let condition = |rows: &Vec<Judged>| -> Vec<JudgedRow> {
        rows.iter()
            .map(|&(judged, truth, inclusion, cluster)| JudgedRow {
                judged,
                label: truth.map(|truth| Label { truth, inclusion }),
                cluster,
            })
            .collect()
    };
    let rows = fixture::<PooledRow>("rogan_gladen_pooled.json");
    assert_eq!(rows.len(), 3);
    for row in rows {
        let conditions: Vec<Vec<JudgedRow>> = row.conditions.iter().map(condition).collect();
        let others: Vec<&[JudgedRow]> = conditions[1..].iter().map(Vec::as_slice).collect();
        let result = rogan_gladen_pooled(&conditions[0], &others, Confidence::NINETY_FIVE).unwrap();
        let what = format!("{} conditions", conditions.len());
        assert_absolute(result.unclamped, row.estimate, 1e-9, &what);
        assert_absolute(result.standard_error, row.error, 1e-9, &what);
        assert_absolute(result.interval.low, row.low, 1e-9, &what);
        assert_absolute(result.interval.high, row.high, 1e-9, &what);
    }
}
