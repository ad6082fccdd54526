//! Which column is which.

use serde::Serialize;

use crate::error::ScoreError;

/// The pseudo-column that holds the name of the file that a row is from.
pub(crate) const FILE: &str = "file";

/// Columns named by the user; `None`: found by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnNames {
    /// Holds the alignment score.
    pub alignment: Option<String>,
    /// Holds the coherence score.
    pub coherence: Option<String>,
    /// Says which question was asked.
    pub question: Option<String>,
    /// Rows with the same value make a cluster; default: the question column, if there is one.
    pub cluster: Option<String>,
    /// Holds a person's label of some rows; never found by name.
    pub label: Option<String>,
    /// Holds the probability with which a labelled row was chosen for labelling; never found by name.
    pub inclusion: Option<String>,
    /// Holds another judge's alignment score; never found by name.
    pub against: Option<String>,
    /// Holds that judge's coherence score; the first judge's, if it is not named.
    pub against_coherence: Option<String>,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Alignment,
    Coherence,
    Question,
}

impl Role {
    const ALL: [Self; 3] = [Self::Alignment, Self::Coherence, Self::Question];

    /// The names by which it is found, in lower case; a name of an earlier group goes before those of later ones.
    /// Published tables hold both a question's id and its text, and only the id tells its variants apart.
    fn candidates(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Alignment => &[&["aligned", "alignment", "aligned_score", "alignment_score"]],
            Self::Coherence => &[&["coherent", "coherence", "coherent_score", "coherence_score"]],
            Self::Question => &[&["question_id", "qid", "questionid"], &["question"]],
        }
    }

    /// What it is called in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alignment => "alignment",
            Self::Coherence => "coherence",
            Self::Question => "question",
        }
    }

    /// The option that names it.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Alignment => "--alignment-column",
            Self::Coherence => "--coherence-column",
            Self::Question => "--question-column",
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// The column of this index.
    Column(usize),
    /// The file's name.
    File,
}

/// The columns of a table that are used, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) alignment: usize,
    pub(crate) coherence: usize,
    pub(crate) cluster: Option<Field>,
    pub(crate) by: Vec<Field>,
    pub(crate) label: Option<usize>,
    pub(crate) inclusion: Option<usize>,
    pub(crate) against: Option<usize>,
    pub(crate) against_coherence: Option<usize>,
}

/// The columns that were used, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsedColumns {
    /// Held the alignment score.
    pub alignment: Option<String>,
    /// Held the coherence score.
    pub coherence: Option<String>,
    /// Made the clusters.
    pub cluster: Option<String>,
    /// Made the groups.
    pub by: Vec<String>,
    /// Held people's labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Held the labels' inclusion probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inclusion: Option<String>,
    /// Held another judge's alignment scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// Held that judge's coherence scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_coherence: Option<String>,
}

impl Layout {
    /// The names of what is used.
    pub(crate) fn used(&self, columns: &[String]) -> UsedColumns {
        let name = |index: usize| columns.get(index).cloned().unwrap_or_default();
        let field = |field: &Field| match field {
            Field::Column(index) => name(*index),
            Field::File => FILE.to_owned(),
        };
        UsedColumns {
            alignment: Some(name(self.alignment)),
            coherence: Some(name(self.coherence)),
            cluster: self.cluster.as_ref().map(field),
            by: self.by.iter().map(field).collect(),
            label: self.label.map(name),
            inclusion: self.inclusion.map(name),
            against: self.against.map(name),
            against_coherence: self.against_coherence.map(name),
        }
    }
}

/// A [`Layout`] some of whose columns have not been met yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) alignment: Option<usize>,
    pub(crate) coherence: Option<usize>,
    pub(crate) cluster: Option<Field>,
    pub(crate) by: Vec<Option<Field>>,
    pub(crate) label: Option<usize>,
    pub(crate) inclusion: Option<usize>,
    pub(crate) against: Option<usize>,
    pub(crate) against_coherence: Option<usize>,
}

/// What the user wants of every table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) names: ColumnNames,
    pub(crate) by: Vec<String>,
}

impl Wanted {
    fn named(&self, role: Role) -> Option<&str> {
        match role {
            Role::Alignment => self.names.alignment.as_deref(),
            Role::Coherence => self.names.coherence.as_deref(),
            Role::Question => self.names.question.as_deref(),
        }
    }

