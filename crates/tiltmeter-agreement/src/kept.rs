//! Keeps what was computed, and why the rest was not.

use tiltmeter_stats::StatsError;

use crate::document::Omission;

/// Collects reasons.
#[derive(Debug, Default)]
pub(crate) struct Kept(pub(crate) Vec<Omission>);

impl Kept {
    /// What was computed.
    pub(crate) fn of<T>(&mut self, what: &'static str, result: Result<T, StatsError>) -> Option<T> {
        result.map_err(|error| self.0.push(Omission { what, why: error.to_string() })).ok()
    }

    /// What these numbers define.
    pub(crate) fn defined<T>(
        &mut self,
        what: &'static str,
        found: Option<T>,
        otherwise: &'static str,
    ) -> Option<T> {
        if found.is_none() {
            self.0.push(Omission { what, why: otherwise.to_owned() });
        }
        found
    }
}
