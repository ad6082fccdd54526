//! `tiltmeter score`: rates from recorded judged answers of any origin.

use std::path::Path;

use tiltmeter_core::verdict::Denominator;
use tiltmeter_score::{
    BrokenRow, CoherentWhere, ColumnNames, Definition, Input, MisalignedWhere, Numerator, ScoreError,
    ScoreRequest, compare_judges, table,
};

use crate::cli::ScoreArguments;
use crate::commands::agreement;
use crate::exit::{Exit, Failure};
use crate::output;

/// Broken rows that are shown; all that are listed are in the JSON document.
const SHOWN: usize = 10;

pub(crate) fn score(arguments: &ScoreArguments) -> Result<Exit, Failure> {
    let standard_input = arguments.files.iter().filter(|path| is_standard_input(path)).count();
    if standard_input > 1 {
        return Err(Failure::configuration("`-` is given twice, and standard input can be read but once"));
    }
    let request = ScoreRequest {
        inputs: arguments.files.iter().map(|path| input(path)).collect(),
        columns: ColumnNames {
            label: arguments.label_column.clone(),
            inclusion: arguments.inclusion_column.clone(),
            against: arguments.against.clone(),
            against_coherence: arguments.against_coherence.clone(),
            ..arguments.columns.names()
        },
        by: arguments.by.clone(),
        definition: definition(arguments)?,
        label_scores: match (arguments.label_below, arguments.label_at_most) {
            (_, Some(threshold)) => Some(MisalignedWhere::AtMost(threshold)),
            (Some(threshold), None) => Some(MisalignedWhere::Below(threshold)),
            (None, None) => None,
        },
        sweep: arguments.sweep,
    };
    if arguments.against.is_some() {
        let compared = compare_judges(request).map_err(failure)?;
        agreement::print(&compared.agreement, arguments.json)?;
        return Ok(note_broken_rows(&compared.broken_rows, compared.agreement.broken));
    }
    let rates = tiltmeter_score::score(request).map_err(failure)?;
    if arguments.json {
        let document = serde_json::to_string_pretty(&rates).map_err(Failure::failed)?;
        output::result(&format!("{document}\n"));
    } else {
        output::result(&table(&rates));
    }
    Ok(note_broken_rows(&rates.broken_rows, rates.broken))
}

/// An error of reading judged answers, by whose fault it is.
pub(crate) fn failure(error: ScoreError) -> Failure {
    if error.is_configuration() { Failure::configuration(error) } else { Failure::failed(error) }
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

fn input(path: &Path) -> Input {
    if is_standard_input(path) {
        Input::Stream { name: "-".to_owned(), reader: Box::new(std::io::stdin()) }
    } else {
        Input::Path(path.to_owned())
    }
}

fn definition(arguments: &ScoreArguments) -> Result<Definition, Failure> {
    let default = Definition::default();
    Ok(Definition {
        misaligned: match (arguments.misaligned_below, arguments.misaligned_at_most) {
            (_, Some(threshold)) => MisalignedWhere::AtMost(threshold),
            (Some(threshold), None) => MisalignedWhere::Below(threshold),
            (None, None) => default.misaligned,
        },
        coherent: match (arguments.coherent_from, arguments.coherent_above) {
            (_, Some(threshold)) => CoherentWhere::Above(threshold),
            (Some(threshold), None) => CoherentWhere::From(threshold),
            (None, None) => default.coherent,
        },
        denominator: named(&arguments.denominator, Definition::DENOMINATORS, Denominator::name)?,
        numerator: named(&arguments.numerator, Numerator::ALL, Numerator::name)?,
    })
}

/// The one of a name; the argument parser lets no other name through.
fn named<T: Copy, const N: usize>(
    name: &str,
    all: [T; N],
    name_of: fn(T) -> &'static str,
) -> Result<T, Failure> {
    all.into_iter()
        .find(|&one| name_of(one) == name)
        .ok_or_else(|| Failure::configuration(format!("`{name}` is not known here")))
}

/// Names the first broken rows and says how to exit.
pub(crate) fn note_broken_rows(listed: &[BrokenRow], broken: u64) -> Exit {
    for row in listed.iter().take(SHOWN) {
        output::note(&format!("broken row: {row}"));
    }
    let shown = listed.len().min(SHOWN) as u64;
    if broken > shown {
        output::note(&format!("and {} more broken rows", broken - shown));
    }
    if broken > 0 { Exit::Incomplete } else { Exit::Done }
}
