"""What every fit returns: a model that runs, labelled data, and where they come from.

A `Result` is one thing to look at, to save and to go on from. `Result.save` writes
it to one netCDF file, `load` reads it back in any other process: the model predicts
the same bits there.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import xarray as xr

from neuromod.core import display, models, plain, seeds, storage
from neuromod.core.errors import DataFormatError, choice, invalid

if TYPE_CHECKING:
    import pandas as pd

MODEL_GROUP = "/model"


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """A fitted model with its data, settings and origin.

    Parameters
    ----------
    model
        An Equinox module, everything needed to run it forward; None if there is none.
    data
        The arrays, in groups, of which each family has those that apply:
        ``parameters`` (point estimates by name), ``uncertainty`` (standard errors or
        intervals of them), ``posterior`` (draws: chain, draw), ``sample_stats``,
        ``log_likelihood`` (pointwise), ``observed_data``, ``latent`` (state
        probabilities, beliefs), ``history`` (the course of the fit), ``truth`` (of
        simulations). The attributes of the tree are the scores of the whole fit; the
        attributes of ``history`` tell of its convergence.
    config
        Every setting that the verb was called with, as plain values.
    provenance
        Versions, seed, precision, options, machine, time, checksums of the inputs:
        what `neuromod.core.provenance.provenance` returns.

    Raises
    ------
    ShapeError
        If arrays lie at the root of the tree, or a stack does not fit its seeds.
    InvalidInputError
        If settings are no plain values, or a group is called ``model``.

    Notes
    -----
    *Many seeds.* A fit over many seeds is one Result whose ``parameters`` (or
    ``posterior``) have the dimension ``seed``, labelled with the seeds. Then each
    array of the model has a leading axis for them too, in the same order, as
    ``equinox.filter_vmap`` makes it. `sel` takes one seed out of data and model;
    `best` takes the one whose fit ended with the highest log-likelihood, as
    ``history`` recorded it.

    Examples
    --------
    >>> parameters = xr.Dataset({"rate": ("neuron", [2.0, 5.0], {"units": "Hz"})})
    >>> data = xr.DataTree.from_dict({"parameters": parameters})
    >>> result = Result(None, data, config={"n_states": 1}, provenance={"seed": 0})
    >>> result.to_dataframe()
      variable  neuron  value
    0     rate       0    2.0
    1     rate       1    5.0
    """

    model: Any
    data: xr.DataTree
    config: dict[str, Any]
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.data, xr.DataTree):
            raise invalid(
                "data",
                f"a {type(self.data).__name__}",
                "a DataTree with arrays in groups",
                "Name the groups: xarray.DataTree.from_dict({'latent': dataset}).",
            )
        storage.require_empty(self.data.to_dataset(inherit=False))
        if MODEL_GROUP.strip("/") in self.data.children:
            expected = "any other name: this group is the model's in a file"
            raise invalid("data", "a group called 'model'", expected, "Rename it.")
        _require_plain(self.config, "config")
        _require_plain(self.provenance, "provenance")
        object.__setattr__(self, "model", jax.tree.map(_strictly_typed, self.model))
        if self.seeds is not None:
            seeds.require_axis(self.model, len(self.seeds))

    @property
    def seeds(self) -> list[Any] | None:
        """The seeds of a fit over many, else None."""
        return seeds.labels(self.data)

    def sel(self, *, seed: Any) -> "Result":
        """Return the result of one of many seeds.

        Raises
        ------
        InvalidInputError
            If the fit was over one seed only, or not over this one.
        """
        if self.seeds is None:
            raise invalid("seed", seed, "no choice: this fit was over one seed")
        if seed not in self.seeds:
            raise invalid("seed", repr(seed), f"one of {self.seeds}")
        index = self.seeds.index(seed)
        return replace(
            self,
            model=models.select(self.model, index),
            data=seeds.select(self.data, seed, index),
            provenance={**self.provenance, "seed": seed},
        )

    def best(self) -> "Result":
        """Return the result of the seed that ended with the highest log-likelihood.

        A result of one seed is its own best. Where a fit kept several restarts per
        seed, the best of them counts.

        Raises
        ------
        NotFittedError
            If ``history`` has no ``log_likelihood`` per seed, or none is finite.
        """
        if self.seeds is None:
            return self
        final = seeds.final_log_likelihood(self.data)
        return self.sel(seed=self.seeds[int(final.argmax())])

    def summary(self) -> str:
        """Return the parameters, scores and convergence as a text table."""
        return display.summary(self)

    def to_dataframe(self, group: str = "parameters") -> "pd.DataFrame":
        """Return one group as a long table, one row per number.

        Parameters
        ----------
        group
            The name of a group of ``data``.

        Returns
        -------
        pandas.DataFrame
            The column ``variable``, one column per dimension with its labels (or
            positions), and the column ``value``.

        Raises
        ------
        InvalidInputError
            If there is no such group.
        """
        names = [node.path.strip("/") for node in self.data.descendants]
        dataset = self.data[choice("group", group, names)].to_dataset()
        return display.long_table(dataset)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one file, which `load` reads back.

        The file is netCDF behind a header of 512 bytes; ``xarray.open_datatree(path,
        engine="h5netcdf")`` opens its arrays, the model's in the group ``model``. It
        is written under another name and renamed: a kill in the middle leaves the
        file that was there.

        Parameters
        ----------
        path
            The file to write, usually ``NAME.nc``; one that is there is replaced.

        Returns
        -------
        pathlib.Path
            The file written.

        Raises
        ------
        InvalidInputError
            If something would not come back as it is: objects, functions, bfloat16, a
            MultiIndex. Names it, and how to convert it.
        """
        n_seeds = None if self.seeds is None else len(self.seeds)
        model, arrays = models.take_apart(self.model, n_seeds)
        notes = {
            "name": self.data.name,
            "model": model,
            "config": plain.pack(self.config, "config"),
            "provenance": plain.pack(self.provenance, "provenance"),
        }
        groups = {
            f"/{path}".removesuffix("."): node.to_dataset(inherit=False)
            for path, node in self.data.subtree_with_keys
        }
        return storage.write(path, {**groups, MODEL_GROUP: arrays}, notes)

    def __repr__(self) -> str:
        return display.text(self)

    def _repr_html_(self) -> str:
        return display.html(self)


