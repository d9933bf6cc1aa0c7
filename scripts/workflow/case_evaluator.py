"""An evaluator whose bad cases do not stop the others."""

from __future__ import annotations

import logging
from typing import Any

from monai.engines import SupervisedEvaluator

from ..io.errors import DatasetError
from .case_dataset import FAILURE, failure_line

logger = logging.getLogger(__name__)


class CaseEvaluator(SupervisedEvaluator):
    """MONAI's ``SupervisedEvaluator`` of one case an iteration, which goes on after a case that fails.

    A failure between the loading of a case (see ``keep_going`` of :class:`scripts.workflow.CaseDataset`) and the
    handlers of ``MODEL_COMPLETED``, which write its results, is logged at once and listed in the error at the end: the
    other cases of a cohort get their results, and the exit status tells that some cases have none.

    Raises:
        DatasetError: in ``run``, after the last case: the cases that failed, a line each.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.failures: list[str] = []

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]  # as MONAI's own
        """Run all cases, then raise if some failed."""
        self.failures = []
        super().run(global_epoch)
        if self.failures:
            raise DatasetError(self.failures)

    def _iteration(self, engine: Any, batchdata: Any) -> Any:
        if FAILURE in batchdata:
            return self._failed(batchdata[FAILURE][0])
        try:
            return super()._iteration(engine, batchdata)
        except Exception as error:  # whatever it is, the cases after this one are not to blame
            logger.debug("case '%s'", batchdata["case"][0], exc_info=error)
            return self._failed(failure_line(batchdata["case"][0], error))

    def _failed(self, line: str) -> list[Any]:
        self.failures.append(line)
        logger.error(line)
        return []
