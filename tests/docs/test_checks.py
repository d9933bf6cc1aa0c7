"""docs/how-to/checks.md shows the checks as they are."""

from pathlib import Path

import pytest

from scripts.io.frame_times import TIME_CHECKS
from scripts.io.gate import HEADER_CHECKS, Check, as_markdown
from scripts.perfusion.given_maps import GIVEN_CHECKS
from scripts.perfusion.quality import MAP_CHECKS, SERIES_CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "checks.md"
TABLES = {
    "headers": HEADER_CHECKS,
    "frame times": TIME_CHECKS,
    "series": SERIES_CHECKS,
    "given maps": GIVEN_CHECKS,
    "computed maps": MAP_CHECKS,
}


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_the_table(name: str) -> None:
    table = as_markdown(TABLES[name])
    assert table in PAGE.read_text(encoding="utf-8"), f"put this into {PAGE.name}:\n{table}"


def test_every_check_has_one_name_bounds_and_a_source() -> None:
    checks = [check for table in TABLES.values() for check in table]
    assert len({check.name for check in checks}) == len(checks)
    anything = Check("", "", "", "")
    for check in checks:
        assert check.source
        assert (check.warn, check.refuse) != (anything.warn, anything.refuse)
        assert check.refuse[0] <= check.warn[0] or check.warn == anything.warn
        assert check.warn[1] <= check.refuse[1] or check.warn == anything.warn
