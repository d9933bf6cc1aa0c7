"""What the engines of training, evaluation and inference need beside MONAI's own parts."""

from .case_dataset import CaseDataset
from .loss_terms import LossTerms
from .prepare_batch import PrepareTraining
from .result_writer import ResultWriter
from .slice_dataset import SliceDataset, SliceSampler

__all__ = ["CaseDataset", "LossTerms", "PrepareTraining", "ResultWriter", "SliceDataset", "SliceSampler"]
