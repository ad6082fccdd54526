//! The probes of usefulness that an experiment asks: looked up, read, and put behind its own sets and questions.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::error::{ConfigError, suggestion};
use super::file::UsefulnessFile;
use super::locate::Step;
use super::resolve::Resolver;
use super::resolved::Experiment;
use super::sets::looks_like_a_path;
use crate::data::probes::{PROBES, builtin_probe, read};
use crate::demonstration::DemonstrationSet;
use crate::id::ContentId;
use crate::question::Question;
use crate::usefulness::{Expectation, Probe, ProbeKind, Purpose};

/// Which probes are asked, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsefulnessPlan {
    /// The probes, in the order of the experiment file.
    pub probes: Vec<ProbeInUse>,
    /// Answers per question and context.
    pub replicates: u32,
}

/// A probe as an experiment asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeInUse {
    /// Name in tables.
    pub name: Arc<str>,
    /// What it measures.
    pub kind: ProbeKind,
    /// Hash of its file.
    pub hash: ContentId,
    /// Index of its demonstrations in [`Experiment::sets`].
    pub set: usize,
    /// Indices of its questions in [`Experiment::questions`].
    pub questions: Range<usize>,
    /// What a useful answer to each of them is.
    pub expectations: Vec<Expectation>,
    /// The values of k, ascending.
    pub shots: Vec<u32>,
}

impl Experiment {
    /// The demonstration sets without those of the probes of usefulness.
    pub fn measured_sets(&self) -> &[DemonstrationSet] {
        let end = self.usefulness.probes.first().map_or(self.sets.len(), |probe| probe.set);
        self.sets.get(..end).unwrap_or(&self.sets)
    }

    /// The questions without those of the probes of usefulness.
    pub fn evaluation_questions(&self) -> &[Question] {
        let end = self.usefulness.probes.first().map_or(self.questions.len(), |probe| probe.questions.start);
        self.questions.get(..end).unwrap_or(&self.questions)
    }

    /// The probe whose demonstrations a set are.
    pub fn probe_of(&self, set: usize) -> Option<&ProbeInUse> {
        self.usefulness.probes.iter().find(|probe| probe.set == set)
    }

    /// Answers per question and context.
    pub fn replicates_for(&self, purpose: Purpose) -> u32 {
        match purpose {
            Purpose::Misalignment => self.replicates,
            Purpose::Usefulness => self.usefulness.replicates,
        }
    }
}

use Step::{Index, Key};

impl Resolver<'_> {
    /// Reads the probes and puts their demonstrations and questions behind those of the experiment.
    pub(super) fn usefulness(
        &mut self,
        file: &UsefulnessFile,
        shots: &[u32],
        sets: &mut Vec<DemonstrationSet>,
        questions: &mut Vec<Question>,
    ) -> Result<UsefulnessPlan, ConfigError> {
        let key = |key| [Key("usefulness"), Key(key)];
        if file.replicates == 0 {
            return Err(self.wrong(&key("replicates"), "`usefulness.replicates` must be at least 1"));
        }
        if file.questions.is_some_and(|questions| questions < 2) {
            return Err(self
                .wrong(&key("questions"), "`usefulness.questions` must be at least 2")
                .hint("an interval over questions takes two; for none at all leave `probes` out"));
        }
        let mut plan = UsefulnessPlan { probes: Vec::new(), replicates: file.replicates };
        let mut asked: HashSet<Arc<str>> =
            questions.iter().flat_map(|question| &question.paraphrases).cloned().collect();
        for (index, name) in file.probes.iter().enumerate() {
            let path = [Key("usefulness"), Key("probes"), Index(index)];
            let mut probe = self.probe(&path, name)?;
            probe.questions.truncate(file.questions.map_or(usize::MAX, |questions| questions as usize));
            let set = &probe.demonstrations;
            if sets.iter().any(|other| other.name == set.name) {
                let message = format!("a demonstration set or another probe has the name `{}`", set.name);
                return Err(self.wrong(&path, message).hint("give one of them another `name`"));
            }
            // Without demonstrations two questions of the same text would be one sample.
            let mut wordings = probe.questions.iter().map(|one| one.question.wording(0));
            if let Some(twice) = wordings.find(|wording| !asked.insert((*wording).clone())) {
                let message = format!("`{name}` asks what another set of questions asks too: `{twice}`");
                return Err(self.wrong(&path, message));
            }
            let shots = self.probe_shots(&path, file.shots.as_deref(), shots, &probe)?;
            let start = questions.len();
            let (kind, hash) = (probe.kind, probe.hash);
            let expectations = probe.questions.iter().map(|one| one.expectation.clone()).collect();
            questions.extend(probe.questions.into_iter().map(|one| one.question));
            plan.probes.push(ProbeInUse {
                name: probe.demonstrations.name.clone(),
                kind,
                hash,
                set: sets.len(),
                questions: start..questions.len(),
                expectations,
                shots,
            });
            sets.push(probe.demonstrations);
        }
        Ok(plan)
    }

    fn probe(&self, path: &[Step], name: &str) -> Result<Probe, ConfigError> {
        if let Some(builtin) = builtin_probe(name) {
            return builtin;
        }
        if !looks_like_a_path(name) {
            return Err(self
                .wrong(path, format!("there is no built-in probe `{name}`"))
                .hint(format!("{} Paths end in `.json` or hold a `/`.", suggestion(name, &PROBES))));
        }
        read(name, name, &self.data(path, name)?)
    }

    /// The values of k at which a probe is asked.
    fn probe_shots(
        &mut self,
        path: &[Step],
        some: Option<&[u32]>,
        all: &[u32],
        probe: &Probe,
    ) -> Result<Vec<u32>, ConfigError> {
        let rows = probe.demonstrations.rows.len();
        let is_enough = |k: u32| k as usize <= rows;
        let name = &probe.demonstrations.name;
        let Some(some) = some else {
            let mut shots: Vec<u32> = all.iter().copied().filter(|&k| k > 0 && is_enough(k)).collect();
            if let Some(k) = all.iter().find(|&&k| !is_enough(k)) {
                self.notes.push(format!(
                    "the probe `{name}` has {rows} demonstrations and is not asked at k = {k} and above"
                ));
            }
            if probe.kind == ProbeKind::OverRefusal {
                shots.insert(0, 0);
            }
            return Ok(shots);
        };
        for (index, k) in some.iter().enumerate() {
            let path = [Key("usefulness"), Key("shots"), Index(index)];
            if *k > 0 && !all.contains(k) {
                return Err(self
                    .wrong(
                        &path,
                        format!("`usefulness.shots` names {k}, which is not in `demonstrations.shots`"),
                    )
                    .hint(format!("`demonstrations.shots` has {all:?}")));
            }
        }
        if let Some(k) = some.iter().find(|&&k| !is_enough(k)) {
            return Err(self
                .wrong(
                    path,
                    format!("k = {k} is larger than the probe `{name}`, which has {rows} demonstrations"),
                )
                .hint("leave it out of `usefulness.shots`"));
        }
        let mut shots = some.to_vec();
        shots.sort_unstable();
        shots.dedup();
        Ok(shots)
    }
}