def load(
    path: str | os.PathLike[str], classes: Mapping[str, type] | None = None
) -> Result:
    """Read a result that `Result.save` has written.

    The file is checked bit by bit before anything is made of it, and nothing in it is
    ever run: a model is built by neuromod's own classes, or by yours.

    Parameters
    ----------
    path
        The file.

    Other Parameters
    ----------------
    classes
        Your own model classes by their names, as in ``{"MyModel": MyModel}``.

    Returns
    -------
    Result
        As it was saved: the same bits, types, labels and attributes.

    Raises
    ------
    InvalidInputError
        If there is no such file.
    ChecksumError
        If it is damaged.
    DataFormatError
        If it is another kind of file, of another version, contradicts itself, or
        holds a model of an unknown class.

    Examples
    --------
    >>> import tempfile
    >>> data = xr.DataTree.from_dict({"latent": xr.Dataset({"x": ("time", [1.0])})})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Result(None, data, {"n_states": 2}, {}).save(f"{folder}/fit.nc")
    ...     load(path).config
    {'n_states': 2}
    """
    groups, notes = storage.read(path)
    try:
        arrays = groups.pop(MODEL_GROUP)
        model = models.rebuild(notes["model"], arrays, classes or {})
        data = xr.DataTree.from_dict(groups, name=notes["name"])
        config, provenance = map(plain.unpack, (notes["config"], notes["provenance"]))
        return Result(model, data, config, provenance)
    except DataFormatError as error:
        raise DataFormatError(f"{os.fspath(path)}: {error}") from error
    except Exception as error:
        raise storage.contradiction(path, error) from error


def _require_plain(values: Any, argument: str) -> None:
    if type(values) is not dict:
        raise invalid(argument, f"a {type(values).__name__}", "a dict of plain values")
    try:
        plain.pack(values, argument)
    except RecursionError:
        raise invalid(argument, "a value that holds itself", "plain values") from None


def _strictly_typed(leaf: Any) -> Any:
    """Fix a type that JAX took from a Python number and would let others overrule.

    A file knows types but not that they are weak, so that a model with a weak type
    could predict other bits after it was loaded.
    """
    if isinstance(leaf, jax.Array) and leaf.weak_type:
        return models.replace_values(leaf, np.asarray(leaf))
    return leaf
