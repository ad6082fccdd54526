//! Requests for addresses that no detector is for: which are forwarded, and what is said of those.

use http::Method;
use http::header::{CONTENT_LENGTH, HeaderMap};

use crate::config::file::Uninspected;
use crate::inspection::{Unchecked, UncheckedReason};
use crate::refusal::Refusal;

/// In the place of a detector's name, as all of them would have had to look.
pub(crate) const ALL: &str = "all";

/// Whether a request may bring something that a model reads, now or later.
pub(crate) fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE)
}

/// Refuses what is not to be forwarded.
pub(crate) fn check(allowed: Uninspected, method: &Method) -> Result<(), Refusal> {
    match allowed {
        Uninspected::Pass => Ok(()),
        Uninspected::Read if !is_write(method) => Ok(()),
        Uninspected::Read | Uninspected::Refuse => Err(Refusal::uninspected(allowed)),
    }
}

/// What is recorded of a request that brings something and is forwarded. Its bytes are those that it declares, if it does.
pub(crate) fn unchecked(headers: &HeaderMap) -> Unchecked {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    Unchecked { detector: ALL.into(), reason: UncheckedReason::Uninspected, bytes: declared.unwrap_or(0) }
}
