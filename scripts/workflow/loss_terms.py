"""The terms of the loss, for the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor


class HasTerms(Protocol):
    """A loss that keeps the detached terms of its last call, by name."""

    terms: dict[str, Tensor]


class LossTerms:
    """Output transform of logging handlers: the total loss and each of its terms of the last step, as floats.

    Args:
        loss: a loss that keeps its last ``terms``, such as :class:`scripts.losses.StrokeLesionLoss`.
    """

    def __init__(self, loss: HasTerms):
        self.loss = loss

    def __call__(self, output: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return name -> value; ``output`` is the decollated output of a trainer, whose items share the loss."""
        return {"loss": float(output[0]["loss"]), **{name: value.item() for name, value in self.loss.terms.items()}}
