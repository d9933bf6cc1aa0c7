import numpy as np
import pytest

from bundle.benchmark.loading import _peak_bytes, _read
from scripts.io import write_nifti


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_floor_reads_the_voxels(tmp_path, dtype, ending):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    write_nifti(tmp_path / f"x{ending}", array, np.eye(4), dtype=dtype)
    values = _read(tmp_path / f"x{ending}", dtype)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values.reshape(array.shape, order="F"), array)


def test_peak_memory():
    assert 8_000_000 <= _peak_bytes(lambda: np.zeros(1_000_000).sum()) < 8_100_000
