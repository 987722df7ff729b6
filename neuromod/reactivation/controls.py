"""Whether a network replays, and whether its controls do not: one call, one table.

A trained network asleep is compared with itself awake and with what should *not* look
like it: networks that learned nothing, networks that learned without noise, chance, and
a decoder that confuses the cells. No number alone tells them apart. Decoded positions
of an untrained network lie somewhere in the arena too, by the decoder's making, and a
network that learned without noise has the manifold of the code but stands still on it.
So every condition gets every measure:

| condition | the network | asleep with |
|---|---|---|
| awake | trained | its task, of the same length |
| asleep | trained | the noise of waking, times ``noise_scale`` |
| same noise | trained | the noise of waking |
| zero noise | trained | no noise |
| untrained | with the weights that training began from | as asleep |
| noiseless | trained without any noise | no noise |
| noiseless + noise | trained without any noise | as asleep |
| shuffled decoder | trained | as asleep, its cells exchanged before decoding |
| uniform | none: positions anywhere in the arena | |
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import xarray as xr
from scipy import stats

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import NotFittedError, choice, invalid
from neuromod.core.result import Result
from neuromod.reactivation.measures.cautions import (
    caution_divergence,
    caution_manifold,
)
from neuromod.reactivation.measures.density import Uniform
from neuromod.reactivation.navigator import Navigator, navigators_of
from neuromod.reactivation.presets import Recipe, untrained
from neuromod.reactivation.sleep import sleep
from neuromod.reactivation.train import train
from neuromod.reactivation.wake import wake
from neuromod.reactivation.yardstick import Yardstick

CONTROLS = (
    "same noise",
    "zero noise",
    "untrained",
    "noiseless",
    "noiseless + noise",
    "shuffled decoder",
    "uniform",
)
NOISES = ("recurrent_noise", "input_noise", "output_noise")
TAILS = (0.025, 0.975)


def measure(
    network: Result,
    *,
    seed: int,
    controls: Sequence[str] = CONTROLS,
    noiseless: Result | None = None,
    noise_scale: float = 2**0.5,
    duration: float = 8.0,
    burn_in: float = 2.0,
    n_trials: int = 200,
    n_bins: int = 11,
    n_components: int = 10,
    progress: bool = True,
) -> xr.Dataset:
    """Measure a network awake and asleep, beside its controls.

    Parameters
    ----------
    network
        What `train` returned, of one seed or of several.
    seed
        Of all trials and nights; every condition has the same.

    Other Parameters
    ----------------
    controls
        Which of "same noise", "zero noise", "untrained", "noiseless",
        "noiseless + noise", "shuffled decoder" and "uniform" to compare with.
    noiseless
        The same networks trained without noise; if omitted they are trained here, which
        takes as long as training did.
    noise_scale, duration, burn_in, n_trials
        Of every night, as for `sleep`; waking is as long and has as many trials.
    n_bins
        Bins along each coordinate of the arena.
    n_components
        Principal components of the states awake, for ``captured``.
    progress
        Whether to show a progress bar while noiseless networks are trained.

    Returns
    -------
    Dataset
        Of each condition and seed:

        - ``cosine``, ``residual``, ``amplitude``: how near outputs are to the code of
          some position (`measures.manifold_fit`);
        - ``kl_histogram``, ``kl_kde`` (nats), ``wasserstein`` (m): how far decoded
          positions are from those decoded in other trials of waking, in which true
          positions are stationary. Decoders round: both sides have the same one;
        - ``coverage``, ``step_length``, ``within_trajectory_variance``,
          ``displacement`` (lag), ``displacement_slope``: how they move;
        - ``captured``: the share of the states' variance that lies in the first
          principal components of states awake.

        ``decoding_error`` (seed) is that of waking trials as long as in training. Each
        measure has the 95 % interval of its mean over seeds (Student's t), as
        ``cosine_interval`` (condition, quantile) and so on; one seed tells nothing of
        others, and its interval is infinite. What a condition does not have is NaN:
        chance has no outputs, and a network that stands still has no density
        (``kl_kde``). ``attrs["cautions"]`` says what would mislead.

    Raises
    ------
    InvalidInputError
        If an argument has no such value.
    NotFittedError
        If the network was not trained here.

    Warns
    -----
    MisleadingWarning
        If sleep is far from the code, or if an untrained network is as near to waking
        as a trained one, so that the divergence alone shows nothing.
    """
    settings = _recipe(network)
    for name in controls:
        choice("controls", name, CONTROLS)
    seed = require_integer(seed, "seed", minimum=0)
    navigators = _labelled(network)
    needs_noiseless = any(name.startswith("noiseless") for name in controls)
    twins = {}
    if needs_noiseless:
        if noiseless is None:
            noiseless = _train_noiseless(network, settings, progress)
        twins = _labelled(noiseless)
        _require_twins(navigators, twins)
    night = _Night(seed, noise_scale, duration, burn_in, n_trials)
    parts = {
        label: _of_network(
            one,
            untrained(one.task, label, **settings._asdict()),
            twins.get(label),
            controls,
            night,
            n_bins,
            n_components,
        )
        for label, one in navigators.items()
    }
    found = xr.concat(list(parts.values()), "seed").assign_coords(seed=list(parts))
    found = _with_intervals(found.transpose("condition", "seed", ...))
    return _cautioned(found)


class _Night(NamedTuple):
    """How every condition sleeps."""

    seed: int
    noise_scale: float
    duration: float
    burn_in: float
    n_trials: int

    def asleep(self, navigator: Navigator, **changes: Any) -> xr.Dataset:
        settings: dict[str, Any] = {**self._asdict(), "states": True, "outputs": True}
        return sleep(navigator, **settings | changes)

    def awake(self, navigator: Navigator, again: bool = False) -> xr.Dataset:
        return wake(
            navigator,
            seed=self.seed + again,
            n_trials=self.n_trials,
            n_steps=round(self.duration / float(navigator.task.time_step)),
            states=True,
            outputs=True,
        )


def _recipe(network: Any) -> Recipe:
    if not isinstance(network, Result) or not isinstance(network.model, Navigator):
        raise NotFittedError(
            f"network: got {type(network).__name__}, expected what reactivation.train "
            "returned: its controls are made by the same recipe."
        )
    return Recipe(**{k: network.config[k] for k in Recipe._fields})


def _labelled(network: Result) -> dict[int, Navigator]:
    """Return navigators by seed, also where there is but one."""
    own = network.provenance["seed"]
    return {own if k is None else k: v for k, v in navigators_of(network).items()}


def _train_noiseless(network: Result, recipe: Recipe, progress: bool) -> Result:
    navigators = _labelled(network)
    settings: dict[str, Any] = recipe._asdict() | dict.fromkeys(NOISES, 0.0)
    return train(
        lambda seed: navigators[seed].task,
        seed=list(navigators),
        precision=network.config["precision"],
        progress=progress,
        **settings,
    )


def _require_twins(
    navigators: Mapping[int, Navigator], twins: Mapping[int, Navigator]
) -> None:
    noisy = any(
        float(getattr(one.network, name)) != 0
        for one in twins.values()
        for name in NOISES
    )
    if list(navigators) != list(twins) or noisy:
        raise invalid(
            "noiseless",
            f"networks of the seeds {list(twins)}{' with noise' if noisy else ''}",
            f"networks without noise of the seeds {list(navigators)}",
            "Leave it out, and they are trained here.",
        )


def _of_network(
    trained: Navigator,
    begun: Navigator,
    noiseless: Any,
    controls: Sequence[str],
    night: _Night,
    n_bins: int,
    n_components: int,
) -> xr.Dataset:
    """Return all measures of one network's conditions."""
    awake, asleep = night.awake(trained), night.asleep(trained)
    runs = {"awake": awake, "asleep": asleep}
    if "same noise" in controls:
        runs["same noise"] = night.asleep(trained, scheme="same")
    if "zero noise" in controls:
        runs["zero noise"] = night.asleep(trained, scheme="zero")
    if "untrained" in controls:
        runs["untrained"] = night.asleep(begun)
    if "noiseless" in controls:
        runs["noiseless"] = night.asleep(noiseless, scheme="zero")
    if "noiseless + noise" in controls:
        scale = trained.network.recurrent_noise
        shaken = eqx.tree_at(lambda n: n.network.recurrent_noise, noiseless, scale)
        runs["noiseless + noise"] = night.asleep(shaken)
    if "shuffled decoder" in controls:
        runs["shuffled decoder"] = _shuffled(trained, asleep, night.seed)
    judge = Yardstick.of(
        trained.task,
        night.awake(trained, again=True),
        seed=night.seed,
        n_bins=n_bins,
        n_components=n_components,
    )
    found = {name: judge.measures(run) for name, run in runs.items()}
    if "uniform" in controls:
        nothing = xr.full_like(found["asleep"], np.nan)
        found["uniform"] = nothing.assign(judge.density(Uniform(judge.bounds)))
    joined = xr.concat(list(found.values()), "condition", combine_attrs="override")
    joined = joined.assign_coords(condition=list(found))
    return joined.assign(decoding_error=_decoding_error(trained, night))


def _shuffled(trained: Navigator, asleep: xr.Dataset, seed: int) -> xr.Dataset:
    """Return a night whose cells are taken for one another."""
    order = np.random.default_rng(seed).permutation(asleep.sizes["cell"])
    outputs = asleep["output"].isel(cell=order)
    position = np.asarray(_decode(trained.task.code, outputs.values))
    return asleep.assign(
        output=outputs, position=asleep["position"].copy(data=position)
    )


@jax.jit
def _decode(code: Any, outputs: Any) -> Any:
    return code.decode(outputs)


def _decoding_error(trained: Navigator, night: _Night) -> xr.Variable:
    awake = wake(trained, seed=night.seed, n_trials=night.n_trials)
    distance = trained.task.code.distance(
        awake["position"].values, awake["true_position"].values
    )
    unit = awake["position"].attrs["units"]
    told = {"units": unit, "long_name": "error of decoded positions, awake"}
    return xr.Variable((), float(np.mean(distance)), told)


def _with_intervals(found: xr.Dataset) -> xr.Dataset:
    """Add the interval of each measure's mean over seeds."""
    n = found.sizes["seed"]
    quantile = xr.DataArray(list(TAILS), dims="quantile")
    if n == 1:
        reach = xr.DataArray([-np.inf, np.inf], dims="quantile")
    else:
        reach = xr.DataArray(stats.t.ppf(TAILS, n - 1) / np.sqrt(n), dims="quantile")
    intervals = {}
    for name, values in found.data_vars.items():
        spread = values.std("seed", ddof=1) if n > 1 else values.isel(seed=0) * 0 + 1
        interval = values.mean("seed", skipna=False) + spread * reach
        interval.attrs = values.attrs | {"long_name": f"95 % interval of {name}"}
        intervals[f"{name}_interval"] = interval
    return found.assign(intervals).assign_coords(quantile=quantile)


def _cautioned(found: xr.Dataset) -> xr.Dataset:
    """Say what would mislead, and keep it with the numbers."""
    asleep = found.sel(condition="asleep")
    told = caution_manifold(asleep["cosine"], asleep["amplitude"])
    if "untrained" in found["condition"]:
        untrained = found["kl_histogram"].sel(condition="untrained")
        told += caution_divergence(asleep["kl_histogram"], untrained)
    return found.assign_attrs(cautions=told)
