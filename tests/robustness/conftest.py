"""The fixtures of the campaign, and its table at the end of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from .campaign import FAILURES, Base, Verdict, table


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return Base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[str, str, Verdict], None]:
    """A function that counts the outcome of an input, and fails the test where that is a failure."""

    def counted(kind: str, name: str, verdict: Verdict) -> None:
        record_property("campaign", [kind, name, *verdict])
        assert verdict.outcome not in FAILURES, f"{kind}, {name}: {verdict.outcome}: {verdict.said}"

    return counted


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print kinds by outcomes; pytest's cache keeps what each input led to."""
    reports = [
        report for key in ("passed", "failed", "xfailed", "xpassed") for report in terminalreporter.stats.get(key, [])
    ]
    found = [value for report in reports for key, value in report.user_properties if key == "campaign"]
    if not found:
        return
    terminalreporter.section("campaign")
    terminalreporter.write_line(table(Counter((kind, outcome) for kind, _, outcome, _ in found)))
    cache = getattr(config, "cache", None)  # None where its plugin is off
    if cache is not None:
        cache.set("robustness/outcomes", found)
