//! `tiltmeter schema`.

use tiltmeter_core::experiment::schema::experiment_schema;
use tiltmeter_judge::codebook_schema;

use crate::cli::SchemaArguments;
use crate::exit::{Exit, Failure};
use crate::output;

#[expect(clippy::unnecessary_wraps, reason = "every command gives a result")]
pub(crate) fn schema(arguments: &SchemaArguments) -> Result<Exit, Failure> {
    let schema = if arguments.of == "codebook" { codebook_schema() } else { experiment_schema() };
    output::result(&schema);
    Ok(Exit::Done)
}