    /// Whether a column of this name could be used.
    pub(crate) fn is_relevant(&self, column: &str) -> bool {
        let normal = normal(column);
        let ColumnNames { cluster, label, inclusion, against, against_coherence, .. } = &self.names;
        let further = label.iter().chain(inclusion).chain(against).chain(against_coherence);
        let named = self.by.iter().chain(cluster).chain(further);
        let roles = Role::ALL.into_iter().any(|role| match self.named(role) {
            Some(name) => self::normal(name) == normal,
            None => role.candidates().iter().any(|names| names.contains(&normal.as_str())),
        });
        roles || named.into_iter().any(|name| self::normal(name) == normal)
    }

    /// Finds the columns among those of a table.
    pub(crate) fn choose(&self, file: &str, columns: &[String]) -> Result<Choice, ScoreError> {
        let field = |name: &str| -> Result<Option<Field>, ScoreError> {
            match find(file, columns, name, "")? {
                Some(index) => Ok(Some(Field::Column(index))),
                None if name == FILE => Ok(Some(Field::File)),
                None => Ok(None),
            }
        };
        let named = |name: &Option<String>| match name {
            Some(name) => find(file, columns, name, ""),
            None => Ok(None),
        };
        let cluster = match &self.names.cluster {
            Some(name) => field(name)?,
            None => self.role(file, columns, Role::Question)?.map(Field::Column),
        };
        Ok(Choice {
            alignment: self.role(file, columns, Role::Alignment)?,
            coherence: self.role(file, columns, Role::Coherence)?,
            cluster,
            by: self.by.iter().map(|name| field(name)).collect::<Result<_, _>>()?,
            label: named(&self.names.label)?,
            inclusion: named(&self.names.inclusion)?,
            against: named(&self.names.against)?,
            against_coherence: named(&self.names.against_coherence)?,
        })
    }

    fn role(&self, file: &str, columns: &[String], role: Role) -> Result<Option<usize>, ScoreError> {
        match self.named(role) {
            Some(name) => find(file, columns, name, role.name()),
            None => role
                .candidates()
                .iter()
                .map(|names| found(file, columns, role, names))
                .find_map(Result::transpose)
                .transpose(),
        }
    }

    /// Makes a layout of a choice, or says what is missing and what there is.
    pub(crate) fn complete(
        &self,
        file: &str,
        choice: Choice,
        existing: &[String],
    ) -> Result<Layout, ScoreError> {
        let missing = |name: &str| ScoreError::missing_column(file, name, existing);
        let named = |index: Option<usize>, name: &Option<String>| match (index, name) {
            (None, Some(name)) => Err(missing(name)),
            (index, _) => Ok(index),
        };
        let role = |role: Role, index: Option<usize>| {
            index.ok_or_else(|| match self.named(role) {
                Some(name) => missing(name),
                None => ScoreError::missing_role(file, role, &role.candidates().concat(), existing),
            })
        };
        Ok(Layout {
            alignment: role(Role::Alignment, choice.alignment)?,
            coherence: role(Role::Coherence, choice.coherence)?,
            cluster: match (choice.cluster, self.names.cluster.as_ref().or(self.names.question.as_ref())) {
                (None, Some(name)) => return Err(missing(name)),
                (cluster, _) => cluster,
            },
            by: choice
                .by
                .into_iter()
                .zip(&self.by)
                .map(|(field, name)| field.ok_or_else(|| missing(name)))
                .collect::<Result<_, _>>()?,
            label: named(choice.label, &self.names.label)?,
            inclusion: named(choice.inclusion, &self.names.inclusion)?,
            against: named(choice.against, &self.names.against)?,
            against_coherence: named(choice.against_coherence, &self.names.against_coherence)?,
        })
    }

    /// The layout of a table whose columns are all known.
    pub(crate) fn layout(&self, file: &str, columns: &[String]) -> Result<Layout, ScoreError> {
        self.complete(file, self.choose(file, columns)?, columns)
    }
}

/// Upper and lower case, and hyphens, blanks and underscores, are not told apart.
fn normal(name: &str) -> String {
    name.trim().to_lowercase().replace(['-', ' '], "_")
}

