//! Two judges' columns of the same tables, compared.

use tiltmeter_agreement::{Agreement, DefinitionText, Ratings, SCHEMA};

use crate::error::ScoreError;
use crate::key;
use crate::rates::{BrokenRow, ScoreRequest, Tables, common_columns, sort};
use crate::tally::{LabelRule, Tally};

/// How far two judges agree, and the rows that could not be used.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The document.
    pub agreement: Agreement,
    /// The first 1,000 broken rows.
    pub broken_rows: Vec<BrokenRow>,
}

/// Reads all inputs and compares their alignment column with the one named as `against`.
///
/// # Errors
/// If a file cannot be read or a column cannot be told. Broken rows are no error: they are counted and listed.
pub fn compare_judges(request: ScoreRequest) -> Result<Compared, ScoreError> {
    let ScoreRequest { inputs, columns, by, definition, .. } = request;
    let shares_coherence = columns.against_coherence.is_none();
    let tally = Tally::new(definition, LabelRule::default(), None);
    let Tables { tally, files, by, warnings } = Tables::read(inputs, columns, by, tally)?;
    let used = common_columns(&files, &by);
    let judges = [used.alignment, used.against].map(Option::unwrap_or_default);
    let mut groups = tally
        .groups
        .iter()
        .map(|(key, group)| {
            let mut ratings = Ratings::new(judges.to_vec(), shares_coherence);
            for &(cluster, rated) in &group.rated {
                ratings.push(cluster, rated.map(Some));
            }
            Ok(ratings.agreement(by.iter().cloned().zip(key::values(key)).collect())?)
        })
        .collect::<Result<Vec<_>, ScoreError>>()?;
    sort(&mut groups, |group| &group.key);
    let threshold = |inequality: &str, value: f64| format!("{inequality} {value}");
    let (misaligned, coherent) = definition.thresholds();
    Ok(Compared {
        agreement: Agreement {
            schema: SCHEMA,
            sources: files.into_iter().map(|file| file.file).collect(),
            experiment: None,
            definition: DefinitionText {
                text: definition.to_string(),
                misaligned: threshold(definition.misaligned.inequality(), misaligned),
                coherent: threshold(definition.coherent.inequality(), coherent),
                denominator: definition.denominator.name().to_owned(),
            },
            clusters: used.cluster,
            groups,
            human_labels: None,
            broken: tally.broken,
            warnings,
        },
        broken_rows: tally.listed,
    })
}
