//! The user's price table.

use std::io::ErrorKind;
use std::path::PathBuf;

use etcetera::BaseStrategy as _;
use tiltmeter_run::Prices;

use crate::exit::Failure;

/// The environment variable that names a price file.
pub(crate) const VARIABLE: &str = "TILTMETER_PRICES";

/// The price file that the variable names.
fn named() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Where the price file is, or would be.
pub(crate) fn file() -> Option<PathBuf> {
    named().or_else(|| {
        let folders = etcetera::choose_base_strategy().ok()?;
        Some(folders.config_dir().join("tiltmeter").join("prices.toml"))
    })
}

/// The built-in prices, with the user's before them.
pub(crate) fn load() -> Result<Prices, Failure> {
    let Some(path) = file() else { return Ok(Prices::default()) };
    match std::fs::read_to_string(&path) {
        Ok(text) => Prices::from_toml(&text)
            .map_err(|error| Failure::configuration(format!("{}: {error}", path.display()))),
        // Only a file that was asked for has to be there.
        Err(error) if error.kind() == ErrorKind::NotFound && named().is_none() => Ok(Prices::default()),
        Err(error) => {
            Err(Failure::configuration(format!("{}: cannot read the price file: {error}", path.display())))
        }
    }
}