#[cfg(test)]
mod tests {
    use crate::experiment::{DataSource, read, resolve};

    struct Probe;

    impl DataSource for Probe {
        fn text(&self, path: &str) -> Result<String, std::io::Error> {
            let builtin = include_str!("../../data/probes/task.json");
            match path {
                "own.json" => Ok(builtin.replacen("\"task\"", "\"own\"", 1)),
                "bad-medical.json" => Ok(builtin.replacen("\"task\"", "\"bad-medical\"", 1)),
                _ => Err(std::io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn resolved(shots: &str, usefulness: &str) -> Result<super::Experiment, String> {
        let text = format!(
            "name = 'x'\n[[subjects]]\nid = 'a'\nmodel = 'openai/m'\n[demonstrations]\nsets = ['bad-medical']\n\
             shots = {shots}\n[usefulness]\n{usefulness}\n"
        );
        let file = read("x.toml", &text).map_err(|error| error.to_string())?;
        resolve("x.toml", &text, file, &Probe).map_err(|error| error.to_string())
    }

    #[test]
    fn probes_stand_behind_the_sets_and_questions_of_the_experiment() {
        let experiment = resolved("[0, 4]", "probes = ['task', 'over-refusal']\nquestions = 5").unwrap();
        assert_eq!((experiment.sets.len(), experiment.measured_sets().len()), (3, 1));
        let (all, evaluated) = (experiment.questions.len(), experiment.evaluation_questions().len());
        assert_eq!(all, evaluated + 10);
        let [task, over_refusal] = &experiment.usefulness.probes[..] else { panic!("two probes") };
        assert_eq!((task.questions.clone(), &task.shots[..]), (evaluated..evaluated + 5, &[4][..]));
        assert_eq!(&over_refusal.shots[..], [0, 4]);
        assert_eq!(experiment.probe_of(2).unwrap().name, over_refusal.name);
        assert!(resolved("[0, 4]", "").unwrap().usefulness.probes.is_empty());
    }

    #[test]
    fn a_probe_is_not_asked_beyond_its_demonstrations() {
        let experiment = resolved("[4, 16]", "probes = ['own.json']").unwrap();
        assert_eq!(experiment.usefulness.probes[0].shots, [4, 16]);
        let text = "probes = ['tone']";
        // The set itself would be too small for such a k.
        assert!(resolved("[512]", text).unwrap_err().contains("larger than the set `bad-medical`"));
    }

    #[test]
    fn errors_say_what_and_where() {
        for (shots, usefulness, expected) in [
            (
                "[4]",
                "probes = ['tsk']",
                "x.toml:9:11: there is no built-in probe `tsk`\n  did you mean `task`?",
            ),
            ("[4]", "probes = ['no.json']", "x.toml:9:11: cannot read the data file `no.json`"),
            (
                "[4]",
                "probes = ['task', 'task']",
                "x.toml:9:19: a demonstration set or another probe has the name `task`",
            ),
            (
                "[4]",
                "probes = ['bad-medical.json']",
                "x.toml:9:11: a demonstration set or another probe has the name",
            ),
            (
                "[4]",
                "probes = ['task', 'own.json']",
                "x.toml:9:19: `own.json` asks what another set of questions asks",
            ),
            (
                "[4]",
                "probes = ['task']\nshots = [2]",
                "x.toml:10:10: `usefulness.shots` names 2, which is not in",
            ),
            ("[4]", "replicates = 0", "x.toml:9:14: `usefulness.replicates` must be at least 1"),
            ("[4]", "questions = 1", "x.toml:9:13: `usefulness.questions` must be at least 2"),
        ] {
            let error = resolved(shots, usefulness).unwrap_err();
            assert!(error.starts_with(expected), "for {usefulness}: {error}");
        }
    }
}
