//! What people look at: tables for the terminal, and plots. Computes no statistic: every figure is one of
//! [`RunResults`](tiltmeter_run::RunResults).

mod agreement;
mod effects;
mod persona;
mod plan;
mod plot;
mod status;
mod table;

pub use agreement::{agreement_table, labels_table};
pub use persona::{projection_table, vector_table};
pub use plan::plan_table;
pub use plot::plot;
pub use status::status_table;
pub use table::table;
