"""Whole cases, for evaluation and inference."""

from __future__ import annotations

from typing import Any

from monai.data import Dataset

from ..io.errors import CaseError, DatasetError


def root_error(error: BaseException) -> BaseException:
    """Return what a chain of exceptions began with, if that speaks of a case; else the exception itself.

    MONAI wraps what a transform raises into ``RuntimeError: applying transform <...>``, which tells a user nothing.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (CaseError, DatasetError, FileNotFoundError)):
            return cause
        cause = cause.__cause__
    return error


class CaseDataset(Dataset):
    """MONAI's ``Dataset``, which raises the clear error of a bad case in the place of MONAI's wrapper of it."""

    def _transform(self, index: int) -> Any:
        try:
            return super()._transform(index)
        except RuntimeError as error:
            cause = root_error(error)
            if cause is error:
                raise
            raise cause from None
