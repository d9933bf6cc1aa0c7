import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scripts.io import load_datalist
from scripts.phantom import ensure_cohort
from tests.monailabel.server import Server

PYTHON = "MONAILABEL_PYTHON"
SEED = 11
"""The phantom of `make demo`: its lesion is large, so that no mask is empty."""


@pytest.fixture(scope="session")
def python():
    """The interpreter of MONAI Label's environment."""
    path = os.environ.get(PYTHON)
    if path is None:
        pytest.skip(f"{PYTHON} is not set: `make test-monailabel` sets it")
    return str(Path(path).absolute())  # not resolved: a virtual environment's is a link to another's


@pytest.fixture(scope="session")
def case(python, tmp_path_factory):
    """A synthetic case, with all its files."""
    folder = tmp_path_factory.mktemp("phantom")
    return load_datalist(ensure_cohort(folder, (0, 0, 1), SEED, workers=1), "testing", folder)[0]


def oblique(affine):
    turned = affine.copy()
    turned[:3, :3] = Rotation.from_euler("xyz", (17, -11, 8), degrees=True).as_matrix() @ affine[:3, :3]
    return turned


@pytest.fixture(scope="session")
def studies(case, tmp_path_factory):
    """A studies folder with the series of the case alone, in three orientations, and series that are none."""
    folder = tmp_path_factory.mktemp("studies")
    series = nib.load(case["image"])
    ras = series.as_reoriented(nib.io_orientation(series.affine))
    nib.save(ras, folder / "ras.nii.gz")
    lps = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt("LPS"))
    nib.save(ras.as_reoriented(lps), folder / "lps.nii.gz")
    nib.save(nib.Nifti1Image(np.asanyarray(ras.dataobj), oblique(ras.affine), ras.header), folder / "oblique.nii.gz")
    nib.save(nib.Nifti1Image(np.asanyarray(ras.dataobj)[..., 0], ras.affine), folder / "flat.nii.gz")
    timeless = nib.Nifti1Image(np.asanyarray(ras.dataobj), ras.affine)
    timeless.header["pixdim"][4] = 0
    nib.save(timeless, folder / "timeless.nii.gz")
    (folder / "text.nii.gz").write_text("this is no image")
    return folder


@pytest.fixture(scope="session")
def server(python, studies, tmp_path_factory):
    """MONAI Label's server on the studies folder."""
    with Server(python, tmp_path_factory.mktemp("server"), studies) as running:
        yield running
