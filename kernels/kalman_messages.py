"""The passes over time of a Kalman filter and smoother.

The equations stand in `neuromod.kernels.kalman`. Only the forward pass is not linear:
`update` weighs a prediction by its observation in the form of Joseph, a sum of two
covariances, which rounding cannot make negative::

    S = H P H' + R,   K = P H' S^-1
    filtered covariance = (1 - K H) P (1 - K H)' + K R K'

All backward passes are recursions ``x_t = M_t x_{t+1} + o_t`` for a mean and
``X_t = M_t X_{t+1} M_t' + C_t`` for a covariance, whose parts are computed before, for
every bin by itself. `run_backward` runs them: for the smoother and for posterior draws
with the conditionals of `condition`, for the derivative of log p(y) with the
sensitivities of `neuromod.kernels.kalman_likelihood`.

Both passes come in two forms. "sequential" walks from bin to bin. "associative" joins
stretches of bins, which gives the same in whatever grouping (Särkkä & García-Fernández,
IEEE Trans. Autom. Control 2021, arXiv:1905.13002): every bin with the one before, then
with the two, four, eight before those, so that after log2(time) joins it knows all of
them (Hillis & Steele, Commun. ACM 1986, doi:10.1145/7902.7903). All bins join at once,
which pays where there are as many processors; on a CPU it costs a hundredfold.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from neuromod.kernels.kalman_algebra import (
    congruence,
    identity_like,
    product,
    residual_covariance,
    solve,
    symmetric,
)
from neuromod.kernels.kalman_model import Bin, Chain, Gaussian, at_bin
from neuromod.kernels.methods import choose

Method = Literal["auto", "sequential", "associative"]

KNOWN = ("sequential", "associative")
# From so many bins on the associative method wins on an accelerator.
ASSOCIATIVE_BINS = 10_000


class Update(NamedTuple):
    """One bin of the forward pass; ``precision`` is S^-1, ``innovation`` v."""

    predicted: Gaussian
    filtered: Gaussian
    gain: Array
    precision: Array
    innovation: Array
    log_normaliser: Array


class Recursion(NamedTuple):
    """The parts M, o and C of a backward recursion; C is None where none is wanted."""

    matrix: Array
    offset: Array
    covariance: Any

    @property
    def state(self) -> Gaussian:
        """What the recursion has come to if there is nothing after it."""
        return Gaussian(self.offset, self.covariance)


def choose_for(method: Method, observations: Array) -> str:
    """Return the method for a recording (time, channel)."""
    return choose(method, KNOWN, len(observations), ASSOCIATIVE_BINS)


def update(predicted: Gaussian, own: Bin) -> Update:
    """Weigh a prediction by the observation of its bin."""
    mean, covariance = predicted
    H, R = own.observation, own.observation_covariance
    projected = product(H, covariance)
    total = symmetric(product(projected, H.T)) + R
    precision, log_determinant = solve(total, identity_like(total))
    gain = product(precision, projected).T
    innovation = own.residual - product(H, mean)
    remain = identity_like(covariance) - product(gain, H)
    filtered = Gaussian(
        mean + product(gain, innovation),
        residual_covariance(remain, covariance, gain, R),
    )
    distance = jnp.sum(innovation * product(precision, innovation))
    n_seen = len(R) if own.seen is None else jnp.sum(own.seen, dtype=mean.dtype)
    log_normaliser = -(n_seen * jnp.log(2 * jnp.pi) + log_determinant + distance) / 2
    return Update(predicted, filtered, gain, precision, innovation, log_normaliser)


def predict(filtered: Gaussian, own: Bin) -> Gaussian:
    """Return the prior of the next bin."""
    F = own.transition
    return Gaussian(
        product(F, filtered.mean) + own.transition_offset,
        congruence(F, filtered.covariance) + own.transition_covariance,
    )


def run_forward(
    chain: Chain, method: str, start: Gaussian | None = None
) -> tuple[Gaussian, Update]:
    """Return the prediction after the last bin, and the forward pass."""
    start = chain.initial if start is None else start
    if method == "associative":
        return _join_forward(chain, start)

    def step(predicted, cut):
        own = at_bin(chain.constant, cut)
        updated = update(predicted, own)
        return predict(updated.filtered, own), updated

    return lax.scan(step, start, chain.cuts)


def condition(filtered: Gaussian, own: Bin, last: Array) -> Recursion:
    """Return p(z_t | z_{t+1}, y_0..t) = N(G z_{t+1} + o, C), again as a sum for C.

    After the ``last`` bin comes nothing that the state could depend on.
    """
    F, Q = own.transition, own.transition_covariance
    mean, covariance = predict(filtered, own)
    gain = solve(covariance, product(F, filtered.covariance))[0].T
    gain = jnp.where(last, 0.0, gain)
    remain = identity_like(F) - product(gain, F)
    return Recursion(
        gain,
        filtered.mean - product(gain, mean),
        residual_covariance(remain, filtered.covariance, gain, Q),
    )


def run_backward(part: Callable, output: Callable, inputs: Any, method: str):
    """Run a recursion from the last bin, with nothing after it, to the first.

    ``part(*own)`` returns the `Recursion` of a bin from its inputs, and
    ``output(part, after, now, *own)`` what is wanted of the bin, given the `Gaussian`
    of the next bin and its own. Returned are the one of the first bin, and all outputs.
    """
    if method == "associative":
        return _join_backward(part, output, inputs)

    def step(after, own):
        here = part(*own)
        now = _follow(Recursion(here.matrix, *after), here).state
        return now, output(here, after, now, *own)

    own = jax.tree.map(lambda x: x[0], inputs)
    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(part, *own).state)
    return lax.scan(step, nothing, inputs, reverse=True)


def _join_backward(part: Callable, output: Callable, inputs: Any):
    parts = jax.vmap(part)(*inputs)
    now = _flip(_join_all(_follow, _flip(parts))).state
    after = jax.tree.map(lambda x: jnp.concatenate([x[1:], jnp.zeros_like(x[:1])]), now)
    outputs = jax.vmap(output)(parts, after, now, *inputs)
    return jax.tree.map(lambda x: x[0], now), outputs


def _follow(later: Recursion, earlier: Recursion) -> Recursion:
    """Put the later part of a recursion into the earlier one."""
    matrix = earlier.matrix
    covariance = earlier.covariance
    if covariance is not None:
        covariance = congruence(matrix, later.covariance) + covariance
    return Recursion(
        product(matrix, later.matrix),
        product(matrix, later.offset) + earlier.offset,
        covariance,
    )


def _flip(arrays: Any) -> Any:
    return jax.tree.map(lambda x: jnp.flip(x, axis=0), arrays)


def _join_all(join: Callable, elements: Any) -> Any:
    """Join each element with all before it.

    `jax.lax.associative_scan` joins fewer pairs, but writes every round of them out
    again: compiling it takes ten times longer.
    """
    n = len(jax.tree.leaves(elements)[0])

    def double(k, joined):
        reach = 1 << k
        before = jax.tree.map(lambda x: jnp.roll(x, reach, axis=0), joined)
        longer = jax.vmap(join)(before, joined)
        alone = jnp.arange(n) < reach
        return jax.vmap(_select)(alone, joined, longer)

    return lax.fori_loop(0, (n - 1).bit_length(), double, elements)


def _select(condition: Array, chosen: Any, other: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), chosen, other)


class Element(NamedTuple):
    """What a stretch of bins tells: p(z_end | z_before, y) and p(y | z_before).

    The first is N(A z_before + ``mean``, ``covariance``), and the second is in
    proportion to exp(``linear``' z - z' ``information`` z / 2).
    """

    matrix: Array
    mean: Array
    covariance: Array
    linear: Array
    information: Array


def _join_forward(chain: Chain, start: Gaussian) -> tuple[Gaussian, Update]:
    bins = jax.vmap(at_bin, (None, 0))(*chain)
    # Nothing leads into the first bin: whatever was before, it starts anew.
    beginning = (jnp.zeros_like(bins.transition[0]), *start)
    F, b, Q = _delay(beginning, bins[:3])
    incoming = bins._replace(transition=F, transition_offset=b, transition_covariance=Q)
    joined = _join_all(_join, jax.vmap(_element)(incoming))
    filtered = Gaussian(joined.mean, joined.covariance)
    following = jax.vmap(predict)(filtered, bins)
    updates = jax.vmap(update)(Gaussian(*_delay(start, following)), bins)
    return jax.tree.map(lambda x: x[-1], following), updates


def _delay(first: Any, following: Any) -> Any:
    """Put something before the first bin, and leave out the last."""
    return jax.tree.map(
        lambda x, y: jnp.concatenate([x[None], y[:-1]]), tuple(first), tuple(following)
    )


def _element(own: Bin) -> Element:
    """Return what one bin tells, given the transition *into* it."""
    F, b, Q = own[:3]
    updated = update(Gaussian(b, Q), own)
    seen = product(own.observation, F)
    weighted = product(updated.precision, seen).T
    return Element(
        F - product(updated.gain, seen),
        *updated.filtered,
        product(weighted, updated.innovation),
        symmetric(product(weighted, seen)),
    )


def _join(earlier: Element, later: Element) -> Element:
    """Join two stretches; the state between them is integrated out."""
    C, J = earlier.covariance, later.information
    n = len(C)
    # (1 + C J)^-1, whose transpose is (1 + J C)^-1.
    between = jnp.linalg.inv(jnp.eye(n, dtype=C.dtype) + product(C, J))
    forward = product(later.matrix, between)
    backward = product(between, earlier.matrix).T
    mean = earlier.mean + product(C, later.linear)
    linear = later.linear - product(J, earlier.mean)
    return Element(
        product(forward, earlier.matrix),
        product(forward, mean) + later.mean,
        symmetric(product(forward, C, later.matrix.T)) + later.covariance,
        product(backward, linear) + earlier.linear,
        symmetric(product(backward, J, earlier.matrix)) + earlier.information,
    )
