"""The images of a series as slices times frames, with a check that no frame of a slice is missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..io.case import MIN_FRAMES
from .errors import DicomError
from .sample import Sample

_LOST_FRAME = 0.75  # of an interval by which times of a slice fall behind; a table that moves shifts them by up to 0.5


def arrange(
    samples: Sequence[Sample], slice_of: NDArray[np.intp], times_s: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Sort the images of each slice by time.

    A table that goes back and forth may see some slices once more than others: the last image of these is left out.

    Args:
        samples: the images.
        slice_of: (samples,) index of the slice of each.
        times_s: (samples,) when each was taken.

    Returns:
        (slices, frames) the index of each image, and its time in s after the first of all.

    Raises:
        DicomError: a slice lacks images, as after a transfer that was cut off; fewer than MIN_FRAMES frames are left.
    """
    rows = [
        sorted(np.flatnonzero(slice_of == index).tolist(), key=times_s.__getitem__)
        for index in range(slice_of.max() + 1)
    ]
    counts = [len(row) for row in rows]
    most, least = max(counts), min(counts)
    # The middle slice of those with all images: the table passes it at equal intervals.
    complete = [index for index, count in enumerate(counts) if count == most]
    reference = complete[len(complete) // 2]
    for index, row in enumerate(rows):
        if most - len(row) > 1:
            where = f"slice {index + 1} of {len(rows)}, {samples[row[0]].place}"
            raise DicomError.at(where, f"{most} images, as slice {reference + 1} has", f"{len(row)}; some are missing")
        _check_no_gap(samples, index, times_s[row], times_s[rows[reference]], row)
    if least < MIN_FRAMES:
        place = samples[rows[counts.index(least)][0]].place
        raise DicomError.at(place, f"at least {MIN_FRAMES} images of each slice", least)
    indices = np.array([row[:least] for row in rows], dtype=np.intp)
    taken_s = times_s[indices]
    return indices, taken_s - taken_s.min()


def _check_no_gap(
    samples: Sequence[Sample], index: int, own_s: NDArray[np.float64], reference_s: NDArray[np.float64], row: list
) -> None:
    """Raise DicomError where an image is missing between others: from there on the slice is a frame behind.

    Slices that a table passes on its way forth and back are early and late in turn, so that two frames are averaged.
    """
    if len(own_s) < 3:
        return
    local_s = np.gradient(reference_s)[: len(own_s)]
    behind = (own_s - reference_s[: len(own_s)]) / local_s
    smooth = (behind[1:] + behind[:-1]) / 2
    if np.ptp(smooth) > _LOST_FRAME:
        frame = int(np.argmax(np.abs(np.diff(smooth)))) + 1
        raise DicomError.at(
            samples[row[frame]].place,
            f"images of slice {index + 1} as often as of the others",
            "one or more missing near this one",
        )
