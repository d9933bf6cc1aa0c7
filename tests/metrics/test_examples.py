import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module",
    ["scripts.io.errors", "scripts.metrics.agreement", "scripts.metrics.segmentation", "scripts.metrics.thresholds"],
)
def test_docstring_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
