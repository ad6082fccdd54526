//! Agreement between judges, and of judges with people.
//!
//! | question | function |
//! | --- | --- |
//! | two judges, categories | [`kappa`] with [`KappaWeights::None`]; report the percentage beside it |
//! | two judges, ordered scores in bins | [`kappa`] with linear or quadratic weights |
//! | two judges, scores as numbers | [`quadratic_kappa`], [`spearman`], [`pearson`](crate::pearson) |
//! | any number of judges, gaps | [`krippendorff_alpha`] |
//! | a judge's score against a person's yes or no | [`Confusion`] at the threshold in use, [`auroc`] over all |
//! | how much is found where few others may pass | [`barrier`] |
//! | whether a score means what it says | [`calibration`] |

mod auroc;
mod calibration;
mod confusion;
mod kappa;
mod krippendorff;
mod recall;
mod scores;

pub use auroc::{Auroc, auroc};
pub use calibration::{Calibration, CalibrationBin, calibration};
pub use confusion::{Confusion, PositiveWhen};
pub use kappa::{AgreementTable, Kappa, KappaWeights, kappa};
pub use krippendorff::{Alpha, AlphaMetric, krippendorff_alpha, krippendorff_alpha_interval};
pub use recall::barrier;
pub use scores::{quadratic_kappa, spearman};
