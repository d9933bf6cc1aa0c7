"""What `python -m monai.bundle run` does to the words of its command line, and to an error."""

from __future__ import annotations

import sys
from types import TracebackType

from .case_dataset import CLEAR_ERRORS, root_error


def is_monai_command() -> bool:
    """Whether this process is ``python -m monai.bundle``."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name == "monai.bundle.__main__"


def typed_values() -> dict[str, str]:
    """The words that follow the keys of MONAI's command line, as they were typed; in another program, none."""
    if not is_monai_command():
        return {}
    words, typed = sys.argv[1:], {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            typed[key.replace("-", "_")] = value if equals else following
    return typed


def end_with_the_cause() -> None:
    """Let the output of a command that fails end with one line that tells why.

    MONAI wraps an error at every level of a config, so that Python's traceback ends with the expression that was
    evaluated. A clear error is printed alone; after any other, the traceback is followed by its first cause.
    """
    if is_monai_command():
        sys.excepthook = _print_error


def _print_error(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    cause = root_error(error)
    if isinstance(cause, CLEAR_ERRORS):
        print(f"error: {cause}", file=sys.stderr)
        return
    sys.__excepthook__(kind, error, traceback)
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    if first is not error:
        print(f"error: {type(first).__name__}: {first}", file=sys.stderr)
