//! The library as the command drives it.

mod formats;
mod judged;
mod rates;
mod store;
mod support;
