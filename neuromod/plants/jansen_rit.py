r"""Networks of cortical columns: the neural masses of Jansen and Rit.

A column is three populations: pyramidal cells, and the excitatory and the inhibitory
interneurons that they drive and that drive them. Potentials turn into rates, averaged
over a population, by a sigmoid, and rates $m$ (1/s) into potentials (mV) at a synapse
whose response to one impulse is $H \kappa t e^{-\kappa t}$:

$$
S(v) = \frac{2 e_0}{1 + e^{r (v_0 - v)}}, \qquad
\ddot y = H \kappa\, m - 2 \kappa\, \dot y - \kappa^2 y .
$$

Each column has three such synapses: $y_0$ of the pyramidal cells onto interneurons,
$y_1$ of excitation and $y_2$ of inhibition onto the pyramidal cells. In a network,

$$
\begin{aligned}
m_0 &= S(y_1 - y_2), & H, \kappa &= A, a, \\
m_1 &= p + g I + \tfrac{4}{5} C\, S(C y_0) + \sum_j W_j S(y_{1j} - y_{2j}),
    & H, \kappa &= A, a, \\
m_2 &= \tfrac{1}{4} C\, S(\tfrac{1}{4} C y_0), & H, \kappa &= B, b.
\end{aligned}
$$

| symbol | field | value | unit |
|---|---|---|---|
| $W$ | `connectivity` (region, source_region) | 0 | 1 |
| $p$ | `input_rate`: impulses from elsewhere | 220 | 1/s |
| $\sigma$ | `input_noise`: $p\,dt$ becomes $p\,dt + \sigma\,dW$ | 0 | 1/√s |
| $g$ | `stimulation_gain`: of the current $I$ (uA) | 1 | 1/(s uA) |
| $C$ | `n_synapses`: a column's, on average | 135 | 1 |
| $A, B$ | `excitatory_gain`, `inhibitory_gain` | 3.25, 22 | mV |
| $a, b$ | `excitatory_rate`, `inhibitory_rate` | 100, 50 | 1/s |
| $2 e_0$ | `largest_rate` | 5 | 1/s |
| $v_0$ | `half_potential`: where half of it is reached | 6 | mV |
| $r$ | `steepness` | .56 | 1/mV |

The potential of the pyramidal cells, $y_1 - y_2$, is what an electroencephalogram sees.
Between 90 and 316 impulses a second a column alone oscillates, at about 10 Hz; between
114 and 137 it may also make slow spikes. Input that is drawn anew every millisecond,
uniformly between 120 and 320, has a $\sigma$ of 1.8. The conduction between columns
takes no time here.

(Jansen & Rit, Biol. Cybern. 73, 357, 1995; bifurcations: Grimbert & Faugeras, Neural
Comput. 18, 3052, 2006.)
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.core.errors import ShapeError, invalid

PerRegion = Float[Array, ""] | Float[Array, " region"]


class State(NamedTuple):
    """The state of a network.

    Parameters
    ----------
    potential : (..., 3, region)
        Of the three synapses (mV).
    slope : (..., 3, region)
        How fast they change (mV/s).
    """

    potential: Float[Array, "*time 3 region"]
    slope: Float[Array, "*time 3 region"]


def _array(value: Any) -> Array:
    return jnp.asarray(value, jnp.result_type(float))


class JansenRit(eqx.Module):
    """A network of columns.

    Parameters
    ----------
    connectivity : (region, source_region)
        Synapses from column to column; the default is one column alone.

    Other Parameters
    ----------------
    input_rate, input_noise, stimulation_gain, n_synapses, excitatory_gain, \
    inhibitory_gain, excitatory_rate, inhibitory_rate, largest_rate, half_potential, \
    steepness : () or (region,)
        As in the table above; one for all columns, or one for each.

    Raises
    ------
    ShapeError
        If the connectivity is not square, or a parameter has another length.

    Examples
    --------
    >>> pair = JansenRit([[0.0, 10.0], [10.0, 0.0]], input_rate=[120.0, 220.0])
    >>> pair.n_regions, pair.firing_rate(pair.silence()).shape
    (2, (2,))
    """

    connectivity: Float[Array, "region source_region"] = eqx.field(
        converter=_array, default=((0.0,),)
    )
    input_rate: PerRegion = eqx.field(converter=_array, default=220.0, kw_only=True)
    input_noise: PerRegion = eqx.field(converter=_array, default=0.0, kw_only=True)
    stimulation_gain: PerRegion = eqx.field(converter=_array, default=1.0, kw_only=True)
    n_synapses: PerRegion = eqx.field(converter=_array, default=135.0, kw_only=True)
    excitatory_gain: PerRegion = eqx.field(converter=_array, default=3.25, kw_only=True)
    inhibitory_gain: PerRegion = eqx.field(converter=_array, default=22.0, kw_only=True)
    excitatory_rate: PerRegion = eqx.field(
        converter=_array, default=100.0, kw_only=True
    )
    inhibitory_rate: PerRegion = eqx.field(converter=_array, default=50.0, kw_only=True)
    largest_rate: PerRegion = eqx.field(converter=_array, default=5.0, kw_only=True)
    half_potential: PerRegion = eqx.field(converter=_array, default=6.0, kw_only=True)
    steepness: PerRegion = eqx.field(converter=_array, default=0.56, kw_only=True)

    def __check_init__(self) -> None:
        """Refuse arrays that do not fit each other."""
        shape = self.connectivity.shape
        if len(shape) != 2 or shape[0] != shape[1]:
            expected = "(region, source_region), square"
            raise invalid("connectivity", f"shape {shape}", expected, kind=ShapeError)
        for name, value in vars(self).items():
            if name != "connectivity" and value.shape not in ((), shape[:1]):
                expected = f"one number, or {shape[0]}"
                got = f"shape {value.shape}"
                raise invalid(name, got, expected, kind=ShapeError)

    @property
    def n_regions(self) -> int:
        """How many columns there are."""
        return self.connectivity.shape[0]

    def silence(self) -> State:
        """Return the state in which all potentials are zero, where a run may begin."""
        zeros = jnp.zeros((3, self.n_regions), self.connectivity.dtype)
        return State(zeros, zeros)

    def potential(self, state: State) -> Float[Array, "*time region"]:
        """Return the potential of the pyramidal cells (mV)."""
        return state.potential[..., 1, :] - state.potential[..., 2, :]

    def firing_rate(self, state: State) -> Float[Array, "*time region"]:
        """Return the rate of the pyramidal cells (1/s)."""
        return self._rate(self.potential(state))

    def drift(self, state: State, current: Float[Array, " region"]) -> State:
        """Return how a state changes in a second, but for noise.

        Parameters
        ----------
        state
            At that time.
        current : (region,)
            That stimulates each column (uA).
        """
        output = self._rate(self.potential(state))
        from_pyramidal = self.n_synapses * state.potential[0]
        excited = 0.8 * self.n_synapses * self._rate(from_pyramidal)
        outside = self.input_rate + self.stimulation_gain * current
        rates = jnp.stack(
            [
                output,
                outside + excited + self.connectivity @ output,
                self.n_synapses / 4 * self._rate(from_pyramidal / 4),
            ]
        )
        gain = self._of_synapses(self.excitatory_gain, self.inhibitory_gain)
        kappa = self._of_synapses(self.excitatory_rate, self.inhibitory_rate)
        potential, slope = state
        pull = gain * rates - 2 * slope - kappa * potential
        return State(slope, kappa * pull)

    def diffusion(self, increment: Float[Array, " region"]) -> State:
        """Return how a state changes with a Brownian motion of the input of columns."""
        scale = self.excitatory_gain * self.excitatory_rate * self.input_noise
        still = jnp.zeros((3, self.n_regions), increment.dtype)
        return State(still, still.at[1].set(scale * increment))

    def _rate(self, potential: Array) -> Array:
        given = (self.largest_rate, self.half_potential, self.steepness)
        top, half, slope = (jnp.broadcast_to(p, potential.shape) for p in given)
        return top * jax.nn.sigmoid(slope * (potential - half))

    def _of_synapses(self, excitatory: Array, inhibitory: Array) -> Array:
        """Return a parameter of the three synapses (3, region)."""
        each = (excitatory, excitatory, inhibitory)
        return jnp.stack([jnp.broadcast_to(e, (self.n_regions,)) for e in each])
