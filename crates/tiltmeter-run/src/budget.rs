//! Money: what a call may cost at most is set aside before it is sent, and what is left of it given back when its
//! true cost is known. So a limit is never exceeded, however many calls are in flight.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tiltmeter_core::experiment::{Price, Rates};
use tiltmeter_models::Usage;
use tokio::sync::Notify;

/// Billionths of a US dollar: whole numbers, so that no sum depends on its order.
type Nanodollars = u64;

/// The money of one start.
#[derive(Debug, Default)]
pub struct Budget {
    most: Option<Nanodollars>,
    books: Mutex<Books>,
    returned: Notify,
    exhausted: AtomicBool,
}

#[derive(Debug, Default)]
struct Books {
    /// Known costs.
    spent: Nanodollars,
    /// Set aside for calls of which nobody knows whether they were charged.
    unsure: Nanodollars,
    /// Set aside for calls in flight.
    reserved: Nanodollars,
    /// Calls whose cost is not known.
    unpriced: u64,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// US dollars of all calls whose cost is known.
    pub known_usd: f64,
    /// US dollars at most of failed calls that may have been charged all the same.
    pub unsure_usd: f64,
    /// Calls whose cost is not known, because their model's price is not.
    pub unpriced_calls: u64,
}

impl Budget {
    /// A budget of so many US dollars; `None` only counts.
    pub fn new(most_usd: Option<f64>) -> Self {
        // A limit is rounded down and a cost up.
        Self { most: most_usd.map(|most| whole((most * 1e9).floor())), ..Self::default() }
    }

    /// The limit in US dollars.
    pub fn most_usd(&self) -> Option<f64> {
        self.most.map(dollars)
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        let books = self.books();
        Spent {
            known_usd: dollars(books.spent),
            unsure_usd: dollars(books.unsure),
            unpriced_calls: books.unpriced,
        }
    }

    /// Whether a call was refused because the rest of the budget cannot pay for it.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets aside what a call may cost at most. Waits while calls in flight may still give something back; `None`
    /// if the budget cannot pay for the call.
    pub(crate) async fn reserve(&self, worst_usd: f64) -> Option<Reservation<'_>> {
        let amount = cost(worst_usd);
        loop {
            let returned = self.returned.notified();
            tokio::pin!(returned);
            // From here on no return is missed.
            returned.as_mut().enable();
            {
                let mut books = self.books();
                let taken = books.spent.saturating_add(books.unsure).saturating_add(books.reserved);
                if self.most.is_none_or(|most| taken.saturating_add(amount) <= most) {
                    books.reserved = books.reserved.saturating_add(amount);
                    return Some(Reservation { budget: self, amount, is_open: true });
                }
                if books.reserved == 0 {
                    self.exhausted.store(true, Ordering::Relaxed);
                    return None;
                }
            }
            returned.await;
        }
    }
}

/// Money that is set aside for one call. Dropping it gives all of it back.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    budget: &'a Budget,
    amount: Nanodollars,
    is_open: bool,
}

impl Reservation<'_> {
    /// The call was answered at this cost, if it is known.
    pub(crate) fn settle(mut self, cost_usd: Option<f64>) {
        self.close(|books, _| match cost_usd {
            Some(cost_usd) => books.spent = books.spent.saturating_add(cost(cost_usd)),
            None => books.unpriced += 1,
        });
    }

    /// The call failed in a way that leaves open whether it was charged.
    pub(crate) fn keep(mut self) {
        self.close(|books, amount| books.unsure = books.unsure.saturating_add(amount));
    }

    fn close(&mut self, book: impl FnOnce(&mut Books, Nanodollars)) {
        self.is_open = false;
        let mut books = self.budget.books();
        books.reserved = books.reserved.saturating_sub(self.amount);
        book(&mut books, self.amount);
        drop(books);
        self.budget.returned.notify_waiters();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.close(|_, _| {});
        }
    }
}

/// What a call cost: what its provider says, or else by the price; `None` where neither is known.
pub(crate) fn cost_of(price: Option<Price>, usage: &Usage) -> Option<f64> {
    usage.cost_usd.or_else(|| {
        let rates = price?.at(usage.input_tokens);
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let written = usage.cache_write_tokens.min(usage.input_tokens - cached);
        let fresh = usage.input_tokens - cached - written;
        let sum = fresh as f64 * rates.input
            + cached as f64 * rates.cached()
            + written as f64 * rates.written()
            + usage.output_tokens as f64 * rates.output;
        Some(sum / 1e6)
    })
}

