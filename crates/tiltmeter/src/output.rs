//! The only place that prints. Results go to standard output, everything else to standard error.

use std::io::Write as _;

/// Prints a result. A reader that has gone away, such as `head`, is no error.
pub(crate) fn result(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// Prints a line for the person who waits.
pub(crate) fn note(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "{text}");
}

/// Prints why the program ends early.
pub(crate) fn error(text: &str) {
    note(&format!("error: {text}"));
}
