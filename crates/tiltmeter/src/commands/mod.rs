//! One module for each command.

pub(crate) mod agreement;
pub(crate) mod annotate;
pub(crate) mod compare;
pub(crate) mod data;
pub(crate) mod export;
pub(crate) mod guard;
pub(crate) mod init;
pub(crate) mod judge;
pub(crate) mod model;
pub(crate) mod persona;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod score;
pub(crate) mod status;
pub(crate) mod trace;
