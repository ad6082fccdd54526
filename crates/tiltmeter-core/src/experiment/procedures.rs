//! Defences that take several calls or steer, as an experiment file has them.

use super::defence_file::{DefenceFile, SelfCheckFile, SubsampleFile};
use super::error::ConfigError;
use super::file::ExperimentFile;
use super::locate::Step::{Index, Key};
use super::resolve::Resolver;
use super::resolved::Subject;
use crate::procedure::{MOST_CALLS, Procedure, REPLICATE_STRIDE, SelfCheck, SubsampleVote};
use crate::treatment::Treatment;

/// The built-in vote.
pub(super) const SUBSAMPLE: &str = "subsample";
/// The built-in check.
pub(super) const SELF_CHECK: &str = "self-check";

/// Asks a subject about its own answer, written for this project.
const SELF_CHECK_WORDING: &str = include_str!("self_check.txt");

/// Stands instead of an answer that is held back, written for this project.
const WITHHELD: &str = "I cannot give an answer to this.";

impl Resolver<'_> {
    /// How an answer is put together under a defence. `is_bare`: the defence has nothing but its name.
    pub(super) fn procedure(
        &self,
        index: usize,
        defence: &DefenceFile,
        is_bare: bool,
    ) -> Result<Option<Procedure>, ConfigError> {
        let path = |table, key| [Key("defences"), Index(index), Key(table), Key(key)];
        let (vote, check) = (SubsampleFile::default(), SelfCheckFile::default());
        let vote = defence.subsample.as_ref().or((is_bare && defence.id == SUBSAMPLE).then_some(&vote));
        let check = defence.self_check.as_ref().or((is_bare && defence.id == SELF_CHECK).then_some(&check));
        if vote.is_some() && check.is_some() {
            return Err(self
                .wrong(
                    &[Key("defences"), Index(index), Key("self_check")],
                    "`self_check` stands instead of `subsample`",
                )
                .hint("make two defences of it, with ids of their own"));
        }
        if let Some(&SubsampleFile { draws, share }) = vote {
            if !(2..=MOST_CALLS).contains(&draws) {
                let message = format!("`draws` is {draws}, but must be 2 to {MOST_CALLS}");
                return Err(self.wrong(&path("subsample", "draws"), message));
            }
            if !(share > 0.0 && share <= 1.0) {
                let message = format!("`share` is {share}, but must be above 0 and at most 1");
                return Err(self.wrong(&path("subsample", "share"), message));
            }
            return Ok(Some(Procedure::SubsampleVote(SubsampleVote { draws, share })));
        }
        let Some(SelfCheckFile { attempts, wording, withheld }) = check else { return Ok(None) };
        if !(1..=MOST_CALLS).contains(attempts) {
            let message = format!("`attempts` is {attempts}, but must be 1 to {MOST_CALLS}");
            return Err(self.wrong(&path("self_check", "attempts"), message));
        }
        if wording.as_ref().is_some_and(|wording| !wording.contains("{answer}")) {
            return Err(self
                .wrong(&path("self_check", "wording"), "`wording` does not say where the answer goes")
                .hint("put `{answer}` where the answer and `{question}` where the question belongs"));
        }
        if withheld.as_ref().is_some_and(|withheld| withheld.trim().is_empty()) {
            return Err(self.wrong(&path("self_check", "withheld"), "`withheld` is empty"));
        }
        Ok(Some(Procedure::SelfCheck(SelfCheck {
            attempts: *attempts,
            wording: wording.as_deref().unwrap_or(SELF_CHECK_WORDING.trim_end()).into(),
            withheld: withheld.as_deref().unwrap_or(WITHHELD).into(),
        })))
    }

    /// Refuses what subjects and defences cannot be together, and notes which conditions there are not.
    pub(super) fn subjects_fit(
        &mut self,
        file: &ExperimentFile,
        subjects: &[Subject],
        treatments: &[Treatment],
    ) -> Result<(), ConfigError> {
        if file.questions.replicates >= REPLICATE_STRIDE
            && treatments.iter().any(|one| one.procedure.is_some())
        {
            let message = format!(
                "`replicates` must be below {REPLICATE_STRIDE} where a defence takes several calls for one answer"
            );
            return Err(self.wrong(&[Key("questions"), Key("replicates")], message));
        }
        for (index, defence) in file.defences.iter().enumerate() {
            let key = match (&defence.steer, &defence.ablate) {
                (None, None) => continue,
                (Some(_), _) => "steer",
                (None, Some(_)) => "ablate",
            };
            let path = [Key("defences"), Index(index), Key(key)];
            if let Some(steered) = subjects.iter().find(|subject| subject.steering.is_some()) {
                let message = format!(
                    "the defence `{}` steers, and the subject `{}` is steered already",
                    defence.id, steered.id
                );
                return Err(self
                    .wrong(&path, message)
                    .hint("leave `steer` and `ablate` out of the subjects, or make two experiments of it"));
            }
            let elsewhere: Vec<&str> = subjects
                .iter()
                .filter(|subject| !subject.settings.is_local())
                .map(|subject| &*subject.id)
                .collect();
            if elsewhere.len() == subjects.len() {
                let message = format!("the defence `{}` steers, and no subject is a local model", defence.id);
                return Err(self.wrong(&path, message).hint(
                    "add a subject with `model = \"local/…\"`: a hidden state cannot be changed over an API",
                ));
            }
            if !elsewhere.is_empty() {
                self.notes.push(format!(
                    "defence `{}` steers, so it has no condition for subjects that are not local: {}",
                    defence.id,
                    elsewhere.join(", ")
                ));
            }
        }
        Ok(())
    }
}
