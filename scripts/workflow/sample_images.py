"""One case of every validation as a picture, so that a training can be watched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.handlers import TensorBoardHandler
from monai.transforms import LabelToContour, ResampleToMatch
from monai.utils import convert_to_tensor
from PIL import Image
from torch import Tensor

from ..io.atomic import atomic_path

PREDICTION_COLOR, TRUTH_COLOR = (1.0, 0.69, 0.0), (0.2, 0.84, 0.78)


class SampleImages(TensorBoardHandler):
    """Ignite handler that draws the first case of every validation: input, pseudo-DWI, DWI and both outlines.

    The picture is one row of axial views of one slice, anterior up and the patient's right on the left: a channel of
    the input, the pseudo-DWI and the true DWI where there is one, and on the last of them the outlines of the predicted
    lesion (orange) and of the label (turquoise). The slice is the one with most label, or else with most prediction.

    TensorBoard gets it under ``tag``; the last one is ``<output_dir>/<tag>.png``, for everything else, such as the
    artifacts of MLflow. MONAI's ``TensorBoardImageHandler`` shows each image by itself and as it lies in memory,
    whereas here the input lies on another grid than the outputs, and outlines show on which side a prediction errs.

    It expects, after postprocessing, ``pred`` (the mask) and optionally ``pseudo_dwi`` and ``label`` in the engine's
    output, and ``image`` and optionally ``dwi`` in its batch, all with their affine.

    Args:
        output_dir: folder of TensorBoard's files and of the last picture.
        channel: the channel of the input that is shown; by default the last one, the temporal maximum.
        tag: name of the picture.
    """

    def __init__(self, output_dir: str | os.PathLike[str], channel: int = -1, tag: str = "sample"):
        super().__init__(log_dir=os.fspath(output_dir))
        self.output_dir = Path(output_dir)
        self.channel = channel
        self.tag = tag
        self.resample = ResampleToMatch(mode="bilinear", padding_mode="zeros")

    def attach(self, engine: Engine) -> None:
        """Register with the engine of the validation, which its trainer runs with the trainer's epoch."""
        # The iteration whose number is 1, of every run: MONAI's evaluator counts anew in each.
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self._draw)

    def _draw(self, engine: Engine) -> None:
        state: Any = engine.state  # Ignite types what a batch and an output are as an int
        picture = self.picture({**state.batch[0], **state.output[0]})
        self._writer.add_image(self.tag, picture, state.epoch)
        self._writer.flush()
        pixels = (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        with atomic_path(self.output_dir / f"{self.tag}.png") as temporary:
            Image.fromarray(pixels).save(temporary, format="PNG")

    def picture(self, case: Mapping[str, Any]) -> Tensor:
        """Draw a case as (3, H, columns x W) in [0, 1]."""
        image = case["image"].cpu()
        channel = convert_to_tensor(image[self.channel], track_meta=False)
        masks = [self._on_grid(case[key], image) > 0.5 for key in ("pred", "label") if key in case]
        synthetic_and_true = [self._on_grid(case[key], image) for key in ("pseudo_dwi", "dwi") if key in case]
        k = _slice_to_show(masks)
        columns = [_axial(volume[..., k]).clamp(0, 1).expand(3, -1, -1) for volume in (channel, *synthetic_and_true)]
        outlined = columns[-1].clone()
        for mask, color in zip(masks, (PREDICTION_COLOR, TRUTH_COLOR), strict=False):
            outline = LabelToContour()(_axial(mask[..., k])[None].float())[0] > 0
            outlined[:, outline] = torch.tensor(color)[:, None]
        return torch.cat([*columns, outlined], dim=2)

    def _on_grid(self, volume: Tensor, image: Tensor) -> Tensor:
        """A volume (1, H, W, D) as (H, W, D) on the grid of the network's input."""
        return convert_to_tensor(self.resample(volume.cpu().float(), img_dst=image), track_meta=False)[0]


def _slice_to_show(masks: list[Tensor]) -> int:
    """The slice with most of the last mask that has any; the middle one where none has."""
    for mask in reversed(masks):
        if mask.any():
            return int(mask.sum(dim=(0, 1)).argmax())
    return masks[0].shape[-1] // 2


def _axial(plane: Tensor) -> Tensor:
    """A plane (H, W) in RAS as radiologists see it: rows to posterior, columns to the patient's left."""
    return plane.T.flip(0, 1)
