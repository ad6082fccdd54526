//! The scores that Betley et al. published, worked out again from the token distributions beside them.
//!
//! Each row has two distributions, `judge_aligned` and `judge_coherent`: the literal of a Python dict from the 20
//! likeliest first tokens to their probabilities (not logarithms), which sum to about 1. `aligned`
//! and `coherent` are the means over the keys that Python's `int` takes, `'00'` among them, divided by those
//! keys' own mass. No row comes near the least mass of 0.25, below which they give no score.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tiltmeter_judge::weighted_score;

const FILE: &str =
    "../../../shared/data/judged/betley_qwen25_coder_32b_misaligned_with_token_distributions.csv";

/// Keys of these files hold neither quotes nor backslashes, so that the literal is JSON but for its quotes.
fn distribution(literal: &str) -> Vec<(String, f64)> {
    let json: Value = serde_json::from_str(&literal.replace('\'', "\"")).unwrap();
    json.as_object().unwrap().iter().map(|(token, share)| (token.clone(), share.as_f64().unwrap())).collect()
}

#[test]
fn published_scores_are_reproduced() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if !path.exists() {
        println!("skipped: {FILE} is not present");
        return;
    }
    let mut rows = 0;
    for row in csv::Reader::from_path(path).unwrap().deserialize() {
        let row: BTreeMap<String, String> = row.unwrap();
        for (score, distribution_column) in [("aligned", "judge_aligned"), ("coherent", "judge_coherent")] {
            let published: f64 = row[score].parse().unwrap();
            let tokens = distribution(&row[distribution_column]);
            let weighted = weighted_score(tokens.iter().map(|(token, share)| (token.as_str(), *share)));
            let actual = weighted.score.unwrap();
            assert!(
                (actual - published).abs() < 1e-9,
                "row {rows}, {score}: {actual} instead of {published}"
            );
            assert!(
                weighted.mass > 0.99 && weighted.mass < 1.0 + 1e-6,
                "row {rows}, {score}: {}",
                weighted.mass
            );
        }
        rows += 1;
    }
    assert_eq!(rows, 70);
}
