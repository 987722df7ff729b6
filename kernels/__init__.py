"""Recurrences as pure functions on pytrees: the ground every model stands on."""

if __name__ == "kernels":
    raise ImportError("this package is imported as neuromod.kernels")
