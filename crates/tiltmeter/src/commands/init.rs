//! `tiltmeter init`.

use std::io::Write as _;

use tiltmeter_core::experiment::templates::template;

use crate::cli::InitArguments;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn init(arguments: &InitArguments) -> Result<Exit, Failure> {
    let path = &arguments.file;
    let text = template(&arguments.template)
        .ok_or_else(|| Failure::configuration(format!("there is no template `{}`", arguments.template)))?;
    let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::configuration(format!(
                "{}: is there already, and is not overwritten; name another file",
                path.display()
            )),
            _ => Failure::failed(error),
        }
    })?;
    file.write_all(text.as_bytes()).map_err(Failure::failed)?;
    output::note(&format!(
        "wrote {0}\nnext: tiltmeter plan {0}   (what it would ask)\n      tiltmeter run {0}",
        path.display()
    ));
    Ok(Exit::Done)
}
