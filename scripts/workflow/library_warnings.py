"""Warnings that speak to the maintainers of a library and that a user of the bundle can do nothing about."""

import warnings


def silence_library_warnings() -> None:
    """Ignore them, each by its own text: all other warnings still appear."""
    # MONAI's RemoveSmallObjects calls scikit-image with a deprecated argument.
    warnings.filterwarnings("ignore", r"Parameter `min_size` is deprecated", FutureWarning)
