//! `tiltmeter schema`.

use tiltmeter_core::experiment::schema::experiment_schema;

use crate::exit::{Exit, Failure};
use crate::output;

#[expect(clippy::unnecessary_wraps, reason = "every command gives a result")]
pub(crate) fn schema() -> Result<Exit, Failure> {
    output::result(&experiment_schema());
    Ok(Exit::Done)
}
