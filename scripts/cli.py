"""The command `ctp-stroke`: its subcommands, its errors and its exit status.

The exit status is 0; 1 if a case or a file failed or was refused; 2 if the command line is wrong. An error is one line
on stderr, or one line for each problem. What computes is imported by a subcommand when it runs, so that `--help`
answers at once.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from .commands import agreement, datalist, demo, maps, node, phantom, report, segment

PROGRAM = "ctp-stroke"
FAILED, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    help="Segment the stroke lesion on a CT-perfusion scan, and compute perfusion maps. Research software: not for "
    "diagnosis or treatment.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _module in (segment, maps, report, agreement, datalist, phantom, node, demo):
    app.command(_module.NAME, epilog=_module.EXAMPLES)(_module.run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the words of the command line; by default those of this process. Without any, the help is shown.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    state = {"debug": False}
    with warnings.catch_warnings(), _choices_shown():
        _show_own_warnings()
        try:
            status = app(args=words, prog_name=PROGRAM, standalone_mode=False, obj=state)
        except Exception as error:
            if state["debug"]:
                traceback.print_exception(error)
            status, text = _explain(error)
            print(text, file=sys.stderr)
    return int(status or 0)


def _explain(error: Exception) -> tuple[int, str]:
    """The exit status and the line of an error."""
    if isinstance(error, typer.Abort):
        return INTERRUPTED, f"{PROGRAM}: interrupted"
    if isinstance(error, typer.TyperException):
        context: Any = getattr(error, "ctx", None)
        path = context.command_path if context else PROGRAM
        text = " ".join(error.format_message().split()) if hasattr(error, "format_message") else str(error)
        return USAGE, f"{path}: error: {text.rstrip('.')}; see {path} --help"
    from .io.errors import CaseError, DatasetError, WeightsError, root_error  # with numpy and nibabel

    cause = root_error(error)
    if isinstance(cause, (CaseError, DatasetError, WeightsError, OSError, FloatingPointError, ModuleNotFoundError)):
        return FAILED, f"{PROGRAM}: error: {cause}"
    if isinstance(cause, ValueError):  # of an option
        return USAGE, f"{PROGRAM}: error: {cause}"
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return FAILED, f"{PROGRAM}: error: {type(cause).__name__}: {cause or 'no message'}; --debug shows where"


@contextmanager
def _choices_shown() -> Iterator[None]:
    """Show which series of a DICOM study is read, and why."""
    log = logging.getLogger(f"{__name__.rpartition('.')[0]}.dicom")
    handler, level = logging.StreamHandler(sys.stderr), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _show_own_warnings() -> None:
    """Show what the project warns of, a line each; what libraries tell their callers is not for users."""
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", category=UserWarning, module=r"scripts\.")
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
