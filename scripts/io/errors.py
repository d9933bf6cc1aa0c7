"""Errors that name the case and the file, so that one line is enough to find what is wrong."""

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Self


class CaseError(ValueError):
    """The data of one case are not what they should be.

    The constructor takes the finished message alone, because `torch.utils.data.DataLoader` rebuilds an exception that a
    worker raised from its type and its message; :meth:`of` composes the message.

    Example:
        >>> print(CaseError.of("case_7", "image", "/data/x.nii", "a 4D series (H, W, D, T)", "3D (256, 256, 8)"))
        case 'case_7', image '/data/x.nii': expected a 4D series (H, W, D, T), got 3D (256, 256, 8)
    """

    @classmethod
    def of(cls, case: str, key: str, file: str | PathLike[str] | None, expected: str, got: str) -> Self:
        """Compose the one-line message from the case's name, the key, the file, what was expected and what came."""
        place = key if file is None else f"{key} '{file}'"
        return cls(f"case '{case}', {place}: expected {expected}, got {' '.join(str(got).split())}")


class DatasetError(ValueError):
    """Several problems of a data set, all of them listed.

    Args:
        problems: one line (or exception) for each problem; alternatively a finished message.
    """

    def __init__(self, problems: str | Iterable[object]) -> None:
        self.problems: Sequence[str] = [problems] if isinstance(problems, str) else [str(p) for p in problems]
        count = len(self.problems)
        super().__init__(self.problems[0] if count == 1 else "\n  ".join([f"{count} problems:", *self.problems]))

    def __reduce__(self) -> tuple[type, tuple[Sequence[str]]]:
        return type(self), (self.problems,)


class OptionError(ValueError):
    """A key of a config, or its value, is not what it should be."""


class WeightsError(ValueError):
    """A file of weights cannot be read, is not the one that is recorded, or holds no trained network."""


CLEAR_ERRORS = (CaseError, DatasetError, OptionError, WeightsError, OSError, FloatingPointError)
"""Errors whose message alone tells a user what is wrong."""


def root_error(error: BaseException) -> BaseException:
    """Return the clear error in a chain of exceptions, if there is one; else the exception itself.

    MONAI wraps what a transform raises into ``RuntimeError: applying transform <...>``, which tells a user nothing.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CLEAR_ERRORS):
            return cause
        cause = cause.__cause__
    return error
