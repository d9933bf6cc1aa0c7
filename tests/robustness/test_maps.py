"""Maps that are given with a series and are not its own, or not in the units that they should be in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.perfusion.test_gate import KEYS, outcome

from .campaign import ERROR, NEAR, SILENT, TRACEBACK, UNTOLD, WARNING, Base, Verdict, near_ml, some
from .series import generator

Maps = dict[str, Tensor]


def each(change: Callable[[Tensor], Tensor], keys: tuple[str, ...] = KEYS) -> Callable[[Maps], Maps]:
    return lambda maps: {key: change(value.clone()) if key in keys else value for key, value in maps.items()}


def noise(like: Tensor, name: str) -> Tensor:
    return torch.from_numpy(generator(name).random(like.shape)).float() * like.max()


def exchanged(first: str, second: str) -> Callable[[Maps], Maps]:
    return lambda maps: {**maps, first: maps[second], second: maps[first]}


def with_voxel(value: float) -> Callable[[Tensor], Tensor]:
    def change(volume: Tensor) -> Tensor:
        volume[32, 32, 2] = value
        return volume

    return change


SETS = [*((key,) for key in KEYS), KEYS]
DAMAGES: dict[str, Callable[[Maps], Maps]] = {
    f"{what}, {' '.join(keys)}": each(change, keys)
    for keys in SETS
    for what, change in {
        "noise": lambda volume: noise(volume, "noise"),
        "0": torch.zeros_like,
        "3": lambda volume: torch.full_like(volume, 3),
        "x 1000": lambda volume: volume * 1000,
        "x 0.001": lambda volume: volume * 0.001,
        "x 60": lambda volume: volume * 60,
        "x 2": lambda volume: volume * 2,
        "x -1": lambda volume: -volume,
        "mirrored": lambda volume: volume.flip(0),
        "upside down": lambda volume: volume.flip(1),
        "slices in reverse": lambda volume: volume.flip(2),
        "rolled by half": lambda volume: volume.roll(32, dims=0),
        "rolled by 3": lambda volume: volume.roll(3, dims=1),
        "turned around": lambda volume: volume.max() - volume,
        "8 bits": lambda volume: (volume * 255 / volume.max()).round(),
        "a voxel of NaN": with_voxel(float("nan")),
        "a voxel of 1e30": with_voxel(1e30),
        "-1024 outside": lambda volume: torch.where(volume > 0, volume, -1024.0),
        "exponents": lambda volume: volume.exp(),
    }.items()
}
DAMAGES |= {f"{a} for {b}": exchanged(a, b) for i, a in enumerate(KEYS) for b in KEYS[i + 1 :]}

SCALE = "software differs in scale by as much"
UNTOLD_DAMAGES: dict[str, str] = {"x 2, tmax": SCALE, "8 bits, cbf": SCALE}
"""Damages that nothing tells, and why."""


def late_ml(maps: Maps, voxel_ml: float) -> float:
    return float((maps["tmax"] > 6).sum()) * voxel_ml


@pytest.mark.parametrize("name", some(list(DAMAGES)))
def test_damaged_maps(name: str, base: Base, count: Callable[[str, str, Verdict], None]) -> None:
    honest = base.case.maps
    maps = DAMAGES[name](honest)
    voxel_ml = float(np.prod(base.case.spacing_mm)) / 1000
    before = outcome(base.case)
    assert before == ("", "")
    try:
        refused, warned = outcome(replace(base.case, maps=maps))
    except Exception as error:
        verdict = Verdict(TRACEBACK, repr(error))
    else:
        same = near_ml(late_ml(honest, voxel_ml), late_ml(maps, voxel_ml)) and all(
            torch.allclose(maps[key], honest[key], rtol=0.2, atol=0.2 * float(honest[key].median())) for key in KEYS
        )
        silent = UNTOLD if name in UNTOLD_DAMAGES else SILENT
        verdict = Verdict(ERROR if refused else WARNING if warned else NEAR if same else silent, refused or warned)
    count("given maps", name, verdict)
