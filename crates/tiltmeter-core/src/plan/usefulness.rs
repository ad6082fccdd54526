//! The conditions of probes of usefulness: each probe at each k, for every subject and treatment, without controls.

use super::Condition;
use super::reshape::Contexts;
use crate::demonstration::Control;
use crate::experiment::Experiment;
use crate::usefulness::Purpose;

impl Experiment {
    /// Adds the conditions behind the others. Contexts are drawn as those of all sets are.
    pub(super) fn usefulness_conditions(&self, contexts: &mut Contexts<'_>, conditions: &mut Vec<Condition>) {
        for subject in 0..self.subjects.len() {
            for probe in &self.usefulness.probes {
                for treatment in 0..self.treatments.len() {
                    if !self.treatments[treatment].applies_to(&self.subjects[subject]) {
                        continue;
                    }
                    for &shots in &probe.shots {
                        let mut condition = Condition {
                            purpose: Purpose::Usefulness,
                            subject,
                            set: probe.set,
                            control: Control::None,
                            placement: self.placements[0],
                            shots,
                            treatment,
                            contexts: Vec::new(),
                            sampled: probe.questions.clone().collect(),
                            scored: Vec::new(),
                        };
                        let specs = self.context_specs(&condition).into_iter();
                        condition.contexts = specs.map(|spec| contexts.place(spec)).collect();
                        conditions.push(condition);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::experiment::{DataSource, read, resolve};
    use crate::plan::{Plan, estimate};

    struct NoFiles;

    impl DataSource for NoFiles {
        fn text(&self, _: &str) -> Result<String, std::io::Error> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }

    fn experiment(rest: &str) -> Experiment {
        let text = format!(
            "name = 'x'\n[[subjects]]\nid = 'a'\nmodel = 'openai/m'\n[[subjects]]\nid = 'b'\nmodel = 'openai/m'\n\
             [judge]\nmodel = 'openai/j'\n[[instructions]]\nid = 'safety-first'\n[demonstrations]\n\
             sets = ['bad-medical']\nshots = [0, 4, 16]\ncontexts = 2\ncontrols = ['benign']\n\
             [questions]\nreplicates = 3\n{rest}\n"
        );
        resolve("x.toml", &text, read("x.toml", &text).unwrap(), &NoFiles).unwrap()
    }

    fn ids(experiment: &Experiment, plan: &Plan, purpose: Purpose) -> HashSet<String> {
        let blocks = plan.blocks.iter().filter(|block| block.purpose == purpose);
        blocks
            .flat_map(|block| {
                let context = Arc::new(experiment.render(plan.contexts[block.context]));
                let samples = experiment.samples(plan, block, &context);
                samples.map(|sample| sample.id.to_string()).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn probes_add_conditions_and_change_no_other() {
        let plain = experiment("");
        let probed =
            experiment("[usefulness]\nprobes = ['task', 'over-refusal']\nquestions = 6\nreplicates = 2");
        let (before, after) = (plain.plan(|_| true), probed.plan(|_| true));
        let (measured, of_probes): (Vec<_>, Vec<_>) =
            after.conditions.iter().partition(|condition| condition.purpose == Purpose::Misalignment);
        assert!(measured.into_iter().eq(&before.conditions));
        let shapes: HashSet<_> = of_probes
            .iter()
            .map(|one| {
                (one.subject, one.treatment, one.set, one.shots, one.contexts.len(), one.sampled.len())
            })
            .collect();
        assert_eq!(shapes.len(), 2 * 2 * (2 + 3));
        assert!(shapes.contains(&(1, 1, 2, 0, 1, 6)) && shapes.contains(&(0, 0, 1, 16, 2, 6)));
        assert!(of_probes.iter().all(|one| one.control == Control::None && one.scored.is_empty()));
        let of_before = ids(&plain, &before, Purpose::Misalignment);
        assert_eq!(of_before, ids(&probed, &after, Purpose::Misalignment));
        let useful = ids(&probed, &after, Purpose::Usefulness);
        assert_eq!(useful.len(), 2 * 2 * (4 + 5) * 6 * 2);
        assert!(useful.is_disjoint(&of_before));
        let (first, second) = (estimate(&plain, &before), estimate(&probed, &after));
        assert_eq!(second[0].samples - first[0].samples, useful.len() as u64 / 2);
        assert_eq!((second[0].judge_calls, second[0].scores), (first[0].judge_calls, first[0].scores));
    }
}
