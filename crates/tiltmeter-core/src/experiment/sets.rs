//! The data sets of an experiment: names looked up (built in, published, then paths) and texts read.

use super::error::{ConfigError, nearest, suggestion};
use super::file::{ExperimentFile, SetFile, SetTable};
use super::locate::Step;
use super::published::{Published, PublishedContent, PublishedKind, StandIn};
use super::resolve::Resolver;
use crate::data::{builtin, messages, questions_yaml, truthful_qa};
use crate::demonstration::{Demonstration, DemonstrationSet, Domain, Terms};
use crate::id::ContentId;
use crate::question::{Question, QuestionSet};

/// The questions of all sets, and origin and hash of each set.
type Questions = (Vec<Question>, Vec<(String, ContentId)>);

/// The rows of a file or published set.
struct Loaded {
    rows: Rows,
    domain: Option<Domain>,
    terms: Option<Terms>,
}

enum Rows {
    Read(Vec<Demonstration>),
    StandIn(StandIn),
}

impl Rows {
    fn measures(&self) -> StandIn {
        match self {
            Self::Read(rows) => StandIn::of(rows),
            Self::StandIn(stand_in) => stand_in.clone(),
        }
    }
}

use Step::{Index, Key};

impl Resolver<'_> {
    pub(super) fn demonstration_set(
        &mut self,
        index: usize,
        set: &SetFile,
    ) -> Result<DemonstrationSet, ConfigError> {
        let path = [Key("demonstrations"), Key("sets"), Index(index)];
        let table = match set {
            SetFile::Name(name) => {
                if let Some(builtin) = builtin::demonstrations(name) {
                    return builtin.map_err(|error| ConfigError::new(name, error.to_string()));
                }
                if !looks_like_a_path(name) {
                    return Err(self
                        .wrong(&path, format!("there is no built-in demonstration set `{name}`"))
                        .hint(format!(
                            "{} Paths end in `.jsonl` or hold a `/`.",
                            suggestion(name, &builtin::DEMONSTRATION_SETS)
                        )));
                }
                &SetTable { path: name.clone(), name: None, benign: None, domain: None }
            }
            SetFile::Table(table) => table,
        };
        let loaded = self.load(&path, &table.path)?;
        let benign = match &table.benign {
            Some(benign) => Some((benign.as_str(), self.load(&path, benign)?)),
            None => None,
        };
        let domain = table.domain.or(loaded.domain);
        let name = match (&table.name, &loaded.terms) {
            (Some(name), _) => name.as_str(),
            (None, Some(_)) => table.path.as_str(),
            (None, None) => stem(&table.path),
        };
        let benign_terms = benign.as_ref().and_then(|(_, benign)| benign.terms.clone());
        let terms = match (loaded.terms, benign_terms) {
            (Some(terms), Some(benign)) => Some(terms.and(benign)),
            (terms, benign) => terms.or(benign),
        };
        let mut set = match (loaded.rows, benign) {
            (Rows::Read(rows), None) => messages::into_set(name, domain, &table.path, rows, None)?,
            (Rows::Read(rows), Some((file, Loaded { rows: Rows::Read(benign), .. }))) => {
                messages::into_set(name, domain, &table.path, rows, Some((file, benign)))?
            }
            (rows, benign) => {
                let benign = benign.map(|(_, benign)| benign.rows.measures());
                rows.measures().demonstrations(name, domain, &table.path, benign.as_ref())
            }
        };
        set.terms = terms;
        self.notes.extend(set.notes.iter().cloned());
        Ok(set)
    }

    /// The rows of a published set or of a file. Published names go first.
    fn load(&mut self, path: &[Step], name: &str) -> Result<Loaded, ConfigError> {
        let Some(published) = self.source.published(name) else {
            let rows = messages::read(name, &self.data(path, name)?)?;
            return Ok(Loaded { rows: Rows::Read(rows), domain: None, terms: None });
        };
        self.is_of_kind(path, name, &published, PublishedKind::Demonstrations)?;
        let rows = match published.content {
            PublishedContent::Text(text) if published.kind == PublishedKind::TruthfulQa => {
                Rows::Read(truthful_qa::read(name, &text)?)
            }
            PublishedContent::Text(text) => Rows::Read(messages::read(name, &text)?),
            PublishedContent::StandIn(stand_in) => {
                self.stand_in(name, &stand_in);
                Rows::StandIn(stand_in)
            }
            PublishedContent::Unusable { reason, hint } => return Err(self.wrong(path, reason).hint(hint)),
        };
        Ok(Loaded { rows, domain: published.domain, terms: Some(published.terms) })
    }

    fn is_of_kind(
        &self,
        path: &[Step],
        name: &str,
        published: &Published,
        kind: PublishedKind,
    ) -> Result<(), ConfigError> {
        if published.kind.name() == kind.name() {
            return Ok(());
        }
        Err(self.wrong(
            path,
            format!("the published set `{name}` is one of {}, not of {}", published.kind.name(), kind.name()),
        ))
    }

    fn stand_in(&mut self, name: &str, stand_in: &StandIn) {
        if !self.stand_ins.iter().any(|known| known == name) {
            self.stand_ins.push(name.to_owned());
            self.notes.push(stand_in.note(name));
        }
    }

    pub(super) fn data(&self, path: &[Step], file: &str) -> Result<String, ConfigError> {
        self.source.text(file).map_err(|error| {
            let names = self.source.published_names();
            let hint = match nearest(file, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean the published set `{near}`?"),
                None => "paths are taken from the folder of the experiment file".to_owned(),
            };
            self.wrong(path, format!("cannot read the data file `{file}`: {error}")).hint(hint)
        })
    }

    pub(super) fn questions(&mut self, file: &ExperimentFile) -> Result<Questions, ConfigError> {
        let path = [Key("questions"), Key("sets")];
        if file.questions.sets.is_empty() {
            return Err(self
                .wrong(&path, "`questions.sets` is empty")
                .hint("write `sets = [\"builtin\"]` or name a question file"));
        }
        let mut questions: Vec<Question> = Vec::new();
        let mut sets = Vec::new();
        for (index, name) in file.questions.sets.iter().enumerate() {
            let path = [Key("questions"), Key("sets"), Index(index)];
            let set = self.question_set(&path, name)?;
            self.notes.extend(set.notes);
            for question in set.questions {
                if questions.iter().any(|other| other.id == question.id) {
                    return Err(self.wrong(
                        &path,
                        format!("the question id `{}` stands in more than one question set", question.id),
                    ));
                }
                questions.push(question);
            }
            sets.push((set.origin, set.hash));
        }
        Ok((questions, sets))
    }

    fn question_set(&mut self, path: &[Step], name: &str) -> Result<QuestionSet, ConfigError> {
        if name == builtin::QUESTION_SET {
            return builtin::questions().map_err(|error| ConfigError::new(name, error.to_string()));
        }
        if let Some(published) = self.source.published(name) {
            self.is_of_kind(path, name, &published, PublishedKind::Questions)?;
            let set = match published.content {
                PublishedContent::Text(text) => questions_yaml::read(name, &text)?,
                PublishedContent::StandIn(stand_in) => {
                    self.stand_in(name, &stand_in);
                    stand_in.questions(name)
                }
                PublishedContent::Unusable { reason, hint } => {
                    return Err(self.wrong(path, reason).hint(hint));
                }
            };
            self.question_terms.insert(name.to_owned(), published.terms);
            return Ok(set);
        }
        if !looks_like_a_path(name) {
            return Err(self.wrong(path, format!("there is no built-in question set `{name}`")).hint(
                format!("{} Paths end in `.yaml` or hold a `/`.", suggestion(name, &[builtin::QUESTION_SET])),
            ));
        }
        questions_yaml::read(name, &self.data(path, name)?)
    }
}

pub(super) fn looks_like_a_path(name: &str) -> bool {
    name.contains(['/', '\\', '.'])
}

/// The file's name without folders and without its last ending.
fn stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}
