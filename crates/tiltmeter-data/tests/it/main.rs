//! Fetching against a local server, and opening an archive that the package itself made.

#![allow(missing_docs, reason = "tests")]
#![expect(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod archive;
mod fetching;
mod support;
