"""Where a training run keeps its checkpoints if nobody says."""

import os
import sys
from pathlib import Path


def training_dir(bundle_root: str | os.PathLike[str]) -> str:
    """Return the default `ckpt_dir` of `configs/train.json`.

    It is `<bundle_root>/runs/train`, because a training run must not replace the weights that ship with the bundle,
    `<bundle_root>/models/model.pt`, unless it is told to with `--ckpt_dir models`. The exception is a run that MONAI
    Label starts: its server starts each run from `models/model.pt`, segments with that file, has no option for another
    folder, and works on a copy of the bundle. There the folder is `<bundle_root>/models`.
    """
    # The server and its background process import monailabel; its torchrun gets their environment.
    in_monai_label = "monailabel" in sys.modules or any(name.startswith("MONAI_LABEL_") for name in os.environ)
    return str(Path(bundle_root, *(("models",) if in_monai_label else ("runs", "train"))))
