"""The rows that there are: one overlay in `configs/experiments` each, named by table and row."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        table: for example `table5` or `song2019`.
        name: of the row within its table, for example `dwi_olh`.
        overlay: its config.
    """

    table: str
    name: str
    overlay: Path

    @property
    def key(self) -> str:
        """Table and row, as the overlay is named."""
        return self.overlay.stem


def find_rows(folder: Path) -> list[Row]:
    """All rows of a folder of overlays `<table>_<row>.json`, by name.

    Raises:
        FileNotFoundError: the folder holds none.
        ValueError: the name of a file has no table or no row.
    """
    rows = []
    for overlay in sorted(folder.glob("*.json")):
        parts = re.fullmatch(r"([^_]+)_(.+)", overlay.stem)
        if parts is None:
            raise ValueError(f"experiments '{overlay}': expected a name <table>_<row>.json")
        rows.append(Row(parts[1], parts[2], overlay))
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
