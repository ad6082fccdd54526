//! Fetching against a local server, and opening an archive that the package itself made.

#![allow(missing_docs, reason = "tests")]

mod archive;
mod fetching;
mod support;
