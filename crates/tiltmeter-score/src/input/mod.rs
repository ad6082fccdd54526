//! Opens what the user named, finds out what it is, and has it read.

mod csv;
mod inspect;
mod jsonl;
#[cfg(feature = "parquet")]
mod parquet;
mod sniff;
mod store;
mod stream;

use std::io::{Chain, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::columns::{UsedColumns, Wanted};
use crate::error::ScoreError;
use crate::rates::{FileRecord, Hashed};
use crate::tally::{Place, Tally};

use self::sniff::{Compression, Format};
use self::stream::HashedStream;

/// Where rows come from.
pub enum Input {
    /// A file, or a run directory.
    Path(PathBuf),
    /// CSV or JSON Lines from elsewhere, such as standard input.
    Stream {
        /// What it is called in messages and as a value of `file`.
        name: String,
        /// Its bytes.
        reader: Box<dyn Read + Send>,
    },
}

impl std::fmt::Debug for Input {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.name())
    }
}

impl Input {
    fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Stream { name, .. } => name.clone(),
        }
    }
}

/// What a reader of one format says when it is through.
#[derive(Debug)]
struct Table {
    /// Rows, broken ones included.
    rows: u64,
    columns: UsedColumns,
}

/// What every reader gets: the name of the file, what is wanted of it, and where its rows are counted.
struct Job<'a> {
    file: &'a str,
    wanted: &'a Wanted,
    tally: &'a mut Tally,
    /// What a reader of the table should know.
    warnings: &'a mut Vec<String>,
}

impl Job<'_> {
    fn read_error(&self, source: std::io::Error) -> ScoreError {
        ScoreError::Read { file: self.file.to_owned(), source }
    }

    fn open_error(&self, source: std::io::Error) -> ScoreError {
        ScoreError::Open { file: self.file.to_owned(), source }
    }

    fn unsupported(&self, what: &str, advice: &str) -> ScoreError {
        ScoreError::Unsupported {
            file: self.file.to_owned(),
            what: what.to_owned(),
            advice: advice.to_owned(),
        }
    }

    fn empty(&self) -> ScoreError {
        ScoreError::Empty { file: self.file.to_owned() }
    }
}

/// Reads one input into the tally.
pub(crate) fn read(
    input: Input,
    wanted: &Wanted,
    tally: &mut Tally,
    warnings: &mut Vec<String>,
) -> Result<FileRecord, ScoreError> {
    let name = input.name();
    let broken_before = tally.broken;
    let mut job = Job { file: &name, wanted, tally, warnings };
    let (table, format, (hashed, sha256)) = match input {
        Input::Stream { reader, .. } => text(&mut job, reader, None)?,
        Input::Path(path) => read_path(&mut job, &path)?,
    };
    Ok(FileRecord {
        file: name.clone(),
        format,
        rows: table.rows,
        broken: tally.broken - broken_before,
        columns: table.columns,
        hashed,
        sha256,
    })
}

type Done = (Table, &'static str, (Hashed, String));

fn read_path(job: &mut Job<'_>, path: &Path) -> Result<Done, ScoreError> {
    let metadata = std::fs::metadata(path).map_err(|source| job.open_error(source))?;
    if metadata.is_dir() {
        let (table, hash) = store::read(job, path)?;
        return Ok((table, "run", (Hashed::Rows, hash)));
    }
    if path.file_name().is_some_and(|name| name == "run.sqlite") {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (table, hash) = store::read(job, directory)?;
        return Ok((table, "run", (Hashed::Rows, hash)));
    }
    let mut file = std::fs::File::open(path).map_err(|source| job.open_error(source))?;
    let mut magic = Vec::new();
    file.by_ref().take(4096).read_to_end(&mut magic).map_err(|source| job.read_error(source))?;
    let by_name = sniff::format_by_name(path);
    match by_name.or_else(|| sniff::binary(&magic)) {
        Some(Format::Parquet) => {
            #[cfg(feature = "parquet")]
            {
                let (table, hash) = parquet::read(job, path)?;
                Ok((table, Format::Parquet.name(), (Hashed::Bytes, hash)))
            }
            #[cfg(not(feature = "parquet"))]
            Err(job.unsupported(
                "is Parquet, which this build does not read",
                "build with the feature `parquet`, or convert it to CSV",
            ))
        }
        Some(Format::Inspect) => {
            let (table, hash) = inspect::read(job, path)?;
            Ok((table, Format::Inspect.name(), (Hashed::Bytes, hash)))
        }
        Some(Format::Sqlite) => {
            Err(job.unsupported("is an SQLite file", "for a run of Tiltmeter, name its directory"))
        }
        _ => text(job, Box::new(Cursor::new(magic).chain(file)), by_name),
    }
}

/// The first bytes of a text, and the whole of it.
type Text<'a> = Chain<Cursor<Vec<u8>>, Box<dyn Read + 'a>>;

/// Reads CSV or JSON Lines, compressed or not.
fn text(
    job: &mut Job<'_>,
    reader: Box<dyn Read + Send>,
    by_name: Option<Format>,
) -> Result<Done, ScoreError> {
    let mut stream = HashedStream::start(reader);
    let compression = sniff::compression(stream.peek().map_err(|source| job.read_error(source))?);
    let (table, format) = {
        let decoded: Box<dyn Read + '_> = match compression {
            None => Box::new(&mut stream),
            Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(&mut stream)),
            Some(Compression::Zstd) => Box::new(
                zstd::stream::read::Decoder::with_buffer(&mut stream)
                    .map_err(|source| job.read_error(source))?,
            ),
        };
        plain(job, decoded, by_name)?
    };
    let hash = stream.finish().map_err(|source| job.read_error(source))?;
    Ok((table, format.name(), (Hashed::Bytes, hash)))
}

fn plain(
    job: &mut Job<'_>,
    mut decoded: Box<dyn Read + '_>,
    by_name: Option<Format>,
) -> Result<(Table, Format), ScoreError> {
    let mut head = Vec::new();
    decoded
        .by_ref()
        .take(sniff::HEAD as u64)
        .read_to_end(&mut head)
        .map_err(|source| job.read_error(source))?;
    if let Some((what, advice)) = sniff::refused(&head) {
        return Err(job.unsupported(what, advice));
    }
    let format = by_name.unwrap_or_else(|| sniff::text_format(&head));
    let delimiter = sniff::delimiter(format, &head);
    let whole: Text<'_> = Cursor::new(head).chain(decoded);
    let table = match format {
        Format::JsonLines => jsonl::read(job, whole, Place::Line)?,
        _ => csv::read(job, whole, delimiter)?,
    };
    Ok((table, format))
}
