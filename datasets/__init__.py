"""Named data sets: real recordings, and simulated twins whose truth is known."""

if __name__ == "datasets":
    raise ImportError("this package is imported as neuromod.datasets")
