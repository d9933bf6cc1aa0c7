"""Extract nnU-Net's fingerprint of a data set from a sample of its voxels.

A script, which nnU-Net's own Python runs. By itself nnU-Net draws 10^8 voxels of each channel from lesions, with
replacement, however few there are: 13 GB at once with 11 channels. Their statistics scale channels that are named CT
alone; there is none of these here, and a million is enough to look at.
"""

import sys

from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset

VOXELS = 1e6


class SampledFingerprintExtractor(DatasetFingerprintExtractor):
    """Draws `VOXELS` voxels of each channel."""

    def __init__(self, dataset_name_or_id: str | int, num_processes: int = 1, verbose: bool = False) -> None:
        super().__init__(dataset_name_or_id, num_processes, verbose)
        self.num_foreground_voxels_for_intensitystats = VOXELS


if __name__ == "__main__":
    extract_fingerprint_dataset(int(sys.argv[1]), SampledFingerprintExtractor, 1, check_dataset_integrity=True)
