"""Measure how fast each part of the bundle is, against what the machine can do at best, and show it."""

from .command import HELP, add_arguments, run

__all__ = ["HELP", "add_arguments", "run"]
