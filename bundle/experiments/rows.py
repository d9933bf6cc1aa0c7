"""The rows that there are: one overlay in `configs/experiments` each, named by table and row, over the table's base."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        table: for example `table5` or `song2019`.
        name: of the row within its table, for example `dwi_olh`.
        overlays: the configs that make it: `<table>.json`, if there is one, and `<table>_<row>.json`.
    """

    table: str
    name: str
    overlays: tuple[Path, ...]

    @property
    def key(self) -> str:
        """Table and row."""
        return f"{self.table}_{self.name}"


def find_rows(folder: Path) -> list[Row]:
    """All rows of a folder of overlays `<table>_<row>.json`, by name.

    Raises:
        FileNotFoundError: the folder holds none.
        ValueError: a file is neither an overlay of a row nor the base of a table that has rows.
    """
    files = sorted(folder.absolute().glob("*.json"))
    rows = []
    for overlay in files:
        if parts := re.fullmatch(r"([^_]+)_(.+)", overlay.stem):
            base = folder.absolute() / f"{parts[1]}.json"
            rows.append(Row(parts[1], parts[2], (base, overlay) if base in files else (overlay,)))
    used = {overlay for row in rows for overlay in row.overlays}
    for file in files:
        if file not in used:
            expected = f"a name <table>_<row>.json, or rows {file.stem}_<row>.json"
            raise ValueError(f"experiments '{file}': expected {expected}")
    if not rows:
        raise FileNotFoundError(f"experiments '{folder}': expected overlays <table>_<row>.json, got none")
    return rows


def select_rows(rows: Sequence[Row], tables: Sequence[str] = (), names: Sequence[str] = ()) -> list[Row]:
    """The rows of some tables, and among them those of some names.

    Args:
        rows: to choose from.
        tables: names of tables, where a number stands for one of Wang 2020's; none means all.
        names: of rows, with or without their table; none means all.

    Raises:
        ValueError: a table or a row is not there.
    """
    wanted = {f"table{table}" if table.isdecimal() else table for table in tables}
    known = {row.table for row in rows}
    if wanted - known:
        raise ValueError(f"table: expected some of {', '.join(sorted(known))}, got {', '.join(sorted(wanted - known))}")
    chosen = [row for row in rows if not wanted or row.table in wanted]
    unknown = set(names) - {name for row in chosen for name in (row.key, row.name)}
    if unknown:
        available = ", ".join(row.key for row in chosen)
        raise ValueError(f"row: expected some of {available}, got {', '.join(sorted(unknown))}")
    return [row for row in chosen if not names or row.key in names or row.name in names]