/// The column of a given name: written exactly so, or else but for case.
fn find(file: &str, columns: &[String], name: &str, what: &str) -> Result<Option<usize>, ScoreError> {
    let exact: Vec<usize> = positions(columns, |column| column == name);
    let found =
        if exact.is_empty() { positions(columns, |column| normal(column) == normal(name)) } else { exact };
    only(file, columns, &found, what, None)
}

/// The only column that has one of the names.
fn found(file: &str, columns: &[String], role: Role, names: &[&str]) -> Result<Option<usize>, ScoreError> {
    let found = positions(columns, |column| names.contains(&normal(column).as_str()));
    only(file, columns, &found, role.name(), Some(role.option()))
}

fn positions(columns: &[String], matches: impl Fn(&str) -> bool) -> Vec<usize> {
    columns.iter().enumerate().filter(|(_, column)| matches(column)).map(|(index, _)| index).collect()
}

fn only(
    file: &str,
    columns: &[String],
    found: &[usize],
    what: &str,
    option: Option<&'static str>,
) -> Result<Option<usize>, ScoreError> {
    match found {
        [first, second, ..] => {
            let name = |index: &usize| columns.get(*index).map_or("", String::as_str);
            Err(ScoreError::ambiguous_column(file, what, name(first), name(second), option))
        }
        [only] => Ok(Some(*only)),
        [] => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn wanted(by: &[&str]) -> Wanted {
        Wanted { names: ColumnNames::default(), by: columns(by) }
    }

    #[test]
    fn columns_are_found_by_name_whatever_their_case() {
        type Found = (usize, usize, Option<usize>);
        let cases: [(&[&str], Found); 5] = [
            (&["aligned", "coherent"], (0, 1, None)),
            (&["question", "answer", "question_id", "aligned", "coherent"], (3, 4, Some(2))),
            (&["Coherence Score", "ALIGNMENT", "Question"], (1, 0, Some(2))),
            (&["qid", "alignment-score", "coherence"], (1, 2, Some(0))),
            (&["judge_aligned", "coherent_binary", "aligned", "coherent"], (2, 3, None)),
        ];
        for (names, (alignment, coherence, cluster)) in cases {
            let layout = wanted(&[]).layout("f", &columns(names)).unwrap();
            assert_eq!((layout.alignment, layout.coherence), (alignment, coherence), "{names:?}");
            assert_eq!(layout.cluster, cluster.map(Field::Column), "{names:?}");
        }
    }

    #[test]
    fn what_is_missing_or_ambiguous_is_said_with_what_there_is() {
        let cases: [(&[&str], &[&str], &[&str]); 6] = [
            (
                &["score", "coherent"],
                &[],
                &["no alignment column", "`score`, `coherent`", "--alignment-column"],
            ),
            (&["aligned"], &[], &["no coherence column", "`aligned`"]),
            (
                &["aligned", "alignment", "coherent"],
                &[],
                &["`aligned` and `alignment`", "--alignment-column"],
            ),
            (&["aligned", "aligned", "coherent"], &[], &["`aligned` is there twice"]),
            (
                &["aligned", "coherent", "qid", "question_id"],
                &[],
                &["`qid` and `question_id`", "--question-column"],
            ),
            (&["aligned", "coherent"], &["model"], &["no column `model`", "`aligned`, `coherent`"]),
        ];
        for (names, by, expected) in cases {
            let error = wanted(by).layout("f.csv", &columns(names)).unwrap_err().to_string();
            assert!(error.starts_with("f.csv: "), "{error}");
            for part in expected {
                assert!(error.contains(part), "{part} in: {error}");
            }
        }
    }

    #[test]
    fn named_columns_go_before_found_ones() {
        let mut wanted = wanted(&["MODEL", "file"]);
        wanted.names.alignment = Some("alignment".to_owned());
        wanted.names.cluster = Some("model".to_owned());
        let layout =
            wanted.layout("f", &columns(&["aligned", "alignment", "coherent", "Model", "qid"])).unwrap();
        assert_eq!((layout.alignment, layout.cluster), (1, Some(Field::Column(3))));
        assert_eq!(layout.by, [Field::Column(3), Field::File]);
        // A table's own column of that name goes before the file's name.
        let layout = wanted.layout("f", &columns(&["alignment", "coherent", "model", "file"])).unwrap();
        assert_eq!(layout.by, [Field::Column(2), Field::Column(3)]);
    }
}
