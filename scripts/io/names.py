"""Names that can be a folder's name everywhere, and cells that a spreadsheet does not take for formulas."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

MAX_NAME_BYTES = 200
"""File systems take 255 bytes (ext4, APFS, NTFS: 255 units); the rest is for endings such as `_probability.nii.gz`."""

RESERVED_NAMES = ("cases.csv", "metrics.csv", "summary.json", "sample.png", "mlruns.db")
"""Files that a run writes next to the folders of the cases."""

_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)  # Windows: "Naming Files"
_SEPARATORS = "/\\"
_FORBIDDEN_ON_WINDOWS = '<>:"|?*'
_INVISIBLE = {"Cc": "a control", "Cf": "a format", "Cs": "an undecodable", "Zl": "a line", "Zp": "a paragraph"}
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def name_problem(name: str) -> str | None:
    """Why a name cannot be a folder's name on every system and stand in a table; None if it can.

    Example:
        >>> name_problem("case_7"), name_problem("a/b")
        (None, "a slash")
    """
    if name in ("", ".", ".."):
        return "none"
    if any(character in name for character in _SEPARATORS):
        return "a slash"
    for character in name:
        category = unicodedata.category(character)
        if category in _INVISIBLE:
            return f"{_INVISIBLE[category]} character U+{ord(character):04X}"
        if character in _FORBIDDEN_ON_WINDOWS:
            return f"the character {character}, which Windows forbids"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"{len(name.encode())} bytes, more than {MAX_NAME_BYTES}"
    if name[0] in ". " or name[-1] in ". ":
        return "a dot or a space at its beginning or end"
    if _DEVICES.fullmatch(name):
        return "a name that Windows reserves"
    if name.casefold() in RESERVED_NAMES:
        return "the name of a file that a run writes"
    return None


def same_name(name: str) -> str:
    """A key that is equal for names that some file system takes for one: letter case and composed accents aside."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def repeated_names(names: Iterable[str]) -> list[str]:
    """A line for each name that several cases have, or that one file system takes for the same folder (`A` and `a`)."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(same_name(name), []).append(name)
    return [f"the name '{group[0]}' is used for {len(group)} cases" for group in groups.values() if len(group) > 1]


def csv_cell(value: Any) -> Any:
    """A value as a cell of a CSV file: a text that a spreadsheet would take for a formula begins with an apostrophe.

    The characters are those of OWASP's "CSV Injection". Numbers stay numbers.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
