//! A file of the user's own, or of a mirror that is mounted.

use std::io::{Read, Write};
use std::path::Path;

use super::Target;

/// Copies and checks a file. The error is the reason.
pub(super) async fn copy(from: &Path, target: &Target<'_>) -> Result<(), String> {
    let (from, part) = (from.to_owned(), target.part.to_owned());
    let length = fs_err::metadata(&from).map_err(|error| error.to_string())?.len();
    if length != target.bytes {
        return Err(format!("it has {length} bytes instead of {}", target.bytes));
    }
    target.progress.begin(&from.display().to_string(), Some(length));
    let limit = target.bytes;
    let copied =
        tokio::task::spawn_blocking(move || write_from(fs_err::File::open(&from)?, &part, limit)).await;
    let result = match copied {
        Ok(Ok(bytes)) => {
            target.progress.advance(bytes);
            target.check().await
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    target.progress.finish();
    result
}

/// Writes a file anew from what a reader gives, up to so many bytes.
pub(super) fn write_from(from: impl Read, to: &Path, limit: u64) -> std::io::Result<u64> {
    let mut file = fs_err::File::create(to)?;
    let bytes = std::io::copy(&mut from.take(limit), &mut file)?;
    file.flush()?;
    Ok(bytes)
}
