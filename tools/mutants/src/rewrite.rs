//! Puts mutants into a file, each behind a question for its number.
//!
//! Operands are bound to names and written once, since sites lie within each other and writing operands once for
//! each mutant would grow without bound. A site whose bound form does not compile is written again with its operands
//! repeated.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use proc_macro2::{LineColumn, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Arm, BinOp, Block, Expr, FieldValue, ImplItemFn, ItemFn, Member, ReturnType, Signature, TraitItemFn,
    Type, UnOp, parse_quote,
};

use crate::list::{Genre, Mutant, Place};

/// What to put in, and how.
pub(crate) struct Choice<'a> {
    /// Mutants of this file by their number.
    pub(crate) mutants: BTreeMap<u32, &'a Mutant>,
    /// Numbers whose sites are to be written with repeated operands.
    pub(crate) repeated: &'a BTreeSet<u32>,
}

/// The text of the file with its mutants, and the numbers that are in it.
pub(crate) fn rewrite(source: &str, choice: &Choice) -> Result<(String, BTreeSet<u32>)> {
    let mut file = syn::parse_file(source).context("failed to parse the source")?;
    let mut at: HashMap<(Genre, Place), Vec<u32>> = HashMap::new();
    for (&number, mutant) in &choice.mutants {
        at.entry((mutant.genre, mutant.span.start)).or_default().push(number);
    }
    let mut rewriter = Rewriter { at, choice, placed: BTreeSet::new() };
    rewriter.visit_file_mut(&mut file);
    Ok((prettyplease::unparse(&file), rewriter.placed))
}

struct Rewriter<'a> {
    at: HashMap<(Genre, Place), Vec<u32>>,
    choice: &'a Choice<'a>,
    placed: BTreeSet<u32>,
}

fn place(at: LineColumn) -> Place {
    Place { line: at.line, column: at.column + 1 }
}

fn start(node: &impl Spanned) -> Place {
    place(node.span().start())
}

