"""Run the rows of the papers' tables, one small overlay each, and write ours beside the paper's."""

from .command import HELP, add_arguments, run

__all__ = ["HELP", "add_arguments", "run"]
