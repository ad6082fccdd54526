//! What people look at: tables for the terminal, and plots. Computes no statistic: every figure is one of
//! [`RunResults`](tiltmeter_run::RunResults).

mod plot;
mod table;

pub use plot::plot;
pub use table::table;
