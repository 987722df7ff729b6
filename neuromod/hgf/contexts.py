r"""Contexts that take turns in producing a series, and that nobody tells.

One series is produced by one of $K$ contexts at a time, which follow a Markov chain
with the transition matrix $A$. Each is a branch of a network, such as
`neuromod.hgf.switching` builds. With the predictive density $p_i$ of each branch, and
the network's beliefs $(\mu^{(i)}, \sigma^{2(i)})$ after the trial if it was of context
$i$,

$$
r_i \propto q_i\, p_i(u), \qquad q \leftarrow r A, \qquad
\mu = \sum_i r_i\, \mu^{(i)}, \qquad
\sigma^2 = \sum_i r_i \big(\sigma^{2(i)} + (\mu^{(i)} - \mu)^2\big) :
$$

$q$ is the probability of each context before the trial, $r$ its *responsibility* after
it, and every belief is the Gaussian with the moments of the mixture (assumed-density
filtering). Where the context is certain, its branch is updated and the others age. The
predictive density of a continuous branch holds the noise of the observation and how
unsure the state is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float

from neuromod import kernels
from neuromod.core.errors import DivergedError, ShapeError, invalid
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.hgf import couplings, inference
from neuromod.hgf.data import prepare
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import ContinuousInput
from neuromod.hgf.posterior import Datum, update
from neuromod.hgf.prediction import Belief, predict
from neuromod.hgf.tasks import require_numbers

Values = Array | np.ndarray


class Switched(NamedTuple):
    """What `follow_contexts` found.

    Parameters
    ----------
    expected_responsibility, responsibility : (time, context)
        Probability of each context before and after each trial.
    expected_mean, expected_variance : (time,)
        Of the outcome: the mixture of what the contexts predict.
    surprise : (time,)
        Negative log density of the outcome under that mixture (nats); 0 if missing.
    beliefs
        Of the states, after each trial.
    """

    expected_responsibility: Float[Array, "time context"]
    responsibility: Float[Array, "time context"]
    expected_mean: Float[Array, " time"]
    expected_variance: Float[Array, " time"]
    surprise: Float[Array, " time"]
    beliefs: dict[str, Belief]


@jax.jit
def follow_contexts(
    network: Network,
    values: Float[Array, " time"],
    observed: Bool[Values, " time"],
    transition_matrix: Float[Array, "context context_to"],
    initial: Float[Array, " context"],
    contexts: Float[Array, " time"],
    intervals: Float[Array, " time"] | None = None,
) -> Switched:
    """Run a network over one series that its inputs, the contexts, take turns in.

    The arguments are those of `switch`, as arrays: ``values`` are any numbers where
    ``observed`` is False, and ``contexts`` NaN where none is told.
    """
    count = len(network.inputs)
    only, numbers = jnp.eye(count, dtype=bool), jnp.arange(count, dtype=contexts.dtype)

    def advance(carry, now):
        (beliefs, expected), (value, seen, context, interval) = carry, now
        told = jnp.where(numbers == context, 1.0, 0.0)
        expected = jnp.where(jnp.isnan(context), expected, told)
        predicted = predict(network, beliefs, interval)
        means, variances, density = _expect(network, predicted, value)
        evidence = jnp.where(seen, density, 0.0)
        found = kernels.hmm_step(expected, transition_matrix, evidence)

        def under(one):
            data = {name: Datum(value, one[i]) for i, name in enumerate(network.inputs)}
            return update(network, beliefs, predicted, data, interval)

        after = jax.vmap(under)(only & seen)
        mixed = {name: _mixture(found.filtered, b) for name, b in after.items()}
        mean = jnp.sum(expected * means)
        variance = jnp.sum(expected * (variances + (means - mean) ** 2))
        posterior, nats = found.filtered, -found.log_normaliser
        row = Switched(expected, posterior, mean, variance, nats, mixed)
        return (mixed, found.predicted_next), row

    first, rows = inference.start(network), (values, observed, contexts, intervals)
    return kernels.scan(advance, (first, initial), rows, checkpoint=None).outputs


def _expect(network, predicted, value) -> tuple[Any, Any, Any]:
    """Return mean and variance of the outcome in each context, and its log density."""
    rows = []
    for name in network.inputs:
        node, told = network[name], predicted[name]
        if isinstance(node, ContinuousInput):
            variance = 1 / told.conditional_precision + _doubt(network, predicted, name)
            nats = inference.gaussian_surprise(value, told.mean, 1 / variance)
        elif node.is_exact:
            variance = told.precision
            nats = inference.binary_surprise(value, told.mean)
        else:
            noise = jnp.asarray(node.noise_variance)
            variance = told.precision + noise
            nats = inference.noisy_binary_surprise(value, told.mean, noise)
        rows.append((told.mean, variance, -nats))
    mean, variance, density = (jnp.stack(column) for column in zip(*rows, strict=True))
    return mean, variance, density


def _doubt(network, predicted, name) -> Any:
    """Return the variance that uncertain states bring into an observation of them."""
    total = 0.0
    for number in network.family.value_parents[name]:
        edge = network.edges[number]
        parent = predicted[edge.parent]
        slope = couplings.slopes(edge.coupling, jnp.asarray(parent.mean))[0]
        total = total + (edge.strength * slope) ** 2 / parent.precision
    return total


def _mixture(weights: Float[Array, " context"], belief: Belief) -> Belief:
    """Return the Gaussian with the moments of a mixture of beliefs."""
    mean = jnp.sum(weights * belief.mean)
    variance = jnp.sum(weights * (belief.variance + (belief.mean - mean) ** 2))
    return Belief(mean, 1 / variance, variance)


def switch(
    network: Network,
    data: Any,
    transition_matrix: Any,
    *,
    initial: Any = None,
    contexts: Any = None,
    time_steps: Any = None,
    precision: Precision = "float64",
) -> xr.Dataset:
    """Infer which context produced each outcome, while learning about all of them.

    Parameters
    ----------
    network
        One input for each context, such as `neuromod.hgf.switching` builds.
    data : (trial,)
        The one series that the contexts take turns in; NaN is missing.
    transition_matrix : (context, context_to)
        Probabilities of the context of the next trial, given that of this one.

    Other Parameters
    ----------------
    initial : (context,)
        Probabilities of the first context; all the same if omitted.
    contexts : (trial,)
        Number of the context on trials where it is known; NaN where it is not.
    time_steps : (trial,)
        Time since the trial before, for the beliefs; one unit each if omitted.
    precision
        "float64" or "float32".

    Returns
    -------
    Dataset
        ``responsibility`` and ``expected_responsibility`` (trial, context);
        ``expected_mean``, ``expected_variance`` and ``surprise`` (nats) of the outcome
        (trial); ``mean`` and ``precision`` (trial, node) of the beliefs.

    Raises
    ------
    InvalidInputError
        If the data do not fit the network, or probabilities do not add up to one.
    DivergedError
        If a precision became negative.

    Examples
    --------
    >>> from neuromod import hgf
    >>> network = hgf.switching([-2.0, 2.0], input_precision=4.0)
    >>> stay = [[0.9, 0.1], [0.1, 0.9]]
    >>> found = switch(network, [-2.1, -1.8, 2.2, 1.9], stay)
    >>> found["responsibility"].round(2).sel(context=0).values
    array([1., 1., 0., 0.])
    """
    names = network.inputs
    trials = prepare(network, dict.fromkeys(names, data), time_steps=time_steps)
    series, n_trials = trials.series, len(trials.coordinate)
    matrix = _probabilities(transition_matrix, (len(names),) * 2, "transition_matrix")
    first = np.full(len(names), 1 / len(names)) if initial is None else initial
    first = _probabilities(first, (len(names),), "initial")
    told = np.full(n_trials, np.nan) if contexts is None else contexts
    told = require_numbers(told, len(names), "contexts")
    if len(told) != n_trials:
        raise invalid("contexts", f"{len(told)} trials", f"{n_trials}", "", ShapeError)
    seen = np.ones(n_trials, bool) if series.observed[0] is None else series.observed[0]
    with precision_context(precision):
        given = network, series.values[0], matrix, first, told, series.intervals
        model, values, *rest = in_precision(given, precision)
        found = jax.tree.map(np.asarray, follow_contexts(model, values, seen, *rest))
    return _dataset(network, trials, found)


def _dataset(network: Network, trials: Any, found: Switched) -> xr.Dataset:
    """Name what was found, or say where it stopped being a number."""
    over = trials.dimension
    variables = {
        name: ((over, "context")[: np.ndim(values)], values)
        for name, values in found._asdict().items()
        if name != "beliefs"
    }
    for quantity in ("mean", "precision"):
        columns = [getattr(found.beliefs[name], quantity) for name in network.states]
        variables[quantity] = ((over, "node"), np.stack(columns, axis=1))
    wrong = ~np.isfinite(variables["mean"][1]) | ~np.isfinite(variables["precision"][1])
    if wrong.any():
        trial, node = np.argwhere(wrong)[0]
        raise DivergedError(
            f"hgf.switch: the belief about {network.states[node]!r} stopped being a "
            f"number at trial {trial}. Lower the tonic volatilities."
        )
    coords = {over: trials.coordinate, "node": list(network.states)}
    coords["context"] = np.arange(len(network.inputs))
    dataset = xr.Dataset(variables, coords)
    dataset["surprise"].attrs["units"] = "nats"
    return dataset


def _probabilities(given: Any, shape: tuple[int, ...], argument: str) -> np.ndarray:
    values = np.asarray(given, float)
    if values.shape != shape:
        raise invalid(argument, f"shape {values.shape}", f"{shape}", kind=ShapeError)
    if not ((values >= 0).all() and np.allclose(values.sum(axis=-1), 1, atol=1e-6)):
        raise invalid(argument, f"{values.tolist()}", "probabilities that add up to 1")
    return values
