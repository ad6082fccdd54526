//! From what was written to what is meant: names looked up, files read, contradictions refused.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::error::ConfigError;
use super::file::ExperimentFile;
use super::locate::{Step, locate};
use super::published::Published;
use super::resolved::{Experiment, Judge, SamplingPlan, TiltPlan, Until};
use crate::data::statements::STATEMENTS;
use crate::demonstration::{Control, DemonstrationSet, MixOrder, Terms};
use crate::prompt::Placement;

/// The most demonstrations in a context.
pub(super) const MAXIMUM_SHOTS: u32 = 1024;

/// Where the texts of data files come from, so that this crate reads no file itself.
pub trait DataSource {
    /// The text of a file that an experiment file names.
    ///
    /// # Errors
    /// What the system says, without the file's name.
    fn text(&self, path: &str) -> Result<String, std::io::Error>;

    /// The bytes of a file that an experiment file names and that is not text.
    ///
    /// # Errors
    /// What the system says, without the file's name.
    fn bytes(&self, path: &str) -> Result<Vec<u8>, std::io::Error> {
        let _ = path;
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// The published set of a name; `None` where the name is that of none. Such a name goes before a path.
    fn published(&self, name: &str) -> Option<Published> {
        let _ = name;
        None
    }

    /// The names of all published sets, for suggestions.
    fn published_names(&self) -> Vec<String> {
        Vec::new()
    }
}

pub(super) struct Resolver<'a> {
    name: &'a str,
    text: &'a str,
    pub(super) source: &'a dyn DataSource,
    pub(super) notes: Vec<String>,
    pub(super) question_terms: IndexMap<String, Terms>,
    pub(super) stand_ins: Vec<String>,
}

/// Resolves an experiment file. `name` and `text` are the file's, for error texts.
///
/// # Errors
/// The first thing that is wrong, with its place and what to do.
pub fn resolve(
    name: &str,
    text: &str,
    file: ExperimentFile,
    source: &dyn DataSource,
) -> Result<Experiment, ConfigError> {
    let mut resolver = Resolver {
        name,
        text,
        source,
        notes: Vec::new(),
        question_terms: IndexMap::new(),
        stand_ins: Vec::new(),
    };
    resolver.experiment(file)
}

/// Resolves the judge of an experiment file alone: for scoring stored answers again, without the data that the
/// rest of the file names.
///
/// # Errors
/// The first thing that is wrong with the judge's table.
pub fn resolve_judge(name: &str, file: &ExperimentFile) -> Result<Option<Judge>, ConfigError> {
    struct Nothing;
    impl DataSource for Nothing {
        fn text(&self, _: &str) -> Result<String, std::io::Error> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }
    let resolver = Resolver {
        name,
        text: "",
        source: &Nothing,
        notes: Vec::new(),
        question_terms: IndexMap::new(),
        stand_ins: Vec::new(),
    };
    resolver.judge(file)
}

use Step::{Index, Key};

