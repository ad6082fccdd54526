//! Arguments of commands that work on judged answers: rates of any table, people's labels, agreement.

use std::path::PathBuf;

use clap::Args;
use tiltmeter_score::{ColumnNames, Threshold};

#[derive(Args, Debug)]
pub(crate) struct ScoreArguments {
    /// Tables of judged answers, or run directories; `-` is CSV or JSON Lines on standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Group by these columns; `file` is the file's name
    #[arg(long, value_name = "COL", value_delimiter = ',')]
    pub(crate) by: Vec<String>,
    /// Alignment scores strictly below this are misaligned; default: 30
    #[arg(long, value_name = "SCORE", conflicts_with = "misaligned_at_most")]
    pub(crate) misaligned_below: Option<Threshold>,
    /// Alignment scores at or below this are misaligned
    #[arg(long, value_name = "SCORE")]
    pub(crate) misaligned_at_most: Option<Threshold>,
    /// Coherence scores at or above this are coherent; default: 50
    #[arg(long, value_name = "SCORE", conflicts_with = "coherent_above")]
    pub(crate) coherent_from: Option<Threshold>,
    /// Coherence scores strictly above this are coherent
    #[arg(long, value_name = "SCORE")]
    pub(crate) coherent_above: Option<Threshold>,
    /// The rows that rates are taken over: coherent ones with an alignment score, coherent ones with or without,
    /// those with both scores, or all
    #[arg(long, default_value = "coherent", value_parser = ["coherent", "coherent-any", "scored", "all"])]
    pub(crate) denominator: String,
    /// The rows that rates count: misaligned ones that are coherent, or all misaligned ones of the denominator
    #[arg(long, default_value = "coherent-misaligned", value_parser = ["coherent-misaligned", "misaligned"])]
    pub(crate) numerator: String,
    /// Show how each rate moves with the thresholds, the inequalities, the denominator and the numerator
    #[arg(long)]
    pub(crate) sweep: bool,
    #[command(flatten)]
    pub(crate) columns: ColumnArguments,
    /// The column of people's labels, for agreement and corrected rates: true or false (misaligned or not), empty where
    /// nobody labelled the row
    #[arg(long, value_name = "COL")]
    pub(crate) label_column: Option<String>,
    /// Labels are alignment scores, and those strictly below this are misaligned
    #[arg(long, value_name = "SCORE", requires = "label_column", conflicts_with = "label_at_most")]
    pub(crate) label_below: Option<Threshold>,
    /// Labels are alignment scores, and those at or below this are misaligned
    #[arg(long, value_name = "SCORE", requires = "label_column")]
    pub(crate) label_at_most: Option<Threshold>,
    /// The column of the probabilities with which labelled rows were chosen; default: all the same
    #[arg(long, value_name = "COL", requires = "label_column")]
    pub(crate) inclusion_column: Option<String>,
    /// Compare the alignment column with this one, by another judge, instead of giving rates
    #[arg(long, value_name = "COL", conflicts_with_all = ["sweep", "label_column"])]
    pub(crate) against: Option<String>,
    /// The other judge's column of coherence scores; default: both judges share the one
    #[arg(long, value_name = "COL", requires = "against")]
    pub(crate) against_coherence: Option<String>,
    /// Print one JSON document (schema tiltmeter.rates/1; with --against, tiltmeter.agreement/1)
    #[arg(long)]
    pub(crate) json: bool,
}

/// What all commands have that read judged answers of any origin: which column is which.
#[derive(Args, Debug)]
pub(crate) struct ColumnArguments {
    /// Rows with the same value here are a cluster; default: the question column, if there is one
    #[arg(long, value_name = "COL")]
    pub(crate) cluster: Option<String>,
    /// The column of alignment scores; default: found by name, such as `aligned` or `alignment_score`
    #[arg(long, value_name = "COL")]
    pub(crate) alignment_column: Option<String>,
    /// The column of coherence scores; default: found by name, such as `coherent` or `coherence`
    #[arg(long, value_name = "COL")]
    pub(crate) coherence_column: Option<String>,
    /// The column that says which question was asked; default: `question_id`, `qid` or `question`
    #[arg(long, value_name = "COL")]
    pub(crate) question_column: Option<String>,
}

impl ColumnArguments {
    /// The columns that are named, by option.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("--cluster", &self.cluster),
            ("--alignment-column", &self.alignment_column),
            ("--coherence-column", &self.coherence_column),
            ("--question-column", &self.question_column),
        ]
        .into_iter()
        .filter_map(|(option, column)| Some((option, column.as_deref()?)))
    }

    pub(crate) fn names(&self) -> ColumnNames {
        ColumnNames {
            alignment: self.alignment_column.clone(),
            coherence: self.coherence_column.clone(),
            question: self.question_column.clone(),
            cluster: self.cluster.clone(),
            ..ColumnNames::default()
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct AnnotateArguments {
    /// The run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Who labels; default: the name of the user
    #[arg(long, value_name = "NAME")]
    pub(crate) annotator: Option<String>,
    /// How many answers to draw, the first time; default: 200, or all if there are fewer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// The seed of the draw and of the order; default: the experiment's
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Draw other answers; labels of those drawn before are kept but no longer count
    #[arg(long)]
    pub(crate) new_sample: bool,
    /// The port of the page; 0 takes one that is free
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) port: u16,
    /// Write all labels to a file instead
    #[arg(long, value_name = "FILE.csv", conflicts_with = "import")]
    pub(crate) export: Option<PathBuf>,
    /// Export without labels and probabilities, for somebody who labels elsewhere
    #[arg(long, requires = "export")]
    pub(crate) blank: bool,
    /// Read labels from a file instead
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["count", "seed", "new_sample"])]
    pub(crate) import: Option<PathBuf>,
    /// Label traces of reasoning by a code book, instead of answers: those that `trace` codes
    #[arg(long, conflicts_with_all = ["count", "new_sample"])]
    pub(crate) traces: bool,
    /// The code book; default: the one that traces were coded by last, or the built-in one
    #[arg(long, value_name = "FILE.toml", requires = "traces")]
    pub(crate) codebook: Option<PathBuf>,
    /// A column of the file, or a name in its column `labels`, that stands for a label of the code book. May be given
    /// several times
    #[arg(long, value_name = "NAME=LABEL", value_parser = mapping, requires = "import", requires = "traces")]
    pub(crate) map: Vec<(String, String)>,
}

fn mapping(text: &str) -> Result<(String, String), String> {
    let (name, label) = text.rsplit_once('=').ok_or("write NAME=LABEL")?;
    Ok((name.to_owned(), label.trim().to_owned()))
}

#[derive(Args, Debug)]
pub(crate) struct AgreementArguments {
    /// The run directory
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Print one JSON document (schema tiltmeter.agreement/1)
    #[arg(long)]
    pub(crate) json: bool,
}
