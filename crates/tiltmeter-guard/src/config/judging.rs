//! Judges of answers, checks of answers, and which answers are judged.

use std::collections::BTreeMap;
use std::sync::Arc;

use tiltmeter_core::experiment::Step;

use super::file::{GuardFile, OutputCheckFile, RouteFile};
use super::resolve::{Resolved, Resolver};
use super::settings::JudgingSettings;
use crate::drift::Drift;
use crate::judging::{AnswerJudge, SamplingSettings};
use crate::output::{JudgeCheck, JudgeCheckFile, OutputCheck};

/// Judges by their names.
pub(super) type Judges = BTreeMap<String, Arc<AnswerJudge>>;

/// The kind of check that asks a judge; all others are made by whoever reads the configuration.
const JUDGE: &str = "judge";

impl Resolver<'_> {
    pub(super) fn judges(&self, file: &GuardFile) -> Resolved<Judges> {
        let mut judges = Judges::new();
        for (index, judge) in file.judges.iter().enumerate() {
            let at = |key| [Step::Key("judges"), Step::Index(index), Step::Key(key)];
            let made = judge
                .open(self.sources.folder, self.sources.environment)
                .map_err(|error| self.error(&at(error.field()), error.to_string()))?;
            if judges.insert(judge.name.clone(), Arc::new(made)).is_some() {
                return Err(self.error(&at("name"), format!("two judges are named `{}`", judge.name)));
            }
        }
        Ok(judges)
    }

    pub(super) fn output_checks(
        &self,
        file: &GuardFile,
        judges: &Judges,
    ) -> Resolved<BTreeMap<String, Arc<dyn OutputCheck>>> {
        let mut checks = BTreeMap::new();
        for (index, check) in file.output_checks.iter().enumerate() {
            let at = |key| [Step::Key("output_checks"), Step::Index(index), Step::Key(key)];
            let made = match check.kind.as_str() {
                JUDGE => self.judge_check(check, &at("settings"), judges)?,
                kind => (self.sources.output_check)(kind, &check.settings)
                    .map_err(|message| self.error(&at("kind"), message))?,
            };
            if checks.insert(check.name.clone(), made).is_some() {
                return Err(self.error(&at("name"), format!("two output checks are named `{}`", check.name)));
            }
        }
        Ok(checks)
    }

    fn judge_check(
        &self,
        check: &OutputCheckFile,
        path: &[Step],
        judges: &Judges,
    ) -> Resolved<Arc<dyn OutputCheck>> {
        let settings: Result<JudgeCheckFile, _> = toml::Value::Table(check.settings.clone()).try_into();
        let settings = settings.map_err(|error| self.error(path, error.message().to_owned()))?;
        let judge = judges
            .get(&settings.judge)
            .ok_or_else(|| self.unknown(path, "judge", &settings.judge, judges.keys()))?;
        let made = JudgeCheck::new(Arc::clone(judge), &settings);
        Ok(Arc::new(made.map_err(|message| self.error(path, message))?))
    }

    pub(super) fn judging(
        &self,
        route: &RouteFile,
        index: usize,
        judges: &Judges,
    ) -> Resolved<Option<JudgingSettings>> {
        let Some(judging) = &route.judging else { return Ok(None) };
        let at = |key| [Step::Key("routes"), Step::Index(index), Step::Key("judging"), Step::Key(key)];
        let judge = judges
            .get(&judging.judge)
            .ok_or_else(|| self.unknown(&at("judge"), "judge", &judging.judge, judges.keys()))?;
        if !(0.0..=1.0).contains(&judging.rate) {
            return Err(self.error(&at("rate"), "a share of answers is from 0 to 1"));
        }
        Drift::new(judging.drift).map_err(|error| self.error(&at("drift"), error.to_string()))?;
        Ok(Some(JudgingSettings {
            judge: Arc::clone(judge),
            sampling: SamplingSettings {
                rate: judging.rate,
                always_from: judging.always_from,
                salt: judging.salt.clone(),
            },
            drift: judging.drift,
        }))
    }
}
