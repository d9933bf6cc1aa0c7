"""A case through the parts of the configs for inference and evaluation: time by stage, and Dice."""

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch, list_data_collate
from monai.inferers import SliceInferer
from nibabel.affines import voxel_sizes
from torch import Tensor, nn

from scripts.io import load_datalist, write_nifti
from scripts.metrics.segmentation import lesion_metrics
from scripts.networks.outputs import WithSynthesis
from scripts.perfusion.transform import PerfusionMapsd
from scripts.transforms.load_case import LoadCased
from scripts.workflow import LesionInferer, ResultWriter

from ..steps import DATALIST, ROOT, WEIGHTS
from .deconvolution import INTERVAL_S, simulated_case
from .measurement import Figure, Measurement, Settings
from .timing import run_ms, summary

DICE_CASES, DICE_TOLERANCE = 5, 0.002
DIFFERENCE = "largest difference in probability"
PROBABILITY_TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2}
NETWORK = "network"
STAGES = ("reading", "maps", "transforms", NETWORK, "post-processing", "writing")
Way = Callable[[Tensor], Tensor]


def dice_rows(settings: Settings) -> list[Measurement]:
    """How far probability and Dice in each type are from those of the network run as it is written."""
    parser = _config("inference", settings)
    network = _network(parser, WEIGHTS)
    size = parser.get_parsed_content("image_size")
    plain: Callable[..., Any] = SliceInferer(spatial_dim=2, roi_size=(size, size), sw_batch_size=1)
    ways: dict[str, Way] = {
        "plain": lambda image: plain(image, WithSynthesis(network, mirror=True)),
        "float32": partial(LesionInferer((size, size), mirror=True), network=network),
        "bfloat16": partial(LesionInferer((size, size), amp=True, mirror=True), network=network),
    }
    cases = load_datalist(settings.dataset_dir / DATALIST, "testing", settings.dataset_dir)[:DICE_CASES]
    changes: dict[str, list[tuple[float, float]]] = {name: [] for name in PROBABILITY_TOLERANCES}
    for case in cases:
        batch = list_data_collate([parser.get_parsed_content("preprocessing")(case)])
        predictions = {name: _predicted(way, batch, settings.device) for name, way in ways.items()}
        probability = {name: prediction[:, :2].softmax(1) for name, prediction in predictions.items()}
        dice = {name: _dice(_segmented(parser, batch, prediction)) for name, prediction in predictions.items()}
        for name, found in changes.items():
            difference = float((probability[name] - probability["plain"]).abs().max())
            found.append((difference, abs(dice[name] - dice["plain"])))
    rows = []
    for name, found in changes.items():
        difference, change = (max(values) for values in zip(*found, strict=True))
        figures = {
            DIFFERENCE: Figure(difference, PROBABILITY_TOLERANCES[name], unit=""),
            "largest difference in Dice": Figure(change, DICE_TOLERANCE, unit=""),
        }
        rows.append(Measurement(f"{len(cases)} test cases, {name}", None, figures))
    return rows


def _config(name: str, settings: Settings) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / f"{name}.json")
    parser.update({"device": settings.device})
    return parser


def _network(parser: ConfigParser, weights: Path | None) -> nn.Module:
    """The config's network in evaluation, with weights where there are some."""
    network: nn.Module = parser.get_parsed_content("network")
    if weights is not None:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()


def _predicted(way: Way, batch: Mapping[str, Any], device: torch.device) -> Tensor:
    with torch.no_grad():
        return way(batch["image"].to(device))


def _segmented(parser: ConfigParser, batch: Mapping[str, Any], prediction: Tensor) -> dict[str, Any]:
    """The case after the config's post-processing."""
    item = {**decollate_batch(batch)[0], "pred": decollate_batch(prediction)[0]}
    return parser.get_parsed_content("postprocessing")(item)


def _dice(item: Mapping[str, Any]) -> float:
    prediction, label = (item[key][0].cpu().numpy() > 0.5 for key in ("pred", "label"))
    return lesion_metrics(prediction, label, voxel_sizes(item["label"].affine.numpy()).tolist())["dice"]


def stage_rows(settings: Settings) -> list[Measurement]:
    """Time of each stage of `configs/inference.json` on a series whose maps are to be computed, in both types."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.nii"
        case = simulated_case(64 if settings.quick else 256)
        write_nifti(path, case.series.hu.transpose(1, 2, 3, 0), case.grid.affine, dt_s=INTERVAL_S)
        for name, amp in (("float32", False), ("bfloat16", True)):
            parser = _config("inference", settings)
            parser.update({"amp": amp} | ({"features": [2, 4], "image_size": 64} if settings.quick else {}))
            network = _network(parser, None if settings.quick else WEIGHTS)
            runs = [time_stages(parser, network, path, Path(folder)) for _ in range(min(settings.repeats, 5) + 1)][1:]
            timings = {stage: summary([run[stage] for run in runs]) for stage in STAGES}
            total_ms = sum(timing.median_ms for timing in timings.values())
            for stage, timing in timings.items():
                figures = {"share of the case": Figure(100 * timing.median_ms / total_ms, unit="%")}
                if stage == NETWORK:
                    others = max(timing.median_ms for other, timing in timings.items() if other != NETWORK)
                    wanted = None if amp else 1.0  # in the configured type; in the faster one the maps may take longer
                    figures["times the largest other stage"] = Figure(timing.median_ms / others, wanted, True)
                rows.append(Measurement(f"file to mask, {name}: {stage}", timing, figures))
    return rows


def time_stages(parser: ConfigParser, network: nn.Module, image: Path, folder: Path) -> dict[str, float]:
    """Time in ms of each stage from the file of a series to the files of its results, through the config's parts."""
    device = parser.get_parsed_content("device")
    times_ms = dict.fromkeys(STAGES, 0.0)
    state: dict[str, Any] = {"item": {"image": str(image)}}

    def timed(stage: str, key: str, function: Callable[[], Any]) -> None:
        times_ms[stage] += run_ms(lambda: state.update({key: function()}), device)

    for transform in parser.get_parsed_content("preprocessing").transforms:
        timed(_stage(transform), "item", partial(_apply, transform, state))
    timed("transforms", "batch", lambda: list_data_collate([state["item"]]))
    way = partial(parser.get_parsed_content("inferer"), network=network)
    timed(NETWORK, "prediction", lambda: _predicted(way, state["batch"], device))
    timed("post-processing", "item", lambda: _segmented(parser, state["batch"], state["prediction"]))
    timed("writing", "row", lambda: ResultWriter(folder / "results").write_case(state["item"]))
    return times_ms


def _apply(transform: Callable[[Any], Any], state: Mapping[str, Any]) -> Any:
    return transform(state["item"])


def _stage(transform: object) -> str:
    if isinstance(transform, LoadCased):
        return "reading"
    return "maps" if isinstance(transform, PerfusionMapsd) else "transforms"
