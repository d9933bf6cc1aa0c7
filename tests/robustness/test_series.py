"""Damaged series, through the command: an error, a warning that names the cause, or a near result."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .campaign import SILENT, UNTOLD, Base, Verdict, nifti, some
from .series import DAMAGES, UNTOLD_DAMAGES, generator


def test_what_cannot_be_told_is_in_the_campaign() -> None:
    assert set(UNTOLD_DAMAGES) <= set(DAMAGES)


@pytest.mark.parametrize("name", some(list(DAMAGES)))
def test_a_damaged_series(name: str, base: Base, count: Callable[[str, str, Verdict], None]) -> None:
    damaged = nifti(DAMAGES[name](base.case, generator(name)))
    verdict = base.judge(damaged)
    if verdict.outcome == SILENT and name in UNTOLD_DAMAGES:
        verdict = verdict._replace(outcome=UNTOLD)
    count("series", name, verdict)
