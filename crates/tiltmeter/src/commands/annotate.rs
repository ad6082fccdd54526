//! `tiltmeter annotate`: blind labels by people, in a page on this machine or by files.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tiltmeter_annotate::{
    Desk, Imported, Mapping, Reading, Token, export, export_blank, export_blank_traces, export_traces,
    import, import_traces, items, serve, trace_items,
};
use tiltmeter_judge::CodeBook;
use tiltmeter_report::{labels_table, traces_table};
use tiltmeter_run::{agreement, draw_labels, trace_results};
use tiltmeter_store::{LabelDraw, LabelWriter, PersonCodeWriter, Reader, RunDirectory};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::cli::{AnnotateArguments, DrawArguments};
use crate::commands::trace;
use crate::exit::{Exit, Failure};
use crate::output;

/// How many answers are drawn where nothing else is said.
const DEFAULT_COUNT: u64 = 200;

/// Refused rows that are shown.
const SHOWN: usize = 10;

pub(crate) fn annotate(arguments: &AnnotateArguments) -> Result<Exit, Failure> {
    if arguments.traces {
        return annotate_traces(arguments);
    }
    let path = &arguments.run;
    // A directory that holds no run is not made into one.
    Reader::open(path).map_err(Failure::failed)?;
    // Nobody else writes while labels are given; also brings the store to the newest schema.
    let directory = RunDirectory::open(path).map_err(Failure::failed)?;
    let mut writer = LabelWriter::open(&directory).map_err(Failure::failed)?;
    let reader = Reader::open(path).map_err(Failure::failed)?;
    let draw = draw(&reader, &directory, arguments)?;
    let items = items(&reader, draw).map_err(Failure::failed)?;
    let labels = reader.labels(draw).map_err(Failure::failed)?;
    if let Some(file) = &arguments.export {
        if arguments.blank {
            export_blank(file, &items).map_err(Failure::failed)?;
        } else {
            export(file, &items, &labels).map_err(Failure::failed)?;
        }
        note_terms(&reader)?;
        output::note(&format!("{}: {} drawn answers, {} labels", file.display(), items.len(), labels.len()));
        return Ok(Exit::Done);
    }
    if let Some(file) = &arguments.import {
        let now = jiff::Timestamp::now().to_string();
        let (imported, records) = import(file, &items, &labels, arguments.annotator.as_deref(), &now)
            .map_err(Failure::configuration)?;
        writer.write(&records).map_err(Failure::failed)?;
        return Ok(tell(file, &imported));
    }
    let annotator = annotator(arguments)?;
    page(Desk::new(annotator, items, &labels, writer), arguments.port)?;
    drop(directory);
    show(path)
}

/// Tells what became of a file's rows.
fn tell(file: &Path, imported: &Imported) -> Exit {
    for row in imported.broken.iter().take(SHOWN) {
        output::note(&format!("broken row: {}:{row}", file.display()));
    }
    let broken = imported.broken.len();
    if broken > SHOWN {
        output::note(&format!("and {} more broken rows", broken - SHOWN));
    }
    output::note(&format!(
        "{} labels stored, {} known before, {} rows without a label, {broken} broken",
        imported.stored, imported.known, imported.empty
    ));
    if broken > 0 { Exit::Incomplete } else { Exit::Done }
}

/// The same with traces of reasoning, by a code book.
fn annotate_traces(arguments: &AnnotateArguments) -> Result<Exit, Failure> {
    let path = &arguments.run;
    Reader::open(path).map_err(Failure::failed)?;
    let directory = RunDirectory::open(path).map_err(Failure::failed)?;
    let mut writer = PersonCodeWriter::open(&directory).map_err(Failure::failed)?;
    let reader = Reader::open(path).map_err(Failure::failed)?;
    let experiment = reader.experiment().map_err(Failure::failed)?;
    let of_draw = DrawArguments {
        codebook: arguments.codebook.clone(),
        base_rate: None,
        all: false,
        seed: arguments.seed,
    };
    let newest = reader.newest_code_book().map_err(Failure::failed)?;
    let book = match (&arguments.codebook, newest) {
        (None, Some(row)) => CodeBook::read(&row.name, &row.source).map_err(Failure::failed)?,
        _ => trace::code_book(&of_draw)?,
    };
    let draw = trace::draw(&reader, &experiment, &of_draw)?;
    let (draw, book_row) = draw.write(&directory, &trace::book_row(&book)).map_err(Failure::failed)?;
    let items = trace_items(&reader, draw).map_err(Failure::failed)?;
    let said = reader.person_codes(book_row).map_err(Failure::failed)?;
    if let Some(file) = &arguments.export {
        if arguments.blank {
            export_blank_traces(file, &items, &book).map_err(Failure::failed)?;
        } else {
            export_traces(file, &items, &book, &said).map_err(Failure::failed)?;
        }
        note_terms(&reader)?;
        output::note(&format!(
            "{}: {} drawn traces, {} labelled ones",
            file.display(),
            items.len(),
            said.len()
        ));
        return Ok(Exit::Done);
    }
    if let Some(file) = &arguments.import {
        let mapping = Mapping::new(&arguments.map, &book).map_err(Failure::configuration)?;
        let reading = Reading {
            items: &items,
            book: &book,
            book_row,
            said: &said,
            mapping: &mapping,
            annotator: arguments.annotator.as_deref(),
        };
        let now = jiff::Timestamp::now().to_string();
        let (imported, records) = import_traces(file, &reading, &now).map_err(Failure::configuration)?;
        writer.write(&records).map_err(Failure::failed)?;
        return Ok(tell(file, &imported));
    }
    let hash = book.hash;
    let annotator = annotator(arguments)?;
    page(Desk::of_traces(annotator, items, (book, book_row), &said, writer), arguments.port)?;
    drop(directory);
    if let Some(results) = trace_results(path, Some(hash)).map_err(Failure::failed)? {
        output::result(&traces_table(&results));
    }
    Ok(Exit::Done)
}

