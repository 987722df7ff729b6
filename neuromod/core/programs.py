"""Compiling programs of many small kernels, which take longer to compile than to run.

XLA compiles every fused kernel by itself, and a step of EM has a hundred of them. Up to
jax 0.10 there are two ways in which it writes kernels for a CPU. The older one takes
half as long to compile, and what comes out is as fast, but for the gates of recurrent
networks: those lose up to half of their speed. From jax 0.11 on there is one way.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer

OLDER = {"xla_cpu_use_fusion_emitters": False}


def jit_many_kernels(function: Callable, **settings: Any) -> Callable:
    """Compile a function like `jax.jit`, but sooner.

    Parameters
    ----------
    function
        What to compile.
    **settings
        Further arguments of `jax.jit`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> float(jit_many_kernels(jnp.sin)(0.0))
    0.0
    """
    within = jax.jit(function, **settings)
    if jax.__version_info__ >= (0, 11):
        return within
    alone = jax.jit(function, compiler_options=OLDER, **settings)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        # The options are those of a whole program: a part of one has none of its own.
        leaves = jax.tree.leaves((arguments, named))
        traced = any(isinstance(leaf, Tracer) for leaf in leaves)
        return (within if traced else alone)(*arguments, **named)

    return call
