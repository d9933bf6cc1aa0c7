"""Which maps the picture of a case shows: those that the network had."""

from pathlib import Path
from typing import Any

import pytest

from scripts.commands.segmentation import Segmentation


@pytest.mark.parametrize(
    ("written", "taken", "expected"),
    [
        (False, False, {}),
        (True, False, {"cbf": "out/a_cbf.nii.gz", "tmax": "out/a_tmax.nii.gz"}),
        (False, True, {"cbf": "given_cbf.nii"}),
        (True, True, {"cbf": "given_cbf.nii", "tmax": "out/a_tmax.nii.gz"}),
    ],
)
def test_the_picture_has_the_maps_that_were_computed_or_taken(
    written: bool, taken: bool, expected: dict[str, str]
) -> None:
    segmentation = object.__new__(Segmentation)  # without the network
    options: dict[str, Any] = {"use_given_maps": True} if taken else {}
    segmentation.maps, segmentation.options = written, options
    drawn = segmentation._maps_to_draw({"case": "a", "image": "a.nii", "cbf": "given_cbf.nii"}, Path("out"))
    assert drawn == {key: Path(path) for key, path in expected.items()}
