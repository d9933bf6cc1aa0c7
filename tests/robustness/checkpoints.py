"""Checkpoints that no training wrote."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

State = dict[str, Tensor]


def saved(state: object) -> bytes:
    """What ``torch.save`` writes."""
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def changed(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """A state whose floating-point tensors are changed."""
    return {name: change(value.clone()) if value.is_floating_point() else value for name, value in state.items()}


def one_nan(state: State) -> State:
    """The state with a single NaN, in its first convolution."""
    state = {name: value.clone() for name, value in state.items()}
    next(value for value in state.values() if value.dim() == 4)[0, 0, 0, 0] = torch.nan
    return state


def flipped(content: bytes, place: int, bit: int = 0) -> bytes:
    """The content with one bit another."""
    damaged = bytearray(content)
    damaged[place % len(damaged)] ^= 1 << bit
    return bytes(damaged)


def packed_records(content: bytes, extra: int = 0) -> bytes:
    """The same archive with its records deflated, and one of ``extra`` zeros, which unpack to a thousand times."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for record in old.infolist():
            new.writestr(record.filename, old.read(record))
        new.writestr("archive/data/bomb", bytes(extra))
    return stream.getvalue()


class _Touch:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return open, (str(self.path), "w")  # type: ignore[return-value]


def hostile(state: State, mark: Path) -> dict[str, bytes]:
    """Files that are no weights, by what is wrong with them; ``mark`` is what code in one of them would make."""
    content = saved(state)
    return {
        "empty": b"",
        "text": b"<html>404</html>",
        "a byte": b"e",
        "half": content[: len(content) // 2],
        "no end": content[:-30],
        "damaged record": flipped(content, content.index(b"data.pkl") + 3000),
        "packed": packed_records(content, 1 << 20),
        "code": saved({"model": _Touch(mark)}),
        "legacy code": pickle.dumps(_Touch(mark)),
        "a list": saved([1, 2]),
        "NaN": saved(one_nan(state)),
        "infinite": saved(changed(state, lambda value: value / 0)),
        "zeros": saved(changed(state, torch.zeros_like)),
        "constant": saved(changed(state, lambda value: torch.full_like(value, 0.01))),
        "of another width": saved(changed(state, lambda value: torch.cat([value, value]) if value.dim() else value)),
        "without a key": saved(dict(list(state.items())[1:])),
        "huge by strides": saved(changed(state, lambda value: torch.zeros(1).expand(1 << 20, 1 << 20))),
    }
