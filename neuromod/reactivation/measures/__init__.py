"""Numbers that tell whether a network asleep does what it does awake."""

from neuromod.reactivation.measures.cautions import (
    MisleadingWarning as MisleadingWarning,
)
from neuromod.reactivation.measures.cautions import (
    caution_divergence as caution_divergence,
)
from neuromod.reactivation.measures.cautions import caution_manifold as caution_manifold
from neuromod.reactivation.measures.cautions import (
    require_stationary as require_stationary,
)
from neuromod.reactivation.measures.components import Components as Components
from neuromod.reactivation.measures.components import capture as capture
from neuromod.reactivation.measures.components import (
    principal_components as principal_components,
)
from neuromod.reactivation.measures.components import project as project
from neuromod.reactivation.measures.density import Density as Density
from neuromod.reactivation.measures.density import Uniform as Uniform
from neuromod.reactivation.measures.density import has_density as has_density
from neuromod.reactivation.measures.density import histogram as histogram
from neuromod.reactivation.measures.density import histogram_kl as histogram_kl
from neuromod.reactivation.measures.density import kernel_density as kernel_density
from neuromod.reactivation.measures.density import kl_histogram as kl_histogram
from neuromod.reactivation.measures.density import kl_kde as kl_kde
from neuromod.reactivation.measures.density import monte_carlo_kl as monte_carlo_kl
from neuromod.reactivation.measures.fixed_points import FixedPoints as FixedPoints
from neuromod.reactivation.measures.fixed_points import fixed_points as fixed_points
from neuromod.reactivation.measures.manifold import ManifoldFit as ManifoldFit
from neuromod.reactivation.measures.manifold import manifold_fit as manifold_fit
from neuromod.reactivation.measures.paths import Velocities as Velocities
from neuromod.reactivation.measures.paths import coverage as coverage
from neuromod.reactivation.measures.paths import displacement as displacement
from neuromod.reactivation.measures.paths import (
    displacement_divergence as displacement_divergence,
)
from neuromod.reactivation.measures.paths import (
    displacement_slope as displacement_slope,
)
from neuromod.reactivation.measures.paths import reach_time as reach_time
from neuromod.reactivation.measures.paths import step_length as step_length
from neuromod.reactivation.measures.paths import (
    velocity_statistics as velocity_statistics,
)
from neuromod.reactivation.measures.paths import (
    within_trajectory_variance as within_trajectory_variance,
)
from neuromod.reactivation.measures.positions import CIRCLE as CIRCLE
from neuromod.reactivation.measures.positions import grid as grid
from neuromod.reactivation.measures.score import gaussian_score as gaussian_score
from neuromod.reactivation.measures.score import kernel_score as kernel_score
from neuromod.reactivation.measures.tables import component_table as component_table
from neuromod.reactivation.measures.tables import density_table as density_table
from neuromod.reactivation.measures.tables import manifold_table as manifold_table
from neuromod.reactivation.measures.tables import path_table as path_table
from neuromod.reactivation.measures.transport import wasserstein as wasserstein

__all__ = [
    "CIRCLE",
    "Components",
    "Density",
    "FixedPoints",
    "ManifoldFit",
    "MisleadingWarning",
    "Uniform",
    "Velocities",
    "capture",
    "caution_divergence",
    "caution_manifold",
    "component_table",
    "coverage",
    "density_table",
    "displacement",
    "displacement_divergence",
    "displacement_slope",
    "fixed_points",
    "gaussian_score",
    "grid",
    "has_density",
    "histogram",
    "histogram_kl",
    "kernel_density",
    "kernel_score",
    "kl_histogram",
    "kl_kde",
    "manifold_fit",
    "manifold_table",
    "monte_carlo_kl",
    "path_table",
    "principal_components",
    "project",
    "reach_time",
    "require_stationary",
    "step_length",
    "velocity_statistics",
    "wasserstein",
    "within_trajectory_variance",
]
