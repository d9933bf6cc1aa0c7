"""Whole cases, for evaluation and inference."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from monai.data import CacheDataset

from ..io.case import case_name
from ..io.errors import CLEAR_ERRORS, CaseError, root_error

logger = logging.getLogger(__name__)


FAILURE = "failure"


def failure_line(case: str, error: BaseException) -> str:
    """One line about what went wrong with a case, which it names."""
    cause = root_error(error)
    known = isinstance(cause, CLEAR_ERRORS)
    while not known and cause.__cause__ is not None:
        cause = cause.__cause__
    text = "; ".join(line.strip() for line in str(cause).splitlines() if line.strip())
    if known and f"case '{case}'" in text:
        return text
    return f"case '{case}': {type(cause).__name__}: {text}"


class CaseDataset(CacheDataset):
    """MONAI's ``CacheDataset``, which raises the clear error of a bad case in the place of MONAI's wrapper of it.

    Args:
        data: the cases; one with the key ``failure`` fails with that text.
        transform: the transforms of a case.
        cache_rate: part of the cases kept in memory; by default none, since evaluation sees every case once.
        num_workers: threads that fill the cache.
        progress: whether to show the filling of the cache.
        keep_going: return a case that fails as an item with its name, ``case``, and one line, ``failure``, instead of
            raising; see :class:`scripts.workflow.CaseEvaluator`. Filling the cache raises in any case.

    Raises:
        CaseError: a case is not what it should be.
        FileNotFoundError: a file of a case is missing.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable,
        cache_rate: float = 0.0,
        num_workers: int | None = None,
        progress: bool = True,
        keep_going: bool = False,
    ):
        self.keep_going = keep_going
        try:
            super().__init__(
                data, transform, cache_rate=cache_rate, num_workers=num_workers, progress=progress, copy_cache=False
            )
        except RuntimeError as error:
            raise root_error(error) from None

    def _transform(self, index: int) -> Any:
        try:
            if (failure := self.data[index].get(FAILURE)) is not None:
                raise CaseError(failure)
            return super()._transform(index)
        except Exception as error:
            if not self.keep_going:
                raise root_error(error) from None
            case = case_name(self.data[index])
            logger.debug("case '%s'", case, exc_info=error)
            return {"case": case, FAILURE: failure_line(case, error)}
