"""Which series of a study is the CT perfusion: the one whose slices were imaged many times."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..io.case import MIN_FRAMES
from .errors import DicomError
from .sample import CT_IMAGE, MULTI_FRAME, Entry, Sample


@dataclass(frozen=True)
class Candidate:
    """A series that can be a CT perfusion, or series of its time points, one each."""

    entries: tuple[Entry, ...]

    @property
    def samples(self) -> list[Sample]:
        """Its images, in the order of the files."""
        return [sample for entry in self.entries for sample in entry.samples]

    @property
    def series(self) -> list[str]:
        """The UIDs of its series, in the order of their numbers."""
        return list(dict.fromkeys(entry.series_uid for entry in sorted(self.entries, key=_number)))

    @property
    def place(self) -> str:
        """Its number or numbers, for messages."""
        numbers = sorted({entry.series_number for entry in self.entries if entry.series_number is not None})
        if not numbers:
            return "series without a number"
        return f"series {numbers[0]}" if len(numbers) == 1 else f"series {numbers[0]} to {numbers[-1]}"


def find_perfusion(entries: Sequence[Entry], series_uid: str | None, place: str) -> tuple[Candidate, str]:
    """Find the CT perfusion among the objects of a study.

    A candidate has MIN_FRAMES or more images at a position: in one series, or in several with the same positions and
    settings, one for each time. Of several candidates, original images come before derived ones; then more times, a
    longer stack, thicker slices (less noise), and the lower number decide.

    Args:
        entries: the objects.
        series_uid: the series to take, or one of those of its time points.
        place: the path of the study, for messages.

    Returns:
        The candidate, and in one line which it is and why it was chosen.

    Raises:
        DicomError: there is none, there are several of different studies, or objects of it are damaged or doubled.
    """
    entries = _without_copies(entries)
    groups = _grouped(entries)
    found = [group for group in groups if _most_images(group) >= MIN_FRAMES]
    others = f"{len({entry.series_uid for entry in entries})} series ({_kinds(entries)})"
    if series_uid is not None:
        named = [group for group in groups if series_uid in group.series]
        if not named:
            uids = sorted({entry.series_uid for entry in entries})
            known = "a series that holds no CT images" if series_uid in uids else f"{others} without it"
            raise DicomError.at(f"'{place}'", f"the CT series {series_uid}", known)
        best, why = named[0], "named by --series"
    elif not found:
        _raise_first_problem([entry for group in groups if len(group.entries) >= MIN_FRAMES for entry in group.entries])
        _raise_first_problem([entry for entry in entries if entry.sop_class_uid in MULTI_FRAME])
        raise DicomError.at(
            f"'{place}'", f"a CT perfusion, {MIN_FRAMES} or more images of each slice", f"{others} without one"
        )
    else:
        studies = sorted({group.entries[0].study_uid for group in found})
        if len(studies) > 1:
            choices = ", ".join(group.series[0] for group in found)
            expected = "CT perfusion of one study, or --series"
            raise DicomError.at(f"'{place}'", expected, f"{len(studies)} studies with the series {choices}")
        best, *rest = sorted(found, key=_preference)
        why = "the only one with many images of each slice"
        if rest:
            why = f"preferred to {', '.join(group.place for group in rest)}: {_reason(best, rest[0])}"
    _raise_first_problem(best.entries)
    return best, f"{best.place}, of {others} in all: {why}"


def _without_copies(entries: Iterable[Entry]) -> list[Entry]:
    """The objects, each once: a study may hold a file in two places.

    Raises:
        DicomError: two different images have one identifier.
    """
    by_uid: dict[str, Entry] = {}
    for entry in entries:
        first = by_uid.setdefault(entry.uid, entry)
        same = (first.series_uid, len(first.samples)) == (entry.series_uid, len(entry.samples))
        if not same or any(_content(a) != _content(b) for a, b in zip(first.samples, entry.samples, strict=True)):
            where = f"'{entry.file.name}' (SOP Instance UID {entry.uid})"
            raise DicomError.at(where, "an SOP Instance UID of its own", f"that of '{first.file.name}'")
    return list(by_uid.values())


def _content(sample: Sample) -> tuple[object, ...]:
    return sample.position_mm, sorted(sample.clock.items()), sample.order, sample.slope, sample.intercept


def _grouped(entries: Sequence[Entry]) -> list[Candidate]:
    """The CT series, those of the time points of one examination together."""
    series: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.samples or entry.problem:
            series[entry.series_uid].append(entry)
    alone, parts = [], defaultdict(list)
    for members in series.values():
        candidate = Candidate(tuple(members))
        samples = candidate.samples
        if not samples or _most_images(candidate) >= MIN_FRAMES:
            alone.append(candidate)
        else:
            first = samples[0]
            size = (first.pixels.rows, first.pixels.columns, first.spacing_mm, first.orientation)
            parts[(*first.setting, *size, members[0].derived)].append(candidate)
    return [*alone, *(group for similar in parts.values() for group in _of_one_examination(similar))]


def _of_one_examination(similar: Sequence[Candidate]) -> list[Candidate]:
    """Put series together whose slices lie at the same places, or at some of them as where a transfer was cut off."""
    places = [frozenset(_position(sample) for sample in candidate.samples) for candidate in similar]
    usual, count = Counter(places).most_common(1)[0]
    inside = [candidate for candidate, own in zip(similar, places, strict=True) if own <= usual]
    if count < 2:
        return list(similar)
    outside = [candidate for candidate in similar if candidate not in inside]
    return [Candidate(tuple(entry for candidate in inside for entry in candidate.entries)), *outside]


def _position(sample: Sample) -> tuple[float, ...]:
    return tuple(round(value, 1) + 0.0 for value in sample.position_mm)


def _most_images(candidate: Candidate) -> int:
    """How many images there are of the slice that has most of them."""
    return max(Counter(_position(sample) for sample in candidate.samples).values(), default=0)


def _preference(candidate: Candidate) -> tuple[float, ...]:
    return (*_merits(candidate).values(), _number(candidate.entries[0]))


def _merits(candidate: Candidate) -> dict[str, float]:
    """What speaks for a candidate, as numbers of which the lower are better."""
    samples = candidate.samples
    positions = np.array([sample.position_mm for sample in samples])
    thickness_mm = samples[0].thickness_mm
    return {
        "original images": float(candidate.entries[0].derived),
        "more times": -float(_most_images(candidate)),
        "a longer stack": -round(float(np.linalg.norm(np.ptp(positions, axis=0))), 0),
        "thicker slices": -thickness_mm if thickness_mm == thickness_mm else 0.0,
    }


def _reason(best: Candidate, second: Candidate) -> str:
    mine, other = _merits(best), _merits(second)
    return next((name for name, value in mine.items() if value != other[name]), "the lower number")


def _number(entry: Entry) -> float:
    return float("inf") if entry.series_number is None else entry.series_number


def _raise_first_problem(entries: Iterable[Entry]) -> None:
    problem = next((entry.problem for entry in entries if entry.problem), None)
    if problem is not None:
        raise DicomError(problem)


def _kinds(entries: Sequence[Entry]) -> str:
    """What a study holds, by kinds of series: no names, no descriptions."""
    classes = {entry.series_uid: entry.sop_class_uid for entry in entries}
    kinds = Counter("CT" if value in (CT_IMAGE, *MULTI_FRAME) else "other" for value in classes.values())
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
