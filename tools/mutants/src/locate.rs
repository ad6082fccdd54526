//! Which mutants a place in a rewritten file belongs to.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, Expr, ExprIf, ExprMatch, Lit, Pat};

use crate::list::Place;

/// A stretch of the rewritten file.
#[derive(Debug)]
struct Stretch {
    from: Place,
    to: Place,
    numbers: BTreeSet<u32>,
    is_branch: bool,
}

/// What a place belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The mutated branch of one mutant.
    Branch(u32),
    /// What the mutants of a site share: bound operands and the unchanged branch.
    Site(BTreeSet<u32>),
}

/// All branches and sites of a rewritten file.
pub(crate) struct Sites(Vec<Stretch>);

impl Sites {
    pub(crate) fn new(rewritten: &str) -> Result<Self> {
        let file = syn::parse_file(rewritten).context("failed to parse the rewritten source")?;
        let mut finder = Finder(Vec::new());
        finder.visit_file(&file);
        Ok(Self(finder.0))
    }

    /// The innermost branch or site around a place.
    pub(crate) fn owner(&self, place: Place) -> Option<Owner> {
        let around = self.0.iter().filter(|stretch| stretch.from <= place && place <= stretch.to);
        let innermost = around.max_by_key(|stretch| (stretch.from, std::cmp::Reverse(stretch.to)))?;
        if innermost.is_branch {
            return innermost.numbers.first().copied().map(Owner::Branch);
        }
        Some(Owner::Site(innermost.numbers.clone()))
    }
}

struct Finder(Vec<Stretch>);

impl Finder {
    fn add(&mut self, node: &impl Spanned, numbers: BTreeSet<u32>, is_branch: bool) {
        let (start, end) = (node.span().start(), node.span().end());
        let from = Place { line: start.line, column: start.column + 1 };
        let to = Place { line: end.line, column: end.column + 1 };
        if !numbers.is_empty() {
            self.0.push(Stretch { from, to, numbers, is_branch });
        }
    }
}

/// The number that an expression asks for.
fn asked(expression: &Expr) -> Option<u32> {
    let Expr::Call(call) = expression else { return None };
    let Expr::Path(path) = &*call.func else { return None };
    let names: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    if names != ["crate", "mutant", "is"] {
        return None;
    }
    match call.args.first() {
        Some(Expr::Lit(literal)) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a match is the frame of a site.
fn is_frame(node: &ExprMatch) -> bool {
    let ours =
        |pattern: &Pat| matches!(pattern, Pat::Ident(name) if name.ident.to_string().starts_with("__"));
    match node.arms.first().map(|arm| &arm.pat) {
        Some(Pat::Tuple(tuple)) => tuple.elems.iter().all(ours) && !tuple.elems.is_empty(),
        Some(pattern) => ours(pattern),
        None => false,
    }
}

/// The numbers that are asked for, but within sites of their own.
struct Asked(BTreeSet<u32>);

impl<'ast> Visit<'ast> for Asked {
    fn visit_expr(&mut self, node: &'ast Expr) {
        self.0.extend(asked(node));
        match node {
            Expr::Match(inner) if is_frame(inner) => {}
            _ => visit::visit_expr(self, node),
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_expr_if(&mut self, node: &'ast ExprIf) {
        if let Some(number) = asked(&node.cond) {
            self.add(&node.then_branch, BTreeSet::from([number]), true);
        }
        visit::visit_expr_if(self, node);
    }

    fn visit_expr_match(&mut self, node: &'ast ExprMatch) {
        if is_frame(node) {
            let mut asked = Asked(BTreeSet::new());
            for arm in &node.arms {
                asked.visit_expr(&arm.body);
            }
            self.add(node, asked.0, false);
        }
        visit::visit_expr_match(self, node);
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        if let Some((_, condition)) = &arm.guard {
            let mut asked = Asked(BTreeSet::new());
            asked.visit_expr(condition);
            self.add(condition, asked.0, false);
        }
        visit::visit_arm(self, arm);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::list::{Genre, Mutant, Span};
    use crate::rewrite::{Choice, rewrite};

    fn mutant(column: usize, genre: Genre, replacement: &str) -> Mutant {
        let span = Span { start: Place { line: 1, column } };
        let (name, replacement) = (format!("{column} {replacement}"), replacement.to_owned());
        Mutant { name, file: "lib.rs".into(), function: None, span, genre, replacement }
    }

    /// Where a piece of text stands for the first time.
    fn place(text: &str, piece: &str) -> Place {
        let (before, _) = text.split_once(piece).unwrap();
        let line = before.lines().count().max(1);
        Place { line, column: before.lines().last().map_or(0, str::len) + 1 }
    }

    #[test]
    fn what_is_written_is_found_again() {
        let source = "fn f(a: i32, b: i32, c: bool) -> bool { c && -a + b * 2 < 7 }";
        let all = [
            mutant(41, Genre::FnValue, "true"),
            mutant(43, Genre::BinaryOperator, "||"),
            mutant(46, Genre::UnaryOperator, ""),
            mutant(49, Genre::BinaryOperator, "-"),
            mutant(53, Genre::BinaryOperator, "/"),
            mutant(53, Genre::BinaryOperator, "%"),
            mutant(57, Genre::BinaryOperator, "=="),
            mutant(1, Genre::BinaryOperator, "+"),
        ];
        let repeated = BTreeSet::new();
        let mutants: BTreeMap<u32, &Mutant> = (1..).zip(&all).collect();
        let (text, placed) = rewrite(source, &Choice { mutants, repeated: &repeated }).unwrap();
        // The last one is where there is no operator.
        assert_eq!(placed, (1..=7).collect());
        let sites = Sites::new(&text).unwrap();
        let owner = |piece: &str| sites.owner(place(&text, piece));
        assert_eq!(owner("return true"), Some(Owner::Branch(1)));
        assert_eq!(owner("__lhs / __rhs"), Some(Owner::Branch(5)));
        assert_eq!(owner("__lhs % __rhs"), Some(Owner::Branch(6)));
        assert_eq!(owner("__lhs * __rhs"), Some(Owner::Site(BTreeSet::from([5, 6]))));
        assert_eq!(owner("__lhs != crate"), Some(Owner::Site(BTreeSet::from([2]))));
        assert_eq!(owner("fn f"), None);
    }
}
