"""Whether a file is a picture with something on it."""

from pathlib import Path

from PIL import Image


def assert_drawn(path: Path) -> None:
    """Fail if a picture is of a few shades of grey alone."""
    colours = Image.open(path).convert("L").getcolors()
    assert colours is not None
    assert len(colours) > 10
