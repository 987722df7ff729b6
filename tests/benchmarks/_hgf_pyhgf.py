"""The part of pyhgf in the benchmark of the Hierarchical Gaussian Filter.

It runs in an environment of its own, without neuromod. The network is used as pyhgf's
documentation teaches (`Network.input_data`, `Network.surprise`), and as fast as it
goes: compiled functions that scan over `Network.scan_fn` and keep only what they need,
differentiated backwards and forwards.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pyhgf.model import Network
from pyhgf.response import (
    binary_softmax_inverse_temperature,
    first_level_binary_surprise,
)

Task = tuple[Callable[[], Any], Callable[[Any], list]]


def network(second: float, third: float) -> Network:
    """Build the three-level network for binary outcomes: published eHGF."""
    levels = Network(volatility_updates="eHGF", mean_field_updates=True)
    levels.add_nodes(kind="binary-state")
    levels.add_nodes(value_children=0, node_parameters={"tonic_volatility": second})
    levels.add_nodes(volatility_children=1, node_parameters={"tonic_volatility": third})
    return levels.create_belief_propagation_fn()


class Trajectories:
    """What a response function of pyhgf looks at."""

    def __init__(self, expected_mean: Any, outcomes: Any) -> None:
        seen = {"expected_mean": expected_mean, "mean": outcomes}
        self.node_trajectories = {0: seen, -1: {"time_step": outcomes}}
        self.input_idxs = (0,)


def believe(model: Network, parameters: Any, outcomes: Any, keep: Callable) -> Any:
    """Scan over the outcomes and keep what `keep` takes from the nodes of each step."""
    attributes = {**model.attributes}
    for node in (1, 2):
        own = {"tonic_volatility": parameters[node - 1]}
        attributes[node] = {**attributes[node], **own}

    def step(carry, inputs):
        carry, nodes = model.scan_fn(carry, inputs)
        return carry, keep(nodes)

    n_steps = len(outcomes)
    inputs = ((outcomes[:, None],), (jnp.ones(n_steps, int),), jnp.ones(n_steps), None)
    return jax.lax.scan(step, attributes, inputs)[1]


def outcome_surprise(model: Network, parameters: Any, outcomes: Any) -> Any:
    """Return the total surprise at the outcomes."""
    expected = believe(model, parameters, outcomes, lambda n: n[0]["expected_mean"])
    return first_level_binary_surprise(Trajectories(expected, outcomes)).sum()


def choice_surprise(
    model: Network, parameters: Any, outcomes: Any, choices: Any
) -> Any:
    """Return the total surprise at the choices, by the unit-square sigmoid."""
    expected = believe(model, parameters, outcomes, lambda n: n[0]["expected_mean"])
    seen = Trajectories(expected, outcomes)
    return binary_softmax_inverse_temperature(seen, choices, parameters[2]).sum()


def as_taught(model: Network, outcomes: Any, choices: Any, parameters: Any) -> Any:
    """Return the surprise at choices, or at outcomes, by the network's methods."""
    for node in (1, 2):
        model.attributes[node]["tonic_volatility"] = parameters[node - 1]
    model.input_data(input_data=outcomes)
    if choices is None:
        return model.surprise(first_level_binary_surprise).sum()
    response = binary_softmax_inverse_temperature
    return model.surprise(response, choices, parameters[2]).sum()


def backwards(function: Callable) -> Callable:
    """Return the value and gradient of a function, by reverse-mode differentiation."""
    return jax.value_and_grad(function)


def forwards(function: Callable) -> Callable:
    """Return the same by forward-mode differentiation, a lane for each parameter."""

    def both(at, *rest):
        def along(direction):
            return jax.jvp(lambda where: function(where, *rest), (at,), (direction,))

        return jax.vmap(along, out_axes=(None, 0))(jnp.eye(len(at)))

    return both


WAYS = {"backwards": backwards, "forwards": forwards}


def columns(nodes: Any) -> Any:
    """Take from the trajectories of pyhgf what those of neuromod hold."""
    beliefs = [nodes[i][k] for k in ("mean", "precision") for i in (1, 2)]
    expected = ("expected_mean", "expected_precision")
    return beliefs + [nodes[i][k] for k in expected for i in (0, 1, 2)]


def prepare(work: str, way: str, parameters: Any, outcomes: Any, choices: Any) -> Task:
    """Return a function that does the work, and one that lists the arrays of a result.

    Parameters
    ----------
    work, way
        What is done, and how.
    parameters : (3,) or (subject, 3)
        Tonic volatilities of the second and third level, inverse temperature.
    outcomes, choices : (time,) or (subject, time)
        0 or 1.
    """
    model = network(*map(float, parameters.reshape(-1, 3)[0, :2]))
    if (work, way) == ("trajectories", "input_data"):
        return _input_data(model, outcomes), columns
    arguments, arrays = (parameters, outcomes), list
    if way == "input_data":
        arguments = (parameters,)
        function = partial(as_taught, model, outcomes, None)
        if work == "gradient":
            function = backwards(partial(as_taught, model, outcomes, choices))
    elif work == "forward":
        function = partial(outcome_surprise, model)
    elif work == "trajectories":
        keep = columns if way == "chosen columns" else dict
        arrays = list if way == "chosen columns" else columns
        function = partial(believe, model, keep=keep)
    else:
        function = WAYS[way](partial(choice_surprise, model))
        function = function if parameters.ndim == 1 else jax.vmap(function)
        arguments = (parameters, outcomes, choices)
    compiled, arguments = jax.jit(function), jax.device_put(arguments)
    return lambda: jax.block_until_ready(compiled(*arguments)), arrays


def _input_data(model: Network, outcomes: np.ndarray) -> Callable[[], Any]:
    def call():
        model.input_data(input_data=outcomes)
        return jax.block_until_ready(model.node_trajectories)

    return call


def sample(
    outcomes: Any, choices: Any, way: str, n_warmup: int, n_draws: int
) -> dict[str, Any]:
    """Draw from the posterior of a participant by numpyro's NUTS, twice.

    The first run compiles; the second finds all compiled.
    """
    import numpyro
    from numpyro import distributions as dist
    from numpyro.infer import MCMC, NUTS

    levels = network(-3.0, -6.0)
    outcomes, choices = jnp.asarray(outcomes), jnp.asarray(choices)

    def model():
        second = numpyro.sample("omega2", dist.Normal(-3.0, 2.0))
        third = numpyro.sample("omega3", dist.Normal(-6.0, 2.0))
        beta = jnp.exp(numpyro.sample("log_beta", dist.Normal(0.0, 1.0)))
        numpyro.deterministic("beta", beta)
        surprise = choice_surprise(levels, (second, third, beta), outcomes, choices)
        numpyro.factor("choices", -surprise)

    kernel = NUTS(model, forward_mode_differentiation=way == "forwards")
    chain = MCMC(kernel, num_warmup=n_warmup, num_samples=n_draws, progress_bar=False)
    runs = []
    for seed in (0, 1):
        wall, cpu = time.perf_counter(), time.process_time()
        chain.run(jax.random.key(seed), extra_fields=("num_steps", "diverging"))
        draws = jax.block_until_ready(chain.get_samples())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        runs.append({"cpu": cpu, "wall": wall})
    extra = chain.get_extra_fields()
    return {
        "first_s": runs[0],
        "compiled_s": runs[1],
        "gradients": int(extra["num_steps"].sum()),
        "divergences": int(extra["diverging"].sum()),
        "posterior": {
            name: {"mean": float(draws[name].mean()), "sd": float(draws[name].std())}
            for name in ("omega2", "omega3", "beta")
        },
    }
