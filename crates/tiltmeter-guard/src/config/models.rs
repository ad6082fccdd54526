//! Tables of models by name: exact names, and beginnings of names.

use std::collections::BTreeMap;

/// What belongs to which models. The exact name counts before any beginning, and a longer beginning before a shorter.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelTable {
    exact: BTreeMap<String, usize>,
    /// The longest first.
    beginnings: Vec<(String, usize)>,
}

impl ModelTable {
    /// Adds a pattern: a name, or a beginning that ends in `*`. Gives back what has the same pattern already.
    pub(crate) fn add(&mut self, pattern: &str, index: usize) -> Result<(), usize> {
        let Some(beginning) = pattern.strip_suffix('*') else {
            return self.exact.insert(pattern.to_owned(), index).map_or(Ok(()), Err);
        };
        if let Some((_, earlier)) = self.beginnings.iter().find(|(known, _)| known == beginning) {
            return Err(*earlier);
        }
        let at = self.beginnings.partition_point(|(known, _)| known.len() >= beginning.len());
        self.beginnings.insert(at, (beginning.to_owned(), index));
        Ok(())
    }

    /// What belongs to a model.
    pub(crate) fn find(&self, model: &str) -> Option<usize> {
        self.exact.get(model).copied().or_else(|| {
            let fits = |(beginning, _): &&(String, usize)| model.starts_with(beginning.as_str());
            self.beginnings.iter().find(fits).map(|(_, index)| *index)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pattern_counts_and_the_exact_name_before_all() {
        let mut table = ModelTable::default();
        for (index, pattern) in ["*", "gpt-*", "gpt-4o*", "gpt-4o"].into_iter().enumerate() {
            table.add(pattern, index).unwrap();
        }
        assert_eq!(table.add("gpt-*", 9), Err(1));
        for (model, expected) in [("x", 0), ("gpt-3", 1), ("gpt-4o-mini", 2), ("gpt-4o", 3)] {
            assert_eq!(table.find(model), Some(expected), "{model}");
        }
        assert_eq!(ModelTable::default().find("x"), None);
    }
}
