"""A case of 8 slices of 256 x 256 pixels through `LesionInferer`.

The floor is the convolutions of the network alone, slice by slice in the same type and channels-last. The plain form
takes all slices in one call of MONAI's `SliceInferer`, in float32 and contiguous tensors, with every normalization as a
layer of its own. Differences in probability are those from the plain form, of random weights. In test cases of the
data set, differences in probability and Dice are those of bfloat16 from float32, by the shipped weights and
`configs/inference.json`.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import SliceInferer
from nibabel.affines import voxel_sizes
from torch import Tensor, nn

from scripts.io import load_datalist
from scripts.io.nifti import read_nifti
from scripts.metrics.segmentation import lesion_metrics
from scripts.networks import StrokeLesionNet
from scripts.workflow import LesionInferer

from ..data import DATALIST
from ..run import run_workflow
from .floors import convolutions_alone
from .measure import Figure, Group, Settings
from .training import PAPER_WIDTHS, WIDTHS, PlainOutputs

SLICES, PIXELS = 8, 256
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MOST_FLOORS = {"compact": {"float32": 1.45, "bfloat16": 1.8}, "paper": {"float32": 1.15, "bfloat16": 1.2}}
MOST_OF_PLAIN = {"compact": 0.33, "paper": 0.38}
"""The most time of bfloat16 over that of the plain form."""
MOST_DIFFERENCE = {"float32": 1e-5, "bfloat16": 1e-2}
TEST_CASES, MOST_DICE_DIFFERENCE = 5, 0.002


def measure(settings: Settings) -> Iterator[Group | Figure]:
    """Compact and paper widths, fewer and more slices, and differences in test cases."""
    slices, pixels = (2, 32) if settings.quick else (SLICES, PIXELS)
    widths = {"compact": (2, 4), "paper": (4, 4)} if settings.quick else {"compact": WIDTHS, "paper": PAPER_WIDTHS}
    for kind, features in widths.items():
        network = StrokeLesionNet(features=features).to(settings.device).eval()
        yield from of_widths(kind, network, random_case(network, slices, pixels))
    network = StrokeLesionNet(features=widths["compact"]).to(settings.device).eval()
    for count in (1, slices // 2, 2 * slices):
        yield Group(
            f"compact widths, {count} slices", ways(network, random_case(network, count, pixels)), most_rounds=2
        )
    if not settings.quick and (settings.dataset_dir / DATALIST).is_file():
        yield from dataset_differences(settings)


def of_widths(kind: str, network: StrokeLesionNet, case: Tensor) -> Iterator[Group | Figure]:
    """Every way to run a network on a case, next to its convolutions, and how far the results are apart."""
    move_statistics(network)
    runs, compact = ways(network, case), kind == "compact"
    group: dict[str, Callable[[], Any]] = dict(runs)
    ratios: dict[tuple[str, str], float | None] = {
        ("float32", "plain"): None,
        ("bfloat16", "plain"): MOST_OF_PLAIN[kind],
    }
    for name, dtype in TYPES.items():
        floor, mirrored, most = f"{name} floor", f"{name} mirrored", MOST_FLOORS[kind][name]
        group[floor] = partial(repeat, convolutions_alone(network, case[..., 0].contiguous(), dtype), case.shape[-1])
        ratios[name, floor] = most
        if compact:  # at the paper's widths twice the work takes minutes
            group[mirrored] = partial(infer, network, case, name, mirror=True)
            ratios[mirrored, floor] = 2 * most
    memory = dict.fromkeys(["plain", *TYPES], None)
    yield Group(f"{kind} widths", group, ratios, memory, most_rounds=1000 if compact else 2)
    expected = runs["plain"]()[:, :2].softmax(1)
    for name, most in MOST_DIFFERENCE.items():
        largest = float((runs[name]()[:, :2].softmax(1) - expected).abs().max())
        yield Figure(f"{kind} widths: largest difference in probability, {name}", largest, most)


def repeat(run: Callable[[], object], times: int) -> None:
    """Call a function so often."""
    for _ in range(times):
        run()


def move_statistics(network: nn.Module) -> None:
    """Give batch normalizations statistics that are not those of their start: leaving them out would show."""
    generator = torch.Generator().manual_seed(0)
    for name, statistics in network.named_buffers():
        if name.endswith("running_mean"):
            statistics.copy_(0.1 * torch.randn(statistics.shape, generator=generator))
        elif name.endswith("running_var"):
            statistics.copy_(0.5 + torch.rand(statistics.shape, generator=generator))


def random_case(network: StrokeLesionNet, slices: int, pixels: int) -> Tensor:
    """An input (1, C, H, W, D) in (0, 1) on the device of the network."""
    generator = torch.Generator().manual_seed(0)
    case = torch.rand(1, network.channels, pixels, pixels, slices, generator=generator)
    return case.to(next(network.parameters()).device)


def ways(network: StrokeLesionNet, case: Tensor) -> dict[str, Callable[[], Tensor]]:
    """A function for each way to run a case."""
    plain_network = PlainOutputs(deepcopy(network)).eval()
    slicewise: Callable[..., Any] = SliceInferer(
        spatial_dim=2, roi_size=case.shape[2:4], sw_batch_size=case.shape[-1], padding_mode="constant"
    )

    def plain() -> Tensor:
        with torch.no_grad():
            return slicewise(case, lambda image: plain_network(image)["logits"])

    return {"plain": plain, **{name: partial(infer, network, case, name) for name in TYPES}}


def infer(network: nn.Module, case: Tensor, dtype: str, mirror: bool = False) -> Tensor:
    """Logits and pseudo-DWI of a case, as an engine makes them."""
    with torch.no_grad():
        return LesionInferer(case.shape[2:4], dtype == "bfloat16", mirror)(case, network)


def dataset_differences(settings: Settings) -> Iterator[Figure]:
    """How far probability and Dice in bfloat16 are from those in float32, in the first test cases of the data set."""
    data = settings.dataset_dir
    entries = json.loads((data / DATALIST).read_text(encoding="utf-8"))["testing"][:TEST_CASES]
    with tempfile.TemporaryDirectory() as folder:
        datalist = Path(folder) / DATALIST
        datalist.write_text(json.dumps({"testing": entries}), encoding="utf-8")
        for name in TYPES:
            run_workflow(
                "inference",
                dataset_dir=str(data),
                datalist=str(datalist),
                output_dir=str(Path(folder) / name),
                device=settings.device,
                amp=name == "bfloat16",
            )
        cases = load_datalist(datalist, "testing", data)
        found = [_differences(case, *(Path(folder) / name / case["case"] for name in TYPES)) for case in cases]
    probability, dice = np.max(found, axis=0)
    title = f"{len(cases)} test cases: largest difference in"
    yield Figure(f"{title} probability, bfloat16", float(probability), MOST_DIFFERENCE["bfloat16"])
    yield Figure(f"{title} Dice, bfloat16", float(dice), MOST_DICE_DIFFERENCE)


def _differences(case: dict[str, Any], *folders: Path) -> tuple[float, float]:
    """The largest difference in probability between the results of a case in two folders, and that in Dice."""
    name = case["case"]
    label = read_nifti(case["label"], case=name, key="label")
    first, second, *masks = (
        read_nifti(folder / f"{name}_{key}.nii.gz", case=name, key=key).array
        for key in ("probability", "lesion")
        for folder in folders
    )
    spacing_mm = voxel_sizes(label.affine).tolist()
    dice = [lesion_metrics(mask > 0, label.array > 0, spacing_mm)["dice"] for mask in masks]
    return float(np.abs(first - second).max()), abs(dice[0] - dice[1])
