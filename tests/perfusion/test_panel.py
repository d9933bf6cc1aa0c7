"""The picture: which way up it is, and its layout."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from scripts.perfusion import ArterialInput, PerfusionVolumes
from scripts.perfusion.panel import _view, write_panel


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "RPS", "ARS", "PLS", "ALI", "PRI"])
def test_slices_have_the_front_on_top_and_the_right_on_the_left(codes: str) -> None:
    """The same head stored in another orientation gives the same picture; nibabel stores it so."""
    head = np.zeros((6, 9, 2))
    head[4, 8, 0] = 1  # in RAS: far right, far front
    image = nib.Nifti1Image(head, np.eye(4))
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    stored = image.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(stored.affine)) == codes
    view = _view(torch.from_numpy(stored.get_fdata().copy()), stored.affine)
    assert view.shape == (9, 6, 2)
    assert [int(index) for index in np.argwhere(view)[0][:2]] == [0, 1]


def volumes(n_slices: int, scale: float) -> PerfusionVolumes:
    shape = (12, 14, n_slices)
    brain = torch.ones(shape, dtype=torch.bool)
    nowhere = torch.zeros_like(brain)
    curve = torch.tensor([0.0, 0.0, 50.0, 20.0, 5.0])
    arterial = ArterialInput(curve * scale, nowhere, torch.zeros(5), nowhere, scale)
    map_ = torch.full(shape, 3.0)
    return PerfusionVolumes(map_, map_, map_, map_, map_, map_, brain, brain, arterial, 2, 1.5, torch.zeros(5), 0.1)


@pytest.mark.parametrize(("n_slices", "columns", "scale"), [(1, 1, 1.0), (9, 6, 2.0)])
def test_at_most_six_slices_are_shown(n_slices: int, columns: int, scale: float, tmp_path: Path) -> None:
    maps = volumes(n_slices, scale)
    nothing = torch.zeros_like(maps.brain)
    write_panel(tmp_path / "panel.png", maps, nothing, nothing, np.diag([2.0, 2.0, 5.0, 1.0]), "a title")
    height, width = imread(tmp_path / "panel.png").shape[:2]
    assert (height, width) == (round((2.1 * 5 + 2.4) * 110), round((2.1 * columns + 2.2) * 110))
    assert [path.name for path in tmp_path.iterdir()] == ["panel.png"]
