"""Series that are not what they claim to be, made from an honest one."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tests.perfusion.test_gate import Examination, abdomen

Change = Callable[[Tensor, np.random.Generator], Tensor | None]
Damage = Callable[[Examination, np.random.Generator], Examination]


def generator(name: str) -> np.random.Generator:
    """A generator of its own for each name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def frames(change: Change) -> Damage:
    """Damage to a copy of the series."""

    def damage(case: Examination, random: np.random.Generator) -> Examination:
        series = case.series.clone()
        result = change(series, random)
        return replace(case, series=series if result is None else result)

    return damage


def filled(first: int, count: int, value: float) -> Damage:
    def change(series: Tensor, random: np.random.Generator) -> None:
        series[first : first + count] = value

    return frames(change)


def copied(target: int, source: int) -> Damage:
    def change(series: Tensor, random: np.random.Generator) -> None:
        series[target] = series[source]

    return frames(change)


def reordered(order: Callable[[list[int], np.random.Generator], list[int]]) -> Damage:
    return frames(lambda series, random: series[order(list(range(len(series))), random)])


def swapped(first: int, second: int) -> Damage:
    def order(indices: list[int], random: np.random.Generator) -> list[int]:
        indices[first], indices[second] = indices[second], indices[first]
        return indices

    return reordered(order)


def moved(source: int, target: int) -> Damage:
    def order(indices: list[int], random: np.random.Generator) -> list[int]:
        indices.insert(target, indices.pop(source))
        return indices

    return reordered(order)


def without(first: int, count: int) -> Damage:
    return reordered(lambda indices, random: indices[:first] + indices[first + count :])


def shuffled(first: int, last: int) -> Damage:
    def order(indices: list[int], random: np.random.Generator) -> list[int]:
        return [*indices[:first], *random.permutation(indices[first:last]).tolist(), *indices[last:]]

    return reordered(order)


def brighter(frame: int, hu: float) -> Damage:
    def change(series: Tensor, random: np.random.Generator) -> None:
        series[frame] += hu

    return frames(change)


def noise(series: Tensor, hu: float, random: np.random.Generator) -> Tensor:
    return torch.from_numpy(random.normal(0, hu, series.shape)).float()


def voxels(count: int, value: float, every_frame: bool = False) -> Damage:
    """Voxels at random, each in one frame or in all."""

    def change(series: Tensor, random: np.random.Generator) -> None:
        places = [torch.from_numpy(random.integers(0, size, count)) for size in series.shape]
        if every_frame:
            series[:, places[1], places[2], places[3]] = value
        else:
            series[places[0], places[1], places[2], places[3]] = value

    return frames(change)


def linear(slope: float, offset_hu: float = 0.0) -> Damage:
    return frames(lambda series, random: slope * series + offset_hu)


def spaced(*factors: float) -> Damage:
    def damage(case: Examination, random: np.random.Generator) -> Examination:
        size = [mm * factor for mm, factor in zip(case.spacing_mm, factors, strict=True)]
        return replace(case, spacing_mm=(size[0], size[1], size[2]))

    return damage


def timed(factor: float) -> Damage:
    return lambda case, random: replace(case, dt_s=factor * case.dt_s)


def part(axis: int, first: float, last: float) -> Damage:
    """What is left of a head when all but a part along an axis is air."""

    def change(series: Tensor, random: np.random.Generator) -> None:
        size = series.shape[axis]
        begin, end = int(first * size), int(last * size)
        air = float(series[0].min())
        series.narrow(axis, 0, begin).fill_(air)
        series.narrow(axis, end, size - end).fill_(air)

    return frames(change)


def rolled(axis: int, share: float) -> Damage:
    return frames(lambda series, random: series.roll(int(share * series.shape[axis]), dims=axis))


def slices(order: Callable[[int, np.random.Generator], list[int]]) -> Damage:
    return frames(lambda series, random: series[..., order(series.shape[3], random)])


