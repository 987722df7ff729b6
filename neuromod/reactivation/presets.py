"""How networks are built and trained, by name: the published recipes and small ones."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import choice, did_you_mean, invalid
from neuromod.reactivation.navigator import Navigator
from neuromod.reactivation.network import GRUNetwork, VanillaNetwork
from neuromod.reactivation.tasks import HeadDirection, SpatialNavigation
from neuromod.reactivation.tasks.task import Task

KINDS: Mapping[str, Any] = {"vanilla": VanillaNetwork, "gru": GRUNetwork}
SCHEDULES = ("constant", "cosine")


class Recipe(NamedTuple):
    """How a network is made and trained.

    Parameters
    ----------
    kind
        "vanilla" or "gru".
    n_units
        Recurrent units.
    leak
        Time step over membrane time constant.
    recurrent_noise, input_noise, output_noise
        Scales per step.
    noise_law
        "gaussian" or "uniform01".
    bias
        Whether layers have biases.
    n_trials, n_steps
        Trials of every batch, and steps of gradient descent.
    learning_rate, schedule
        Of Adam: "constant", or "cosine" to zero.
    loss_factor
        Multiplies the loss; "n_cells" keeps gradients far above the epsilon of Adam,
        which those of normalised codes are near.
    """

    kind: str = "vanilla"
    n_units: int = 512
    leak: float = 0.2
    recurrent_noise: float = 0.01
    input_noise: float = 0.0
    output_noise: float = 0.0
    noise_law: str = "gaussian"
    bias: bool = False
    n_trials: int = 200
    n_steps: int = 2500
    learning_rate: float = 1e-3
    schedule: str = "constant"
    loss_factor: float | str = 1.0

    def build(self, task: Any, key: Any) -> Navigator:
        """Return a navigator that has learned nothing."""
        make = KINDS[choice("kind", self.kind, tuple(KINDS))]
        network = make.random(
            key,
            task.n_inputs,
            self.n_units,
            task.code.n_cells,
            bias=self.bias,
            time_step=task.time_step,
            membrane_time_constant=task.time_step / self.leak,
            recurrent_noise=self.recurrent_noise,
            input_noise=self.input_noise,
            output_noise=self.output_noise,
            noise_law=self.noise_law,
        )
        return Navigator(network, task)


def _spatial(biased: bool = False, **fields: Any) -> Any:
    return lambda seed: SpatialNavigation(biased=biased, seed=seed, **fields)


SMALL = {"n_trials": 64, "learning_rate": 3e-3, "schedule": "cosine"}
SMALL = {**SMALL, "loss_factor": "n_cells"}
HEAD = {"n_units": 128, "leak": 0.5, "recurrent_noise": 0.1, "n_steps": 20_000}
PRESETS: dict[str, tuple[Any, Recipe]] = {
    "spatial_navigation": (_spatial(), Recipe()),
    "spatial_navigation_biased": (_spatial(biased=True), Recipe()),
    "spatial_navigation_gru": (_spatial(), Recipe(kind="gru")),
    "sorscher_2019": (_spatial(n_steps=50), Recipe(leak=1.0, recurrent_noise=0.0)),
    "head_direction": (lambda seed: HeadDirection(n_cells=512), Recipe(**HEAD)),
    "head_direction_small": (
        lambda seed: HeadDirection(n_cells=64, n_steps=50),
        Recipe(n_units=64, leak=0.5, recurrent_noise=0.05, n_steps=3000, **SMALL),
    ),
    "demo": (
        _spatial(biased=True, n_cells=100, cell_width=0.3, n_steps=60),
        Recipe(n_units=100, recurrent_noise=0.02, n_steps=2000, **SMALL),
    ),
}


def preset(name: str) -> tuple[Any, Recipe]:
    """Return the task by seed, and the recipe, of a name."""
    if name not in PRESETS:
        known = ", ".join(map(repr, PRESETS))
        raise invalid(
            "task",
            repr(name),
            f"a task, or one of {known}",
            did_you_mean(name, PRESETS),
        )
    return PRESETS[name]


def recipe_with(base: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe with other fields, or refuse those that it does not have."""
    for name in changes:
        if name not in Recipe._fields:
            known = ", ".join(Recipe._fields)
            raise invalid(
                name,
                repr(changes[name]),
                f"one of the settings {known}",
                did_you_mean(name, Recipe._fields),
            )
    found = base._replace(**changes)
    choice("schedule", found.schedule, SCHEDULES)
    for name in ("n_units", "n_trials", "n_steps"):
        require_integer(getattr(found, name), name)
    require_positive(found.learning_rate, "learning_rate")
    if found.loss_factor != "n_cells":
        if isinstance(found.loss_factor, str):
            raise invalid("loss_factor", found.loss_factor, "'n_cells', or a number")
        require_positive(found.loss_factor, "loss_factor")
    if not 0 < found.leak <= 1:
        raise invalid("leak", found.leak, "a number above 0 and at most 1")
    return found


def untrained(given: Any, seed: int, **settings: Any) -> Navigator:
    """Return a navigator with random weights, as training would begin.

    Parameters
    ----------
    given
        A task, a function that returns one for a seed, or the name of a preset.
    seed
        Of the weights, and of the cells of a preset.
    """
    task, recipe = resolve(given, settings)
    return recipe.build(task(seed), jax.random.fold_in(jax.random.key(seed), 0))


def resolve(given: Any, settings: Mapping[str, Any]) -> tuple[Any, Recipe]:
    """Return the task as a function of the seed, and the recipe."""
    if isinstance(given, str):
        task, recipe = preset(given)
    elif isinstance(given, Task):
        task, recipe = (lambda seed: given), Recipe()
    elif callable(given):
        task, recipe = given, Recipe()
    else:
        known = ", ".join(map(repr, PRESETS))
        raise invalid(
            "task",
            type(given).__name__,
            f"a task, a function of the seed that returns one, or one of {known}",
        )
    return task, recipe_with(recipe, settings)
