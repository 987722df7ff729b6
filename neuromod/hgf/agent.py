"""An agent: a network that believes, and a response model that acts on it.

It acts in an environment (`neuromod.hgf.play`), responds to a series that runs whatever
it does (`neuromod.hgf.respond`), and is what a fit finds the parameters of.
"""

from typing import Any

import equinox as eqx


class Agent(eqx.Module):
    """What learns, and how it responds.

    Parameters
    ----------
    network
        A `Network`, or a baseline such as `RescorlaWagner`.
    response
        How beliefs become responses.
    """

    network: Any
    response: Any