impl Resolver<'_> {
    pub(super) fn wrong(&self, path: &[Step], message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.name, message).at(locate(self.text, path))
    }

    fn experiment(&mut self, file: ExperimentFile) -> Result<Experiment, ConfigError> {
        if file.name.trim().is_empty() {
            return Err(self.wrong(&[Key("name")], "the experiment needs a name"));
        }
        let subjects = self.subjects(&file)?;
        let shots = self.shots(&file)?;
        let mut sets = Vec::new();
        for (index, set) in file.demonstrations.sets.iter().enumerate() {
            let set = self.demonstration_set(index, set)?;
            sets.push(set);
        }
        let controls = self.controls(&file, &sets)?;
        self.enough_rows(&sets, &shots)?;
        self.enough_for_controls(&controls, &shots)?;
        self.no_twins(&sets)?;
        if !(1..=10_000).contains(&file.demonstrations.contexts) {
            return Err(
                self.wrong(&[Key("demonstrations"), Key("contexts")], "`contexts` must be 1 to 10000")
            );
        }
        let (mut questions, question_sets) = self.questions(&file)?;
        if file.questions.replicates == 0 {
            return Err(self.wrong(&[Key("questions"), Key("replicates")], "`replicates` must be at least 1"));
        }
        for question in &questions {
            let turns = file.questions.replicates.saturating_mul(file.demonstrations.contexts) as usize;
            if question.paraphrases.len() > turns {
                self.notes.push(format!(
                    "question `{}` has {} wordings; with {} contexts of {} replicates only the first {turns} are asked",
                    question.id,
                    question.paraphrases.len(),
                    file.demonstrations.contexts,
                    file.questions.replicates
                ));
            }
        }
        let (mut reshapings, screens) = self.reshapings(&file)?;
        let guards = self.guards(&file, &mut reshapings)?;
        self.appendable(&file, &reshapings, &sets, &shots)?;
        let treatments = self.treatments(&file, reshapings)?;
        self.subjects_fit(&file, &subjects, &treatments)?;
        let sampling = SamplingPlan {
            seed: file.sampling.seed,
            shots: self.some_shots("sampling", file.sampling.shots.as_deref(), &shots)?,
            questions: self.some_questions("sampling", file.sampling.questions)?,
            until: self.until(&file)?,
        };
        let tilt = TiltPlan {
            measure: file.tilt.measure,
            shots: self.some_shots("tilt", file.tilt.shots.as_deref(), &shots)?,
            questions: self.some_questions("tilt", file.tilt.questions)?,
            decoys: file.tilt.decoys,
        };
        let usefulness = self.usefulness(&file.usefulness, &shots, &mut sets, &mut questions)?;
        let judge = self.judge(&file)?;
        self.statistics(&file)?;
        Ok(Experiment {
            name: file.name.clone(),
            subjects,
            sets,
            shots,
            contexts: file.demonstrations.contexts,
            nested: file.demonstrations.nested,
            placements: self.placements(&file)?,
            question_format: file.demonstrations.question_format,
            controls,
            questions,
            question_sets,
            question_terms: std::mem::take(&mut self.question_terms),
            stand_ins: std::mem::take(&mut self.stand_ins),
            replicates: file.questions.replicates,
            exclude_in_domain: file.questions.exclude_in_domain,
            treatments,
            screens,
            guards,
            sampling,
            tilt,
            usefulness,
            judge,
            notes: std::mem::take(&mut self.notes),
            file,
        })
    }

    fn placements(&self, file: &ExperimentFile) -> Result<Vec<Placement>, ConfigError> {
        let path = [Key("demonstrations"), Key("placement")];
        let placements = &file.demonstrations.placement.0;
        if placements.is_empty() {
            return Err(self
                .wrong(&path, "`placement` is empty")
                .hint("write for instance `placement = \"first-user\"`"));
        }
        for (index, placement) in placements.iter().enumerate() {
            if placements[..index].contains(placement) {
                let message = format!("the placement `{}` is named twice", placement.name());
                return Err(self.wrong(&[Key("demonstrations"), Key("placement"), Index(index)], message));
            }
        }
        Ok(placements.clone())
    }

    fn shots(&self, file: &ExperimentFile) -> Result<Vec<u32>, ConfigError> {
        let path = [Key("demonstrations"), Key("shots")];
        let mut shots = file.demonstrations.shots.clone();
        shots.sort_unstable();
        if shots.is_empty() {
            return Err(self
                .wrong(&path, "`shots` is empty")
                .hint("write for instance `shots = [0, 4, 16]`"));
        }
        if let Some([twice, ..]) = shots.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(self.wrong(&path, format!("`shots` names {twice} twice")));
        }
        if let Some(index) = file.demonstrations.shots.iter().position(|&k| k > MAXIMUM_SHOTS) {
            let [demonstrations, shots_key] = path;
            return Err(self.wrong(
                &[demonstrations, shots_key, Index(index)],
                format!("`shots` goes up to {MAXIMUM_SHOTS}, not {}", file.demonstrations.shots[index]),
            ));
        }
        Ok(shots)
    }

    fn some_shots(
        &self,
        table: &'static str,
        some: Option<&[u32]>,
        all: &[u32],
    ) -> Result<Vec<u32>, ConfigError> {
        let Some(some) = some else { return Ok(all.to_vec()) };
        let mut shots = some.to_vec();
        shots.sort_unstable();
        shots.dedup();
        if let Some(index) = some.iter().position(|k| !all.contains(k)) {
            return Err(self
                .wrong(
                    &[Key(table), Key("shots"), Index(index)],
                    format!("`{table}.shots` names {}, which is not in `demonstrations.shots`", some[index]),
                )
                .hint(format!("`demonstrations.shots` has {all:?}")));
        }
        Ok(shots)
    }

    fn some_questions(&self, table: &'static str, some: Option<u32>) -> Result<Option<usize>, ConfigError> {
        match some {
            Some(0) => Err(self
                .wrong(&[Key(table), Key("questions")], format!("`{table}.questions` must be at least 1"))
                .hint(format!("for none at all, write `{table}.shots = []`"))),
            other => Ok(other.map(|count| count as usize)),
        }
    }

    fn until(&self, file: &ExperimentFile) -> Result<Option<Until>, ConfigError> {
        let Some(until) = &file.sampling.until else { return Ok(None) };
        let path = |key| [Key("sampling"), Key("until"), Key(key)];
        if !(1e-4..=0.5).contains(&until.half_width) {
            let message = format!("`half_width` is {}, but must be 0.0001 to 0.5", until.half_width);
            return Err(self.wrong(&path("half_width"), message));
        }
        if file.judge.is_none() {
            return Err(self
                .wrong(
                    &[Key("sampling"), Key("until")],
                    "`until` needs a judge: without scores there is no rate",
                )
                .hint("add a [judge] table, or leave `until` out"));
        }
        Ok(Some(Until { half_width: until.half_width }))
    }

    fn statistics(&self, file: &ExperimentFile) -> Result<(), ConfigError> {
        match file.statistics.equivalence_margin {
            Some(margin) if !(margin > 0.0 && margin < 1.0) => {
                let path = [Key("statistics"), Key("equivalence_margin")];
                let message = format!("`equivalence_margin` is {margin}, but must be above 0 and below 1");
                Err(self.wrong(&path, message).hint("for five percentage points write 0.05"))
            }
            _ => Ok(()),
        }
    }

    fn controls(
        &self,
        file: &ExperimentFile,
        sets: &[DemonstrationSet],
    ) -> Result<Vec<Control>, ConfigError> {
        let mut controls = vec![Control::None];
        for (index, &control) in file.demonstrations.controls.iter().enumerate() {
            let path = [Key("demonstrations"), Key("controls"), Index(index)];
            if controls.contains(&control) {
                return Err(self.wrong(&path, format!("the control `{}` is named twice", control.name())));
            }
            if control.needs_benign() {
                for set in sets {
                    if set.rows.iter().any(|row| row.benign.is_none()) {
                        return Err(self
                            .wrong(&path, format!("the set `{}` has no benign answers", set.name))
                            .hint("name a file that has them: `sets = [{ path = \"bad.jsonl\", benign = \"good.jsonl\" }]`, or leave the control out"));
                    }
                }
            }
            controls.push(control);
        }
        Ok(controls)
    }

    fn enough_rows(&self, sets: &[DemonstrationSet], shots: &[u32]) -> Result<(), ConfigError> {
        let largest = shots.last().copied().unwrap_or(0);
        for set in sets {
            if (set.rows.len() as u64) < u64::from(largest) {
                return Err(self
                    .wrong(
                        &[Key("demonstrations"), Key("shots")],
                        format!(
                            "k = {largest} is larger than the set `{}`, which has {} rows",
                            set.name,
                            set.rows.len()
                        ),
                    )
                    .hint("a context shows no demonstration twice: lower k or use a larger set"));
            }
        }
        Ok(())
    }

    /// Refuses a k that a control has no statements for, and notes where mixtures are not what their names say.
    fn enough_for_controls(&mut self, controls: &[Control], shots: &[u32]) -> Result<(), ConfigError> {
        let largest = shots.last().copied().unwrap_or(0);
        for (index, &control) in controls.iter().enumerate() {
            let is_of_statements = matches!(control, Control::FalseHarmless | Control::TrueHarmless);
            if is_of_statements && largest as usize > STATEMENTS.len() {
                // The first control is the set's own answers, which the file does not name.
                let path = [Key("demonstrations"), Key("controls"), Index(index.saturating_sub(1))];
                let message = format!(
                    "k = {largest} is larger than the control `{}`, which has {} statements",
                    control.name(),
                    STATEMENTS.len()
                );
                return Err(self
                    .wrong(&path, message)
                    .hint("a context shows no statement twice: lower k or leave the control out"));
            }
            let Control::Mixed(mix) = control else { continue };
            let list = |wanted: &dyn Fn(u32) -> bool| -> Option<String> {
                let some: Vec<String> =
                    shots.iter().filter(|&&k| k > 0 && wanted(k)).map(ToString::to_string).collect();
                (!some.is_empty()).then(|| some.join(", "))
            };
            if let Some(left_out) = list(&|k| !control.is_distinct(k)) {
                self.notes.push(format!(
                    "`{}` is left out at k = {left_out}: too few demonstrations for answers of both kinds",
                    control.name()
                ));
            }
            let is_rounded = |k: u32| !(k * u32::from(mix.eighths)).is_multiple_of(8);
            if let Some(rounded) = list(&|k| control.is_distinct(k) && is_rounded(k)) {
                self.notes.push(format!(
                    "`{}` at k = {rounded}: its share is no whole number of demonstrations and is rounded{}",
                    control.name(),
                    if mix.order == MixOrder::Spread { ", up in some draws and down in others" } else { "" }
                ));
            }
        }
        Ok(())
    }

    fn no_twins(&self, sets: &[DemonstrationSet]) -> Result<(), ConfigError> {
        let mut seen = HashSet::new();
        for (index, set) in sets.iter().enumerate() {
            if !seen.insert(&set.name) {
                return Err(self
                    .wrong(
                        &[Key("demonstrations"), Key("sets"), Index(index)],
                        format!("two sets have the name `{}`", set.name),
                    )
                    .hint("give one of them another: `{ path = …, name = … }`"));
            }
        }
        Ok(())
    }
}