def filled_slice(index: int, frame: slice, value: float) -> Damage:
    def change(series: Tensor, random: np.random.Generator) -> None:
        series[frame, ..., index] = value

    return frames(change)


def shifted_frame(frame: int, voxels_: int) -> Damage:
    def change(series: Tensor, random: np.random.Generator) -> None:
        series[frame:] = series[frame:].roll(voxels_, dims=1)

    return frames(change)


def still(series: Tensor, random: np.random.Generator) -> Tensor:
    return series[:1] + noise(series, 3, random)


DAMAGES: dict[str, Damage] = {
    **{f"frame {k} is {value:g}": filled(k, 1, value) for k in (0, 5, 10, 14, 20, 30, 42) for value in (0, -1000)},
    **{f"{n} frames at the end are 0": filled(43 - n, n, 0) for n in (2, 5, 10, 20)},
    **{f"{n} frames at the begin are 0": filled(0, n, 0) for n in (2, 5, 10)},
    **{f"frame {a} is frame {b}": copied(a, b) for a, b in ((3, 2), (11, 10), (12, 2), (20, 12), (30, 29), (42, 0))},
    "reversed": reordered(lambda indices, random: indices[::-1]),
    **{
        f"reversed from {a} to {b}": reordered(lambda i, r, a=a, b=b: [*i[:a], *i[a:b][::-1], *i[b:]])
        for a, b in ((0, 23), (8, 16), (10, 14), (23, 43))
    },
    **{f"shuffled {n}": shuffled(0, 43) for n in range(4)},
    **{f"shuffled from {a} to {b}": shuffled(a, b) for a, b in ((0, 6), (8, 14), (10, 20), (24, 43))},
    **{
        f"frames {a} and {b} swapped": swapped(a, b)
        for a, b in (
            (0, 1),
            (2, 3),
            (7, 8),
            (9, 10),
            (11, 12),
            (13, 14),
            (16, 17),
            (22, 23),
            (40, 41),
            (8, 10),
            (10, 12),
            (12, 15),
            (9, 14),
            (10, 20),
            (2, 12),
            (12, 40),
            (0, 42),
        )
    },
    **{f"frame {a} moved to {b}": moved(a, b) for a, b in ((18, 2), (10, 12), (10, 30), (40, 10), (0, 42), (42, 0))},
    **{f"odd frames after even ones {n}": reordered(lambda i, r: i[::2] + i[1::2]) for n in (1,)},
    **{f"{n} frames from {a} missing": without(a, n) for a in (0, 5, 10, 15, 25) for n in (1, 3, 6)},
    **{f"{n} frames at the end missing": without(43 - n, n) for n in (5, 15, 20, 25, 30)},
    "every other frame missing": reordered(lambda indices, random: indices[::2]),
    **{f"frame {k} brighter by {hu} HU": brighter(k, hu) for k in (3, 12, 30) for hu in (5, 20, 200)},
    **{f"{n} voxels of {value:g}": voxels(n, value) for n in (1, 100) for value in (3e38, 32767, -32768, float("nan"))},
    **{f"{n} voxels of {value:g} in all frames": voxels(n, value, True) for n in (1, 30) for value in (3071, -3000)},
    **{
        f"HU x {slope:g} + {offset:g}": linear(slope, offset)
        for slope, offset in (
            (1.1, 0),
            (0.9, 0),
            (0.5, 0),
            (2, 0),
            (-1, 0),
            (10, 0),
            (0, 0),
            (0.1, 0),
            (1e6, 0),
            (1, 10),
            (1, 20),
            (1, 40),
            (1, -10),
            (1, -40),
            (1, 1024),
            (1, -1024),
            (1.1, 5),
        )
    },
    "stored unsigned": frames(lambda series, random: torch.where(series < 0, series + 65536, series)),
    "rounded to 10 HU": frames(lambda series, random: (series / 10).round() * 10),
    "rounded to 40 HU": frames(lambda series, random: (series / 40).round() * 40),
    "a ceiling of 100 HU": frames(lambda series, random: series.clamp(max=100)),
    "a ceiling of 60 HU": frames(lambda series, random: series.clamp(max=60)),
    "a floor of 0 HU": frames(lambda series, random: series.clamp(min=0)),
    **{
        f"noise of {hu} HU": frames(lambda series, random, hu=hu: series + noise(series, hu, random))
        for hu in (2, 5, 15, 50, 200)
    },
    **{
        f"size x {x:g}, {y:g}, {z:g}": spaced(x, y, z)
        for x, y, z in (
            (1.2, 1.2, 1),
            (0.8, 0.8, 1),
            (2, 2, 1),
            (0.5, 0.5, 1),
            (1.5, 1, 1),
            (1, 1, 1.2),
            (1, 1, 2),
            (1, 1, 0.5),
            (2, 2, 2),
            (1.2, 1.2, 1.2),
            (1.5, 1.5, 1.5),
            (0.1, 0.1, 0.1),
            (1000, 1000, 1000),
            (0.001, 0.001, 0.001),
        )
    },
    **{f"interval x {factor:g}": timed(factor) for factor in (0.5, 0.8, 1.2, 1.5, 2, 3, 10, 0.1, 1000, 0.001)},
    **{
        f"from {a:g} to {b:g} along axis {axis}": part(axis, a, b)
        for axis in (1, 2)
        for a, b in ((0, 0.5), (0.5, 1), (0.25, 0.75), (0, 0.7))
    },
    **{
        f"{text} along axis {axis}": frames(lambda series, random, axis=axis: series.flip(axis))
        for axis, text in ((1, "mirrored"), (2, "mirrored"), (3, "mirrored"))
    },
    **{f"rolled by {share:g} along axis {axis}": rolled(axis, share) for axis in (1, 2) for share in (0.1, 0.25, 0.5)},
    "axes 1 and 2 exchanged": frames(lambda series, random: series.transpose(1, 2).contiguous()),
    "slices shuffled": slices(lambda count, random: random.permutation(count).tolist()),
    "one slice in all": slices(lambda count, random: [count // 2] * count),
    "two slices": slices(lambda count, random: [1, 2]),
    "one slice": slices(lambda count, random: [2]),
    **{f"slice {k} is {value:g}": filled_slice(k, slice(None), value) for k in (0, 2) for value in (0, -1000)},
    "slice 2 of frame 12 is 0": filled_slice(2, slice(12, 13), 0),
    "slice 1 of frames 10 to 14 is -1000": filled_slice(1, slice(10, 15), -1000),
    **{f"moved by {n} pixels from frame {k}": shifted_frame(k, n) for n in (1, 3, 10) for k in (5, 12, 30)},
    "no contrast": frames(still),
    "noise alone": frames(lambda series, random: 35 + noise(series, 5, random)),
    "water": frames(lambda series, random: noise(series, 5, random)),
    "an abdomen": lambda case, random: abdomen(case),
}

INTERVAL = "within the intervals of protocols, and boluses differ as much as it changes them"
SIZE = "heads differ by as much"
SIDE = "a head has no side without its header, and there are no maps to compare it with"
STEEPER = "the bolus only looks steeper where the times do not tell that frames are missing"
UNTOLD_DAMAGES: dict[str, str] = {
    **{f"interval x {factor:g}": INTERVAL for factor in (0.5, 0.8, 1.2, 1.5)},
    **{f"size x {size}": SIZE for size in ("1.2, 1.2, 1", "0.8, 0.8, 1", "1, 1, 1.2", "1.2, 1.2, 1.2")},
    "HU x 1 + -10": "brains differ by as much with age and voltage",
    "size x 1, 1, 0.5": "a slab does not show how high the head is",
    **{f"mirrored along axis {axis}": SIDE for axis in (1, 2, 3)},
    **{f"{count} frames from {first} missing": STEEPER for first in (10, 15) for count in (1, 3)},
}
"""Damages that nothing in the series tells, and why; docs/how-to/checks.md says so to users."""
