//! `tiltmeter model`: which local models there are, fetching them, serving one.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde::Serialize;
use tiltmeter_data::Consent as _;
use tiltmeter_local::{
    HubError, HubModel, HubTerms, LocalError, LocalSettings, ModelSource, WeightsError, WeightsSettings,
};
use tiltmeter_report::printable;
use tiltmeter_serve::ServeSettings;
use tokio::net::TcpListener;

use super::data::{Asker, print_json};
use crate::cli::{
    ModelArguments, ModelCommand, ModelFetchArguments, ModelListArguments, ModelServeArguments,
};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Progress;

pub(crate) fn model(arguments: &ModelArguments) -> Result<Exit, Failure> {
    match &arguments.command {
        ModelCommand::List(arguments) => list(arguments),
        ModelCommand::Fetch(arguments) => fetch(arguments),
        ModelCommand::Serve(arguments) => serve(arguments),
    }
}

/// The document that `model list --json` prints.
#[derive(Serialize)]
struct ListDocument {
    schema: &'static str,
    models: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    /// As experiment files name it, after `local/`.
    name: String,
    about: String,
    /// `fetched` or `not fetched`.
    state: &'static str,
    bytes: u64,
    licence: Option<String>,
    /// The path of the file or folder, also where it would be.
    path: Option<String>,
    files: Vec<ListedFile>,
}

#[derive(Serialize)]
struct ListedFile {
    path: String,
    bytes: u64,
    sha256: String,
}

fn list(arguments: &ModelListArguments) -> Result<Exit, Failure> {
    let settings = WeightsSettings::default();
    let mut models = Vec::new();
    for model in tiltmeter_local::known_models() {
        let path = tiltmeter_local::cached_path(model, &settings);
        let is_there = path
            .as_ref()
            .is_some_and(|path| std::fs::metadata(path).is_ok_and(|file| file.len() == model.bytes));
        models.push(Listed {
            name: model.name.to_owned(),
            about: model.description.to_owned(),
            state: if is_there { "fetched" } else { "not fetched" },
            bytes: model.bytes,
            licence: Some(model.licence.to_owned()),
            path: path.map(|path| path.display().to_string()),
            files: vec![ListedFile {
                path: model.file.to_owned(),
                bytes: model.bytes,
                sha256: model.sha256.to_owned(),
            }],
        });
    }
    for kept in tiltmeter_local::kept_repositories(&settings) {
        let bytes = kept.bytes();
        let manifest = kept.manifest;
        let about = if manifest.revision == manifest.commit {
            "a hub's repository".to_owned()
        } else {
            format!("a hub's repository, fetched as {}", manifest.revision)
        };
        models.push(Listed {
            name: format!("hf:{}@{}", manifest.repository, manifest.commit),
            about,
            state: "fetched",
            bytes,
            licence: manifest.licence,
            path: Some(kept.folder.display().to_string()),
            files: manifest
                .files
                .into_iter()
                .map(|file| ListedFile { path: file.path, bytes: file.bytes, sha256: file.sha256 })
                .collect(),
        });
    }
    if arguments.json {
        print_json(&ListDocument { schema: "tiltmeter.model-list/1", models })?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    for model in &models {
        let licence = printable(model.licence.as_deref().unwrap_or("none stated"));
        let _ = writeln!(
            text,
            "local/{}\n  {}\n  {}, {} MB, licence: {licence}",
            printable(&model.name),
            printable(&model.about),
            model.state,
            model.bytes / 1_000_000
        );
        if let Some(path) = &model.path {
            let _ = writeln!(text, "  {path}");
        }
        for file in &model.files {
            let _ = writeln!(text, "    {}  {}", file.sha256, printable(&file.path));
        }
    }
    output::result(&text);
    Ok(Exit::Done)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Failure::failed)
}

fn source(name: &str) -> Result<ModelSource, Failure> {
    ModelSource::parse(name.strip_prefix("local/").unwrap_or(name)).map_err(Failure::configuration)
}

