"""What the engines of training, evaluation and inference need beside MONAI's own parts."""

from .adversarial import AdversarialTerms, PseudoDwiAdversarialTrainer, pseudo_dwi_discriminator
from .case_dataset import CaseDataset
from .case_evaluator import CaseEvaluator
from .divergence import StopAtDivergence
from .inference_cases import inference_cases
from .inferers import LesionInferer, TrainingInferer, VolumeInferer
from .library_warnings import silence_library_warnings
from .listed_cases import listed_cases
from .loss_terms import LossTerms
from .memory_reuse import KeepFreedMemory
from .prepare_batch import PrepareTraining
from .result_writer import ResultWriter
from .resume import BestMetric, LastCheckpoint
from .slice_dataset import SliceDataset, SliceSampler
from .stages import StagedTraining
from .training_dir import training_dir
from .volume_dataset import VolumeDataset
from .weights import CheckpointLoader, RetireRecord

__all__ = [
    "AdversarialTerms",
    "BestMetric",
    "CaseDataset",
    "CaseEvaluator",
    "CheckpointLoader",
    "KeepFreedMemory",
    "LastCheckpoint",
    "LesionInferer",
    "LossTerms",
    "PrepareTraining",
    "PseudoDwiAdversarialTrainer",
    "ResultWriter",
    "RetireRecord",
    "SliceDataset",
    "SliceSampler",
    "StagedTraining",
    "StopAtDivergence",
    "TrainingInferer",
    "VolumeDataset",
    "VolumeInferer",
    "inference_cases",
    "listed_cases",
    "pseudo_dwi_discriminator",
    "training_dir",
]

silence_library_warnings()
