"""Train nnU-Net on the cases and the inputs of rows of the papers' tables, and score it as they are."""

from .command import HELP, add_arguments, run

__all__ = ["HELP", "add_arguments", "run"]