/// The row of the newest draw; draws one where there is none, or a new one is asked for.
fn draw(reader: &Reader, directory: &RunDirectory, arguments: &AnnotateArguments) -> Result<i64, Failure> {
    if let Some((row, draw)) = reader.label_draw().map_err(Failure::failed)?
        && !arguments.new_sample
    {
        let drawn: u64 = draw.strata.iter().map(|stratum| stratum.drawn).sum();
        if arguments.count.is_some_and(|count| count != drawn)
            || arguments.seed.is_some_and(|seed| seed != draw.seed)
        {
            return Err(Failure::configuration(format!(
                "{drawn} answers were drawn before, with seed {}, and labels belong to them\n  leave out `--count` and \
                 `--seed`, or draw others with `--new-sample`",
                draw.seed
            )));
        }
        return Ok(row);
    }
    if arguments.import.is_some() {
        return Err(Failure::configuration(
            "no answers were drawn to be labelled, so no file can hold labels of them\n  draw and hand them out by \
             `tiltmeter annotate RUN --export FILE.csv --blank`",
        ));
    }
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => reader.experiment().map_err(Failure::failed)?.seed,
    };
    let now = jiff::Timestamp::now().to_string();
    let draw: LabelDraw = draw_labels(reader, arguments.count.unwrap_or(DEFAULT_COUNT), seed, now)
        .map_err(Failure::configuration)?;
    draw.write(directory).map_err(Failure::failed)
}

/// Who labels.
fn annotator(arguments: &AnnotateArguments) -> Result<String, Failure> {
    let named = arguments.annotator.clone().or_else(|| std::env::var("USER").ok());
    named
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Failure::configuration("say who labels: `--annotator NAME`"))
}

/// Texts of some sets may not be passed on.
fn note_terms(reader: &Reader) -> Result<(), Failure> {
    let experiment = reader.experiment().map_err(Failure::failed)?;
    for set in reader.data_sets(experiment.id).map_err(Failure::failed)? {
        if set.kind == "questions" && !set.share {
            output::note(&format!("the text of `{}` may not be passed on, and the file holds it", set.name));
        }
    }
    Ok(())
}

/// Serves the page until the program is told to stop.
fn page(desk: Desk, port: u16) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let desk = Arc::new(Mutex::new(desk));
    runtime.block_on(async {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::configuration(format!("cannot serve at {address}: {error}; choose another `--port`"))
        })?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        let token = Token::random().map_err(Failure::failed)?;
        output::result(&format!("http://{address}/start/{}\n", token.expose()));
        {
            let desk = desk.lock().await;
            output::note(&format!(
                "{} of {} are labelled; open the address in a browser (it works once), and stop with ^C",
                desk.done(),
                desk.total()
            ));
        }
        let stop = async {
            // Without signals the server goes on until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        serve(Arc::clone(&desk), listener, token, stop).await.map_err(Failure::failed)?;
        let desk = desk.lock().await;
        output::note(&format!("{} of {} are labelled", desk.done(), desk.total()));
        Ok(())
    })
}

/// What the labels come to.
fn show(path: &Path) -> Result<Exit, Failure> {
    if let Some(labels) = agreement(path).map_err(Failure::failed)?.human_labels {
        output::result(&labels_table(&labels));
    }
    Ok(Exit::Done)
}