/// What prompt tokens from a cache saved against fresh ones, in US dollars; `None` where the price is not known.
pub(crate) fn cache_saving(price: Option<Price>, usage: &Usage) -> Option<f64> {
    let rates = price?.at(usage.input_tokens);
    Some(usage.cached_input_tokens as f64 * (rates.input - rates.cached()) / 1e6)
}

/// The most that a call can cost: each byte a token, the answer at its limit, and no discount.
pub(crate) fn worst_cost(price: Option<Price>, prompt_bytes: u64, most_answer: u64) -> f64 {
    price.map_or(0.0, |price| {
        // A shorter prompt may be dearer only by a price that falls with length; none does, but a user may say so.
        let steps = price.above.iter().flatten().filter(|(above, _)| prompt_bytes > *above);
        let rates = std::iter::once(price.base).chain(steps.map(|(_, rates)| *rates));
        let worst = |rates: Rates| {
            (prompt_bytes as f64 * rates.input.max(rates.written()) + most_answer as f64 * rates.output) / 1e6
        };
        rates.map(worst).fold(0.0, f64::max)
    })
}

fn cost(usd: f64) -> Nanodollars {
    whole((usd * 1e9).ceil())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and an amount below 0 is none"
)]
fn whole(value: f64) -> Nanodollars {
    value as Nanodollars
}

fn dollars(amount: Nanodollars) -> f64 {
    amount as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn costs_by_price_and_by_the_providers_word() {
        let base = Rates { cached_input: Some(0.1), cache_write: Some(1.25), ..Rates::new(1.0, 10.0) };
        let price = Price { base, ..Price::new(0.0, 0.0) };
        let usage = Usage {
            input_tokens: 1000,
            cached_input_tokens: 500,
            cache_write_tokens: 300,
            output_tokens: 100,
            ..Usage::default()
        };
        let expected = (200.0 + 50.0 + 375.0 + 1000.0) / 1e6;
        assert!((cost_of(Some(price), &usage).unwrap() - expected).abs() < 1e-15);
        assert_eq!(cost_of(None, &usage), None);
        let said = Usage { cost_usd: Some(0.5), ..usage };
        assert_eq!(cost_of(None, &said), Some(0.5));
        assert_eq!(cost_of(Some(price), &said), Some(0.5));
        let saved = cache_saving(Some(price), &usage).unwrap();
        assert!((saved - 500.0 * 0.9 / 1e6).abs() < 1e-15);
        // Of a long prompt all tokens are dearer, and the bound before sending holds whatever its length turns out.
        let mut stepped = price;
        stepped.above[0] = Some((999, Rates::new(2.0, 20.0)));
        let long = (1000.0 * 2.0 + 100.0 * 20.0) / 1e6;
        assert!((cost_of(Some(stepped), &usage).unwrap() - long).abs() < 1e-15);
        assert!((worst_cost(Some(stepped), 1000, 100) - long).abs() < 1e-15);
        assert!((worst_cost(Some(stepped), 999, 100) - (999.0 * 1.25 + 1000.0) / 1e6).abs() < 1e-15);
    }

    proptest! {
        /// Whatever is asked in whatever order: what was spent, may have been spent, and is set aside never exceed
        /// the limit together, and a call is refused only if nothing is in flight that could give something back.
        #[test]
        fn a_budget_is_never_exceeded(
            most in 0.0_f64..2.0,
            calls in proptest::collection::vec((0.0_f64..0.5, 0.0_f64..=1.0, 0..4_u8), 1..60),
            in_flight in 1..8_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let budget = Budget::new(Some(most));
            let mut open: VecDeque<(Reservation<'_>, f64, u8)> = VecDeque::new();
            for &(worst, share, how) in &calls {
                if open.len() >= in_flight && let Some((reservation, cost, how)) = open.pop_front() {
                    match how {
                        0 => drop(reservation),
                        1 => reservation.keep(),
                        _ => reservation.settle(Some(cost)),
                    }
                }
                let before = budget.spent();
                let answer = runtime.block_on(async {
                    tokio::select! {
                        biased;
                        reserved = budget.reserve(worst) => Some(reserved),
                        () = std::future::ready(()) => None,
                    }
                });
                match answer {
                    Some(Some(reservation)) => open.push_back((reservation, worst * share, how)),
                    Some(None) => {
                        prop_assert!(budget.is_exhausted() && open.iter().all(|(_, cost, _)| *cost == 0.0));
                        prop_assert!(before.known_usd + before.unsure_usd + worst > most - 1e-8);
                    }
                    // It waits for what is in flight.
                    None => prop_assert!(!open.is_empty()),
                }
                let books = budget.books();
                prop_assert!(books.spent + books.unsure + books.reserved <= whole(most * 1e9));
            }
        }
    }
}
