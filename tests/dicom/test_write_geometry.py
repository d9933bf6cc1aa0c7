"""Masks and maps lie where the results lie, to the voxel, on the planes of the source, whatever their orientation."""

from __future__ import annotations

import tempfile
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, inv_ornt_aff
from scipy.spatial.transform import Rotation

from scripts.dicom.grid import planes, source_grid
from scripts.dicom.heading import Heading
from scripts.dicom.parametric_maps import make_map
from scripts.dicom.segmentation import make_segmentation, segments_of
from scripts.dicom.source_images import plane_of, plane_positions, reduced_images
from scripts.io.errors import CaseError
from tests.dicom.simple_ct import FolderResults, axial_affine, classic_source, enhanced_source, make_results
from tests.dicom.world import LPS, all_places, same_mask, values_at

SHAPE = (9, 7, 4)


@st.composite
def oblique_affines(draw) -> np.ndarray:
    """Any rotation, spacing and handedness of a grid of perpendicular axes."""
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 10)] * 3))
    flips = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("zyx", angles, degrees=True).as_matrix() * spacing * flips
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return affine


#: Orders and directions of three axes, as nibabel writes them.
axis_orders = st.builds(
    lambda order, flips: np.stack([order, flips], axis=1),
    st.permutations(range(3)).map(np.array),
    st.tuples(*[st.sampled_from([-1, 1])] * 3).map(np.array),
)


def stored_in_order(results: FolderResults, order: np.ndarray) -> FolderResults:
    """The same results with their axes in another order, as another program may have stored the series."""
    for name in ("lesion", "core", "delay", "tmax"):
        image = nib.load(results.file(name))
        turned = apply_orientation(np.asarray(image.dataobj), order)
        affine = image.affine @ inv_ornt_aff(order, image.shape)
        nib.save(nib.Nifti1Image(turned, affine), results.file(name))
    affine = nib.load(results.file("lesion")).affine
    return FolderResults(results.folder, results.case, results.record, results.summary, affine)


def ras(image: hd.Volume) -> np.ndarray:
    return LPS @ image.affine


def check_places(results: FolderResults, source, on_source: bool = True) -> None:
    """The masks and a map hold the results' voxels; with `on_source` on exactly the positions of the source."""
    heading = Heading.of(results, source)
    segmentation = make_segmentation(results, heading, segments_of(results))
    read = segmentation.get_volume(combine_segments=False)
    for number, name in enumerate(("lesion", "core", "delay")):
        assert same_mask(results.volume(name) > 0, results.affine, read.array[..., number] > 0, ras(read))
    stored = make_map(results, heading, "tmax")
    volume = stored.get_volume(dtype=np.float32)
    points = all_places(results.volume("tmax").shape, results.affine)
    assert np.array_equal(values_at(volume.array, ras(volume), points), results.volume("tmax").ravel())
    normal = np.cross(ras(volume)[:3, 2], ras(volume)[:3, 1])  # columns, then rows: RAS+ and LPS+ turn alike
    heights = [
        np.array(frame.PlanePositionSequence[0].ImagePositionPatient) @ (LPS[:3, :3] @ normal)
        for frame in stored.PerFrameFunctionalGroupsSequence
    ]
    assert heights == sorted(heights)  # dcmqi takes frames in this order, whatever their positions
    if on_source:
        wanted = {tuple(position) for position in plane_positions(heading.images)}
        frames = stored.PerFrameFunctionalGroupsSequence
        assert {tuple(map(float, f.PlanePositionSequence[0].ImagePositionPatient)) for f in frames} == wanted


@settings(max_examples=20)
@given(affine=oblique_affines(), order=axis_orders)
def test_oblique_and_flipped_grids_keep_their_places(affine, order):
    with tempfile.TemporaryDirectory() as folder:
        results = make_results(Path(folder) / "case_a", affine, SHAPE)
        check_places(stored_in_order(results, order), classic_source(affine, (*SHAPE, 2)))


