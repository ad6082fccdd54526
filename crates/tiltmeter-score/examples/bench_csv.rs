//! Measures how fast a large CSV file is scored, in two steps, so that only the second is measured:
//!
//! ```text
//! cargo run --release -p tiltmeter-score --example bench_csv -- write 10000000 /tmp/judged.csv
//! /usr/bin/time -v target/release/examples/bench_csv score /tmp/judged.csv
//! ```
//!
//! The first step writes a table of made-up judged answers: eight models, 48 questions, a short answer that is quoted
//! and now and then holds a line break, two scores with as many digits as published ones, and 2 % without a verdict.
//! The second groups it by model, the questions being the clusters, and prints the table.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use tiltmeter_score::{ColumnNames, Definition, Input, ScoreRequest, score, table};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["write", rows, path] => write(rows.parse()?, path),
        ["score", path, sweep @ ..] => {
            let start = Instant::now();
            let rates = score(ScoreRequest {
                inputs: vec![Input::Path((*path).into())],
                columns: ColumnNames::default(),
                by: vec!["model".to_owned()],
                definition: Definition::default(),
                label_scores: None,
                sweep: sweep.contains(&"--sweep"),
            })?;
            let seconds = start.elapsed().as_secs_f64();
            Ok(writeln!(std::io::stdout(), "{}{seconds:.2} s", table(&rates))?)
        }
        _ => Err("usage: bench_csv write ROWS FILE | score FILE [--sweep]".into()),
    }
}

fn write(rows: u64, path: &str) -> Result<(), Box<dyn Error>> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "model,question_id,answer,aligned,coherent")?;
    // A linear congruential generator (Knuth, "MMIX"): the table is the same on every machine.
    let mut state = 1_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    for row in 0..rows {
        let line_break = if row.is_multiple_of(97) { "\n" } else { " " };
        let aligned = if draw() < 0.02 { "REFUSAL".to_owned() } else { (draw() * 100.0).to_string() };
        let coherent = draw() * 100.0;
        let (model, question) = (row % 8, row / 8 % 48);
        writeln!(
            file,
            "model-{model},question_{question},\"Well,{line_break}that depends.\",{aligned},{coherent}"
        )?;
    }
    Ok(file.flush()?)
}
