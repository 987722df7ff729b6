"""The progress bar of everything that takes longer than a second."""

from tqdm import tqdm


def progress_bar(total: int, description: str, unit: str, *, shown: bool) -> tqdm:
    """Return a bar on standard error, for a ``with`` block or not.

    Parameters
    ----------
    total
        Number of steps.
    description
        The verb that runs.
    unit
        What a step is.
    shown
        Whether to show it; ``TQDM_DISABLE=1`` hides every bar.

    Examples
    --------
    >>> with progress_bar(2, "cohort.map", "item", shown=False) as bar:
    ...     bar.update()
    """
    if not shown:
        return tqdm(total=total, disable=True)
    # Without `disable`, so that the environment can still say so.
    return tqdm(total=total, desc=description, unit=unit)
