"""``python -m neuromod`` is the command ``neuromod``."""

from neuromod.cli import main

if __name__ == "__main__":
    main()
