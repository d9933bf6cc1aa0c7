"""The picture: which way up it is, which slices it shows, what is on it, and what it says."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from scripts.io.orientation import radiological
from scripts.perfusion import ArterialInput, MapErrors, PerfusionVolumes, read_maps
from scripts.perfusion.frame_motion import FrameMotion
from scripts.perfusion.wording import volume_lines
from scripts.report import perfusion_panel as panel_module
from scripts.report.perfusion_panel import write_panel
from scripts.report.radiological_view import choose_slices, view_of
from scripts.report.scales import COLORS


def stored_as(volume: np.ndarray, codes: str) -> nib.Nifti1Image:
    """A volume in RAS, 2 x 3 x 5 mm, stored in another orientation by nibabel."""
    image = nib.Nifti1Image(volume, np.diag([2.0, 3.0, 5.0, 1.0]))
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    stored = image.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(stored.affine)) == codes
    return stored


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "RPS", "ARS", "PLS", "ALI", "PRI", "SRA", "SPL", "AIR"])
def test_slices_have_the_front_on_top_and_the_right_on_the_left(codes: str) -> None:
    """The same head stored in any orientation, slices last or not, gives the same picture."""
    head = np.zeros((6, 9, 2))
    head[4, 8, 1] = 1  # far right, far front, upper slice
    stored = stored_as(head, codes)
    view = radiological(stored.get_fdata(), stored.affine)
    assert view.shape == (9, 6, 2)
    assert np.argwhere(view).tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SRA", "AIR"])
def test_the_box_is_that_of_the_brain_and_labels_are_the_files_own_indices(codes: str) -> None:
    head = np.zeros((40, 50, 8))
    head[10:30, 5:45, 1:] = 1  # 40 mm across, 120 mm along
    lesion = np.zeros_like(head)
    lesion[25:30, 20:25, 5:7] = 1
    stored = [stored_as(volume, codes) for volume in (head, lesion)]
    brain, delayed = (torch.from_numpy(image.get_fdata() > 0) for image in stored)
    view = view_of(brain, delayed & False, delayed, stored[0].affine, 2)
    assert (view.rows.stop - view.rows.start, view.columns.stop - view.columns.start) == (40 + 2, 20 + 4)  # 4 mm around
    assert view.pixel_mm == (3.0, 2.0)
    assert view.slices == (5, 6)
    axis = next(index for index, code in enumerate(codes) if code in "SI")
    shown = np.flatnonzero(np.moveaxis(stored[1].get_fdata(), axis, 0).any(axis=(1, 2)))
    assert sorted(view.labels) == shown.tolist()
    assert view.slices_of(brain) == np.flatnonzero(np.moveaxis(brain.numpy(), axis, 0).any(axis=(1, 2))).tolist()
    strip = view.strip(delayed)
    assert strip.shape == (42, 2 * 24)
    assert strip.sum() == lesion.sum()
    assert np.argwhere(strip)[:, 1].min() == 2  # the patient's right of the first slice, 4 mm from the edge


def test_slices_with_the_largest_areas_are_chosen_in_order() -> None:
    delayed = np.array([0, 0, 5, 90, 80, 70, 60, 50, 40, 30, 0, 0])
    core = np.array([0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    brain = np.ones(12, bool)
    assert choose_slices(core, delayed, brain, 6) == (2, 3, 4, 5, 6, 7)
    assert choose_slices(core, delayed, brain, 3) == (2, 3, 4)
    assert choose_slices(core, delayed, brain, 20) == tuple(range(12))
    assert 4 in choose_slices(np.zeros(12), np.eye(12)[4], brain, 2)
    assert choose_slices(np.zeros(12), np.zeros(12), brain, 4) == (0, 4, 7, 11)
    brain[:2] = brain[10:] = False
    assert choose_slices(np.zeros(12), np.zeros(12), brain, 3) == (2, 6, 9)
    assert choose_slices(np.zeros(1), np.zeros(1), np.zeros(1, bool), 6) == (0,)


AFFINE = np.diag([4.0, 4.0, 8.0, 1.0])


def volumes(n_slices: int, scale: float = 1.0) -> PerfusionVolumes:
    """A brain of 40 x 48 voxels with flow 50 and a starved block on the right of the slices from the second on."""
    shape = (40, 48, n_slices)
    brain = torch.ones(shape, dtype=torch.bool)
    artery, vein = torch.zeros_like(brain), torch.zeros_like(brain)
    artery[20, 40], vein[20, 4] = True, True
    curve = torch.tensor([0.0, 0.0, 50.0, 20.0, 5.0])
    arterial = ArterialInput(curve * scale, artery, curve.roll(1), vein, scale)
    cbf, cbv, tmax = (torch.full(shape, value) for value in (50.0, 4.0, 1.0))
    tmax[30:, 10:30, 1:], cbf[35:, 10:30, 1:], cbv[30:, 10:30, 1:] = 9.0, 5.0, 2.0
    ct = torch.full(shape, 35.0)
    return PerfusionVolumes(
        cbf=cbf,
        cbv=cbv,
        mtt=60 * cbv / cbf,
        tmax=tmax,
        ttp=tmax + 10,
        cbf_sd=None,
        cbv_sd=None,
        tmax_sd=None,
        baseline=ct,
        brain=brain,
        tissue=brain & ~artery & ~vein,
        arterial=arterial,
        n_baseline=2,
        times_s=1.5 * torch.arange(5),
        series_times_s=1.5 * torch.arange(5),
        dt_s=1.5,
        motion=FrameMotion(torch.zeros(5), torch.zeros(5), torch.zeros(5, dtype=torch.bool)),
        motion_mm=torch.zeros(5),
        noise_ratio=0.1,
    )


def draw(maps: PerfusionVolumes, path: Path, warnings: list[str] | None = None, errors: MapErrors | None = None):
    reading, core, delayed = read_maps(
        maps.cbf, maps.cbv, maps.tmax, maps.tissue, torch.from_numpy(AFFINE), (4.0, 4.0, 8.0), errors=errors
    )
    write_panel(path, maps, reading, core, delayed, AFFINE, "a title", warnings or [])
    return reading


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, to look into them."""
    made: list[Figure] = []
    figure: Callable[..., Figure] = panel_module.Figure

    def make(*arguments: object, **options: object) -> Figure:
        made.append(figure(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(panel_module, "Figure", make)
    return made


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_the_reading_is_on_the_picture_in_words(figures: list[Figure], tmp_path: Path) -> None:
    maps = volumes(4)
    errors = MapErrors(torch.full_like(maps.cbf, 3.0), torch.full_like(maps.cbf, 0.5), 4.0)
    reading = draw(maps, tmp_path / "panel.png", ["motion: 5.2 mm (limit 4)"], errors)
    assert reading.side == "right"
    words = texts(figures[0])
    said = "\n".join(words)
    assert "RESEARCH ONLY - not for diagnosis" in words
    assert "core: rCBF < 30%, Tmax > 6 s" in words
    assert words.count("R") == words.count("L") == 6
    assert [text for text in words if text.startswith("slice ")] == [f"slice {index}" for index in range(4)]
    low, high = reading.core_ml_interval or (0, 0)
    assert f"core {reading.core_ml:.1f} ({low:.1f}-{high:.1f}) ml" in said
    assert "side right" in said
    assert "arterial voxels (AIF): slice 0, 1, 2, 3" in words
    assert "Tmax > 6 s 76.8 (" in said
    assert "interval of 90 %" in said
    assert "DEFUSE 3 met" in said
    assert "DAWN A not met, B not met, C met" in said
    assert "Warning: motion: 5.2 mm (limit 4)" in said
    for unit in ("CBF [ml/100 g/min]", "CBV [ml/100 g]", "MTT [s]", "Tmax [s]", "CT [HU]", "enhancement [HU]"):
        assert unit in words


def test_what_cannot_be_told_and_cautions_are_said(figures: list[Figure], tmp_path: Path) -> None:
    maps = volumes(3)
    maps.tmax[:], maps.cbf[:] = 9.0, 3.0
    reading = draw(maps, tmp_path / "panel.png")
    said = "\n".join(texts(figures[0])).replace("\n", " ")
    assert "core unknown" in said
    assert "DEFUSE 3 unknown" in said
    assert "Caution: no reference: too little normal tissue" in said
    assert volume_lines(reading, panel_module.ReadingThresholds())[3] == "mismatch unknown"


def test_more_findings_than_fit_are_counted_out(figures: list[Figure], tmp_path: Path) -> None:
    draw(volumes(2), tmp_path / "panel.png", [f"finding {index}: 1 mm (limit 0)" for index in range(60)])
    words = texts(figures[0])
    shown = sum(word.startswith("Warning: finding") for word in words)
    assert 5 < shown < 60
    assert f"and {60 - shown} more, see summary.json" in words
    assert not any("finding 59" in word for word in words)


def test_core_and_penumbra_are_filled_and_outlined(tmp_path: Path) -> None:
    """The lower row shows the core over the delay: neither hides the other."""
    draw(volumes(2), tmp_path / "panel.png")
    picture = imread(tmp_path / "panel.png")[..., :3]
    gray = np.full(3, 35 / 80)
    for name, opacity in (("core", 0.8), ("delay", 0.55)):
        filled = opacity * np.array(to_rgb(COLORS[name])) + (1 - opacity) * gray
        row = picture[int(0.85 * len(picture)) :, : picture.shape[1] // 2]  # the lower one, without the curves
        where = np.argwhere(np.abs(row - filled).max(axis=2) < 0.02)
        assert len(where) > 300, name
        assert np.abs(picture - to_rgb(COLORS[name])).max(axis=2)[: len(picture) // 4].min() < 0.05  # the outline


@pytest.mark.parametrize(("n_slices", "scale"), [(1, 1.0), (2, 2.0), (20, 1.3)])
def test_any_number_of_slices_makes_one_file_with_readable_text(
    n_slices: int, scale: float, figures: list[Figure], tmp_path: Path
) -> None:
    draw(volumes(n_slices, scale), tmp_path / "panel.png")
    assert [path.name for path in tmp_path.iterdir()] == ["panel.png"]
    height, width = imread(tmp_path / "panel.png").shape[:2]
    assert 1000 < height < 1400
    assert 700 < width < 1800
    words = texts(figures[0])
    assert sum(word.startswith("slice ") for word in words) == min(n_slices, 6)
    assert (f"AIF x {scale:.2f}, as used" in words) == (scale > 1)
    assert min(text.get_fontsize() for text in figures[0].findobj(Text) if text.get_text()) >= 7