@pytest.mark.parametrize("per_frame", [True, False])
def test_an_enhanced_source_gives_the_same_places(tmp_path, per_frame):
    affine = axial_affine()
    results = make_results(tmp_path / "case_a", affine, SHAPE)
    check_places(results, enhanced_source(affine, (*SHAPE, 2), per_frame))


def test_slices_from_head_to_feet_keep_their_places(tmp_path):
    affine = axial_affine((0.9, 0.9, -8.0))
    check_places(make_results(tmp_path / "case_a", affine, SHAPE), classic_source(affine, (*SHAPE, 2)))


def test_one_slice_is_placed(tmp_path):
    affine = axial_affine()
    results = make_results(tmp_path / "case_a", affine, (9, 7, 1))
    heading = Heading.of(results, classic_source(affine, (9, 7, 1, 2)))
    read = make_map(results, heading, "tmax")
    assert np.array_equal(read.pixel_array.T.reshape(9, 7, 1), results.volume("tmax"))
    position = read.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    assert list(position) == [20, 15, 30]


def tilted_source(degrees: float):
    """Slices that are tilted by the gantry: their positions go straight up, their planes do not."""
    upright = axial_affine()
    tilted = upright.copy()
    tilted[:3, 1] = Rotation.from_euler("x", degrees, degrees=True).apply(upright[:3, 1])
    return classic_source(tilted, (*SHAPE, 2))


def test_results_that_were_resampled_from_a_tilted_gantry_keep_their_own_planes(tmp_path):
    affine = axial_affine()
    results = make_results(tmp_path / "case_a", affine, SHAPE)
    check_places(results, tilted_source(15), on_source=False)
    heading = Heading.of(results, tilted_source(15))
    assert heading.grid is None
    frame = make_map(results, heading, "tmax").PerFrameFunctionalGroupsSequence[0]
    assert "DerivationImageSequence" not in frame or not frame.DerivationImageSequence


def test_results_on_a_finer_grid_keep_it(tmp_path):
    fine = axial_affine((0.45, 0.45, 8.0))
    results = make_results(tmp_path / "case_a", fine, (18, 14, 4))
    check_places(results, classic_source(axial_affine(), (*SHAPE, 2)), on_source=False)


def test_a_grid_that_is_moved_by_a_tenth_of_a_millimeter_is_not_the_source_s(tmp_path):
    moved = axial_affine(origin=(-19.9, -15.0, 30.0))
    results = make_results(tmp_path / "case_a", moved, SHAPE)
    check_places(results, classic_source(axial_affine(), (*SHAPE, 2)), on_source=False)


def test_the_rounding_of_nifti_is_undone():
    affine = axial_affine((0.4882812, 0.4882812, 5.0), (-123.456789, 98.7654321, -611.239501))
    source = classic_source(affine, (*SHAPE, 2))
    images = reduced_images(source.headers, "1.2")
    grid = source_grid(plane_positions(images), plane_of(images[0]))
    volume = planes(np.zeros(SHAPE, np.uint8), affine.astype(np.float32).astype(float), grid, "1.2", "case_a")
    assert np.array_equal(volume.affine, grid.affine)


def test_a_sheared_grid_is_refused(tmp_path):
    affine = axial_affine()
    affine[1, 2] = 2.0
    results = make_results(tmp_path / "case_a", affine, SHAPE)
    heading = Heading.of(results, classic_source(axial_affine(), (*SHAPE, 2)))
    with pytest.raises(CaseError, match="case 'case_a', affine: expected perpendicular axes of the grid, got"):
        make_segmentation(results, heading, segments_of(results))


def test_uneven_slices_have_no_grid():
    source = classic_source(axial_affine(), (*SHAPE, 1))
    images = reduced_images(source.headers, "1.2")
    positions = plane_positions(images)
    assert source_grid(positions, images[0]) is not None
    assert source_grid(positions + [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], images[0]) is None
