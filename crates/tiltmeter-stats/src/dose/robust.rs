//! Cluster-robust covariances of a logistic regression.

use nalgebra::{DMatrix, DVector};

use super::logistic::Design;
use super::matrix::inverse_root;

/// Covariances of the coefficients, and the degrees of freedom of each by CR2.
pub(super) struct Robust {
    pub(super) cr1: DMatrix<f64>,
    pub(super) cr2: DMatrix<f64>,
    pub(super) degrees_of_freedom: DVector<f64>,
}

/// With `Z = W^½ X`, `H = Z M Z'` and `M` the inverse information, cluster g's adjusted score is
/// `Z_g' (I − H_gg)^{−½} W_g^{−½} (y_g − n_g p_g)`. Under the model, the vectors `u_g = (I − H_gg)^{−½} Z_g M e_j`
/// give coefficient j's variance estimate the quadratic forms `K_gh = [g = h] u_g' u_g − (Z_g' u_g)' M (Z_h' u_h)`, and
/// `(Σ K_gg)² / Σ K_gh²` degrees of freedom.
pub(super) fn robust(
    design: &Design,
    rates: &DVector<f64>,
    weights: &DVector<f64>,
    bread: &DMatrix<f64>,
) -> Robust {
    let columns = design.x.ncols();
    let residuals = &design.successes - rates.component_mul(&design.trials);
    let (mut plain, mut adjusted) = (DMatrix::zeros(columns, columns), DMatrix::zeros(columns, columns));
    // For each cluster, u' u by coefficient, and Z' u with a column for each coefficient.
    let mut own: Vec<DVector<f64>> = Vec::new();
    let mut carried: Vec<DMatrix<f64>> = Vec::new();
    for range in &design.clusters {
        let (start, count) = (range.start, range.len());
        let x = design.x.rows(start, count).into_owned();
        let root_weights = weights.rows(start, count).map(f64::sqrt);
        let of_cluster = residuals.rows(start, count).into_owned();
        let z = DMatrix::from_diagonal(&root_weights) * &x;
        let leverage = &z * bread * z.transpose();
        let adjustment = inverse_root(DMatrix::identity(count, count) - leverage);
        let score = x.transpose() * &of_cluster;
        plain += &score * score.transpose();
        // A weight of 0 goes with a residual of 0.
        let scaled = of_cluster
            .zip_map(&root_weights, |residual, root| if root > 0.0 { residual / root } else { 0.0 });
        let score = z.transpose() * &adjustment * scaled;
        adjusted += &score * score.transpose();
        let u = &adjustment * &z * bread;
        own.push(DVector::from_iterator(columns, u.column_iter().map(|column| column.norm_squared())));
        carried.push(z.transpose() * u);
    }
    let clusters = design.clusters.len() as f64;
    let trials = design.trials.sum();
    let correction = clusters / (clusters - 1.0) * (trials - 1.0) / (trials - columns as f64);
    let degrees_of_freedom = DVector::from_iterator(
        columns,
        (0..columns).map(|coefficient| {
            let (mut trace, mut squares) = (0.0, 0.0);
            for (g, of_g) in carried.iter().enumerate() {
                let through = bread * of_g.column(coefficient);
                for (h, of_h) in carried.iter().enumerate() {
                    let shared = through.dot(&of_h.column(coefficient));
                    let form = if g == h { own[g][coefficient] - shared } else { -shared };
                    squares += form * form;
                    trace += if g == h { form } else { 0.0 };
                }
            }
            trace * trace / squares
        }),
    );
    Robust { cr1: bread * plain * bread * correction, cr2: bread * adjusted * bread, degrees_of_freedom }
}