fn fetch(arguments: &ModelFetchArguments) -> Result<Exit, Failure> {
    let settings = WeightsSettings::default();
    let progress = Progress::new();
    match source(&arguments.name)? {
        ModelSource::File(_) => {
            let message = "a file or folder of your own need not be fetched; use it as `local/PATH`";
            Err(Failure::configuration(message))
        }
        ModelSource::Known(_) if arguments.file.is_some() => {
            Err(Failure::configuration("`--file` is for hubs' repositories"))
        }
        ModelSource::Known(model) => {
            output::note(&format!("{}: licence {}", model.name, model.licence));
            let path = runtime()?
                .block_on(tiltmeter_local::fetch(model, &settings, &progress))
                .map_err(|error| of_weights(&error))?;
            output::result(&format!("local/{}: fetched and verified, {}\n", model.name, path.display()));
            Ok(Exit::Done)
        }
        ModelSource::Hub(model) => {
            let model = match (&arguments.file, &model.file) {
                (Some(file), None) => HubModel { file: Some(file.clone()), ..model },
                (Some(_), Some(_)) => {
                    return Err(Failure::configuration(
                        "the file is named twice: in the name and by `--file`",
                    ));
                }
                (None, _) => model,
            };
            let asker = Asker { accept: arguments.accept };
            let accepts = |terms: &HubTerms| asker.accepts(&shown(terms));
            let kept = runtime()?
                .block_on(tiltmeter_local::fetch_repository(&model, &settings, &progress, &accepts))
                .map_err(|error| of_hub(&error))?;
            let pinned = HubModel { revision: kept.manifest.commit, ..model };
            output::result(&format!("local/{pinned}: fetched and verified, {}\n", kept.folder.display()));
            Ok(Exit::Done)
        }
    }
}

/// The terms, for the person who accepts them.
fn shown(terms: &HubTerms) -> String {
    let bytes: u64 = terms.files.iter().map(|(_, bytes)| bytes).sum();
    let licence = printable(terms.licence.as_deref().unwrap_or("none stated"));
    let mut text =
        format!("{} at {}\nlicence, as the hub states it: {licence}\n", terms.repository, terms.commit);
    if let Some(link) = &terms.licence_link {
        let _ = writeln!(text, "its text: {}", printable(link));
    }
    if terms.is_gated {
        text.push_str("the hub wants its own terms to be accepted as well\n");
    }
    let _ = write!(text, "{} files, {} MB", terms.files.len(), bytes / 1_000_000);
    text
}

fn of_hub(error: &HubError) -> Failure {
    match error {
        HubError::NotAccepted(_) if !Asker::can_ask() => Failure::configuration(format!(
            "{error}\n  read the text above; if you accept it, run the command again with `--accept`"
        )),
        _ if error.is_configuration() => Failure::configuration(error),
        _ => Failure::failed(error),
    }
}

fn of_weights(error: &WeightsError) -> Failure {
    match error {
        WeightsError::Hub(error) => of_hub(error),
        _ if error.is_configuration() => Failure::configuration(error),
        _ => Failure::failed(error),
    }
}

/// A model that cannot be opened: whose fault it is.
pub(crate) fn of_model(error: &LocalError) -> Failure {
    if error.is_configuration() { Failure::configuration(error) } else { Failure::failed(error) }
}

fn serve(arguments: &ModelServeArguments) -> Result<Exit, Failure> {
    let name = arguments.name.strip_prefix("local/").unwrap_or(&arguments.name);
    let source = source(name)?;
    let served = arguments.served_name.clone().unwrap_or_else(|| name.to_owned());
    let progress = Progress::new();
    runtime()?.block_on(async {
        let address = SocketAddr::new(arguments.host, arguments.port);
        // Before a model is loaded: is the port free?
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::configuration(format!("cannot serve at {address}: {error}; choose another `--port`"))
        })?;
        let from_environment = LocalSettings::from_environment(&|name: &str| std::env::var(name).ok())
            .map_err(Failure::configuration)?;
        let settings = LocalSettings {
            threads: arguments.threads.or(from_environment.threads),
            context_length: arguments.context,
            ..from_environment
        };
        let opening = tiltmeter_local::open(&source, settings, &progress);
        let model = tokio::select! {
            model = opening => model.map_err(|error| of_model(&error))?,
            // Nothing is lost: a fetch goes on the next time.
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        };
        let address = listener.local_addr().map_err(Failure::failed)?;
        output::result(&format!("serving {} at http://{address}/v1\n", printable(&served)));
        output::note("stop with ^C");
        let stop = async {
            // Without signals the server goes on until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            output::note("stopping");
        };
        tiltmeter_serve::serve(model, listener, ServeSettings::new(served), stop)
            .await
            .map_err(Failure::failed)?;
        Ok(Exit::Done)
    })
}