impl Rewriter<'_> {
    fn take(&mut self, genre: Genre, place: Place) -> Vec<u32> {
        self.at.remove(&(genre, place)).unwrap_or_default()
    }

    fn is_repeated(&self, numbers: &[u32]) -> bool {
        numbers.iter().any(|number| self.choice.repeated.contains(number))
    }

    /// `if is(1) { … } else if is(2) { … } else { unchanged }`, of those mutants for which there is a form.
    fn chain(
        &mut self,
        numbers: &[u32],
        mutated: impl Fn(&str) -> Option<TokenStream>,
        unchanged: TokenStream,
    ) -> TokenStream {
        let mut chain = quote!({ #unchanged });
        for &number in numbers.iter().rev() {
            if let Some(form) = mutated(&self.choice.mutants[&number].replacement) {
                self.placed.insert(number);
                chain = quote!({ if crate::mutant::is(#number) { #form } else #chain });
            }
        }
        chain
    }

    fn binary(&mut self, lhs: &Expr, op: &BinOp, rhs: &Expr, numbers: &[u32]) -> Option<Expr> {
        if matches!(op, BinOp::And(_) | BinOp::Or(_)) {
            return self.lazy(lhs, op, rhs, numbers);
        }
        let repeated = self.is_repeated(numbers);
        let operator = |text: &str| text.parse::<TokenStream>().ok();
        let assigns = quote!(#op).to_string().ends_with('=') && !is_comparison(op);
        Some(if assigns {
            if repeated {
                let form = |text: &str| operator(text).map(|op| quote!((#lhs) #op (#rhs);));
                let chain = self.chain(numbers, form, quote!((#lhs) #op (#rhs);));
                parse_quote!((match () { __unit => #chain }))
            } else {
                let form = |text: &str| operator(text).map(|op| quote!(*__place #op __rhs;));
                let chain = self.chain(numbers, form, quote!(*__place #op __rhs;));
                parse_quote!((match #rhs { __rhs => { let __place = &mut (#lhs); #chain } }))
            }
        } else if repeated {
            let form = |text: &str| operator(text).map(|op| quote!((#lhs) #op (#rhs)));
            let chain = self.chain(numbers, form, quote!((#lhs) #op (#rhs)));
            parse_quote!((match () { __unit => #chain }))
        } else if is_comparison(op) {
            let form = |text: &str| operator(text).map(|op| quote!((*__lhs) #op (*__rhs)));
            let chain = self.chain(numbers, form, quote!((*__lhs) #op (*__rhs)));
            parse_quote!((match (&(#lhs), &(#rhs)) { (__lhs, __rhs) => #chain }))
        } else {
            let form = |text: &str| operator(text).map(|op| quote!(__lhs #op __rhs));
            let chain = self.chain(numbers, form, quote!(__lhs #op __rhs));
            parse_quote!((match (#lhs, #rhs) { (__lhs, __rhs) => #chain }))
        })
    }

    /// The other of `&&` and `||` goes on to its right side just where this one does not.
    fn lazy(&mut self, lhs: &Expr, op: &BinOp, rhs: &Expr, numbers: &[u32]) -> Option<Expr> {
        if has_let(lhs) || has_let(rhs) {
            return None;
        }
        let (expected, negated) = if matches!(op, BinOp::And(_)) { ("||", true) } else { ("&&", false) };
        let [number] = *numbers else { return None };
        if self.choice.mutants[&number].replacement != expected {
            return None;
        }
        self.placed.insert(number);
        let goes_on = if negated { quote!(!=) } else { quote!(==) };
        Some(parse_quote! {
            (match #lhs { __lhs => if __lhs #goes_on crate::mutant::is(#number) { #rhs } else { __lhs } })
        })
    }

    fn guard(&mut self, arm: &mut Arm, deleted: &[u32], guards: &[u32]) {
        let Arm { guard, .. } = arm;
        if let Some((_, condition)) = guard {
            if has_let(condition) {
                return;
            }
            for &number in guards {
                let mutated: Expr = match self.choice.mutants[&number].replacement.as_str() {
                    "true" => parse_quote!((crate::mutant::is(#number) || #condition)),
                    "false" => parse_quote!((!crate::mutant::is(#number) && #condition)),
                    _ => continue,
                };
                **condition = mutated;
                self.placed.insert(number);
            }
        }
        for &number in deleted {
            let condition: Expr = match guard.take() {
                Some((_, condition)) => parse_quote!(!crate::mutant::is(#number) && #condition),
                None => parse_quote!(!crate::mutant::is(#number)),
            };
            *guard = Some((parse_quote!(if), Box::new(condition)));
            self.placed.insert(number);
        }
    }

    fn body(&mut self, signature: &Signature, block: &mut Block, original_start: Option<Place>) {
        // Returns of an unnamed type are of one type all.
        let unnamed =
            matches!(&signature.output, ReturnType::Type(_, ty) if matches!(**ty, Type::ImplTrait(_)));
        if signature.constness.is_some() || unnamed {
            return;
        }
        let Some(place) = original_start else { return };
        let numbers = self.take(Genre::FnValue, place);
        let mut returns = Vec::new();
        for number in numbers {
            let Ok(value) = syn::parse_str::<Expr>(&self.choice.mutants[&number].replacement) else {
                continue;
            };
            self.placed.insert(number);
            returns.push(parse_quote!(if crate::mutant::is(#number) { return #value; }));
        }
        block.stmts.splice(0..0, returns);
    }
}

fn is_comparison(op: &BinOp) -> bool {
    matches!(op, BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_))
}

fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

fn first(block: &Block) -> Option<Place> {
    block.stmts.first().map(start)
}

impl VisitMut for Rewriter<'_> {
    fn visit_expr_mut(&mut self, node: &mut Expr) {
        let place = match node {
            Expr::Binary(binary) => start(&binary.op),
            Expr::Unary(unary) => start(&unary.op),
            _ => Place { line: 0, column: 0 },
        };
        let fields: Vec<Place> = match node {
            Expr::Struct(expression) => expression.fields.iter().map(start).collect(),
            _ => Vec::new(),
        };
        visit_mut::visit_expr_mut(self, node);
        let new = match node {
            Expr::Binary(binary) => {
                let numbers = self.take(Genre::BinaryOperator, place);
                if numbers.is_empty() {
                    return;
                }
                self.binary(&binary.left, &binary.op, &binary.right, &numbers)
            }
            Expr::Unary(unary) => {
                let numbers = self.take(Genre::UnaryOperator, place);
                if numbers.is_empty() || !matches!(unary.op, UnOp::Neg(_) | UnOp::Not(_)) {
                    return;
                }
                let (op, operand) = (&unary.op, &unary.expr);
                let chain = self.chain(&numbers, |_| Some(quote!(__operand)), quote!(#op __operand));
                Some(parse_quote!((match #operand { __operand => #chain })))
            }
            Expr::Struct(expression) => {
                let numbers: Vec<Vec<u32>> =
                    fields.iter().map(|&field| self.take(Genre::StructField, field)).collect();
                if numbers.iter().all(Vec::is_empty) {
                    return;
                }
                let Some(rest) = expression.rest.take() else { return };
                for (field, numbers) in expression.fields.iter_mut().zip(numbers) {
                    let FieldValue { member, expr, .. } = field;
                    let member: &Member = member;
                    let value = self.chain(&numbers, |_| Some(quote!(__base.#member)), quote!(#expr));
                    *field = parse_quote!(#member: #value);
                }
                let path = &expression.path;
                let base: Expr = parse_quote!(__base);
                expression.rest = Some(Box::new(base));
                let built = &*expression;
                Some(parse_quote!((match #rest { __base => { let __base: #path = __base; #built } })))
            }
            _ => None,
        };
        if let Some(new) = new {
            *node = new;
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut Arm) {
        let deleted = self.take(Genre::MatchArm, start(arm));
        let guards = arm.guard.as_ref().map(|(_, condition)| start(condition));
        let guards = guards.map_or_else(Vec::new, |place| self.take(Genre::MatchArmGuard, place));
        visit_mut::visit_arm_mut(self, arm);
        self.guard(arm, &deleted, &guards);
    }

    fn visit_item_fn_mut(&mut self, item: &mut ItemFn) {
        let at = first(&item.block);
        if item.sig.constness.is_none() {
            visit_mut::visit_item_fn_mut(self, item);
        }
        self.body(&item.sig, &mut item.block, at);
    }

    fn visit_impl_item_fn_mut(&mut self, item: &mut ImplItemFn) {
        let at = first(&item.block);
        if item.sig.constness.is_none() {
            visit_mut::visit_impl_item_fn_mut(self, item);
        }
        self.body(&item.sig, &mut item.block, at);
    }

    fn visit_trait_item_fn_mut(&mut self, item: &mut TraitItemFn) {
        let at = item.default.as_ref().and_then(first);
        visit_mut::visit_trait_item_fn_mut(self, item);
        if let Some(block) = &mut item.default {
            self.body(&item.sig, block, at);
        }
    }

    // What is worked out when compiling cannot ask for a number.
    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}
    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}
    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_pat_mut(&mut self, _: &mut syn::Pat) {}
}
