"""The rows that there are: one overlay in `configs/experiments` each, named by table and row, over the table's base."""

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
    files = {path.stem: path for path in sorted(folder.absolute().glob("*.json"))}
    names = [(table, name) for table, _, name in (stem.partition("_") for stem in files) if table and name]
    keys = [(table, f"{table}_{name}") for table, name in names]
    for stem, path in files.items():
        if not any(stem in key for key in keys):
            raise ValueError(f"experiments '{path}': expected a name <table>_<row>.json, or rows {stem}_<row>.json")
    if not files:
        raise FileNotFoundError(f"experiments '{folder}': expected overlays <table>_<row>.json, got none")
    overlays = [tuple(files[stem] for stem in key if stem in files) for key in keys]
    return [Row(*name, paths) for name, paths in zip(names, overlays, strict=True)]


def select_rows(rows: Sequence[Row], tables: Sequence[str] = (), names: Sequence[str] = ()) -> list[Row]:
    """The rows of some tables, and among them those of some names.

    Args:
        rows: to choose from.
        tables: names of tables, where a number stands for one of Wang 2020's; none means all.
        names: of rows, with or without their table; none means all.

    Raises:
        ValueError: a table or a row is not there.
    """
    known = {row.table for row in rows}
    wanted = {f"table{table}" if table.isdecimal() else table for table in tables} or known
    if unknown := sorted(wanted - known):
        raise ValueError(f"table: expected some of {', '.join(sorted(known))}, got {', '.join(unknown)}")
    chosen = [row for row in rows if row.table in wanted]
    if unknown := sorted(set(names) - {name for row in chosen for name in (row.key, row.name)}):
        available = ", ".join(row.key for row in chosen)
        raise ValueError(f"row: expected some of {available}, got {', '.join(unknown)}")
    return [row for row in chosen if not names or row.key in names or row.name in names]
