"""A case of 8 slices of 256 x 256 pixels through `LesionInferer`, and a case from its file to its mask.

The floor is the convolutions of the network alone, slice by slice in the same type and channels-last. The plain form
takes all slices in one call of MONAI's `SliceInferer`, in float32 and contiguous tensors, with every normalization as a
layer of its own. Differences in probability are those from the plain form, of random weights; in test cases of the data
set, those of the shipped weights from the network as it is written, with the mirror image, and those in Dice of the
masks that `configs/evaluate.json` makes.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch, list_data_collate
from monai.inferers import SliceInferer
from nibabel.affines import voxel_sizes
from torch import Tensor, nn

from scripts.io import load_datalist
from scripts.metrics.segmentation import lesion_metrics
from scripts.networks import StrokeLesionNet, WithSynthesis
from scripts.perfusion.transform import PerfusionMapsd
from scripts.transforms.load_case import LoadCased
from scripts.workflow import LesionInferer, ResultWriter

from ..data import DATALIST
from ..run import WEIGHTS, config_files
from .cases import matrix_of, simulated_case, write_series
from .floors import convolutions_alone
from .measure import Alternative, Figure, Found, Row, Settings, compared, growth, quartiles_ms
from .training import PAPER_WIDTHS, WIDTHS, PlainOutputs

HELP = "inference of a case against its convolutions and the plain form, and a case from file to mask by stage"

SLICES, PIXELS = 8, 256
PLAIN, FLOOR = "float32, contiguous, plain", "floor: convolutions alone, {}"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_FLOOR_LIMITS = {"compact": {"float32": 1.45, "bfloat16": 1.8}, "paper": {"float32": 1.15, "bfloat16": 1.2}}
_FASTER = {"compact": 3.0, "paper": 2.6}
DICE_CASES, DICE_TOLERANCE = 5, 0.002
DIFFERENCE = "largest difference in probability"
PROBABILITY_TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2}
NETWORK = "network"


def measure(settings: Settings) -> Found:
    """Compact and paper widths, Dice, the stages of a whole case, and how time and memory grow with the slices."""
    slices, pixels = (2, 32) if settings.quick else (SLICES, PIXELS)
    widths = {"compact": (2, 4), "paper": (4, 4)} if settings.quick else {"compact": WIDTHS, "paper": PAPER_WIDTHS}
    rows = [row for kind in widths for row in network_rows(kind, widths[kind], slices, pixels, settings)]
    note = "Dice was not measured: the sizes are the smallest, or there is no data set."
    if not settings.quick and (settings.dataset_dir / DATALIST).is_file():
        rows += dice_rows(settings)
        note = f"Dice is that of the first {DICE_CASES} test cases, as the data set lists them."
    network = StrokeLesionNet(features=widths["compact"]).to(settings.device).eval()
    counts = [1, slices] if settings.quick else [1, 4, slices, 2 * slices]
    grown = growth("slices of a case", counts, lambda n: ways(network, random_case(network, n, pixels)), settings)
    return Found([*rows, *stage_rows(settings)], [grown], [note])


def network_rows(kind: str, widths: Sequence[int], slices: int, pixels: int, settings: Settings) -> list[Row]:
    """A row for every way to run a network of some widths, and for its convolutions."""
    network = StrokeLesionNet(features=widths).to(settings.device).eval()
    move_statistics(network)
    case = random_case(network, slices, pixels)
    runs = ways(network, case)
    alternatives = {PLAIN: Alternative(runs[PLAIN])}
    for name, dtype in TYPES.items():
        alone, floor = convolutions_alone(network, case[..., 0].contiguous(), dtype), FLOOR.format(name)
        limit, faster = _FLOOR_LIMITS[kind][name], _FASTER[kind] if name == "bfloat16" else None
        alternatives[floor] = Alternative(partial(_repeat, alone, slices))
        alternatives[name] = Alternative(runs[name], floor, limit=limit, faster=faster)
        if kind == "compact":  # at the paper's widths twice the work takes minutes
            mirrored = partial(infer, network, case, name, True)
            alternatives[f"{name}, with the mirror image"] = Alternative(mirrored, floor, 2, limit)
    prefix, rounds = f"{kind} widths: ", 1000 if kind == "compact" else 2
    rows = {row.case: row for row in compared(alternatives, settings, plain=PLAIN, prefix=prefix, most_rounds=rounds)}
    expected = runs[PLAIN]()[:, :2].softmax(1)
    for name in TYPES:
        difference = float((runs[name]()[:, :2].softmax(1) - expected).abs().max())
        figure = {DIFFERENCE: Figure(difference, PROBABILITY_TOLERANCES[name], unit="")}
        rows[prefix + name] = rows[prefix + name]._replace(figures={**rows[prefix + name].figures, **figure})
    return list(rows.values())


def _repeat(run: Callable[[], object], times: int) -> None:
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

    return {PLAIN: plain, **{name: partial(infer, network, case, name) for name in TYPES}}


def infer(network: nn.Module, case: Tensor, dtype: str, mirror: bool = False) -> Tensor:
    """Logits and pseudo-DWI of a case, as an engine makes them."""
    with torch.no_grad():
        return LesionInferer(case.shape[2:4], dtype == "bfloat16", mirror)(case, network)


def dice_rows(settings: Settings) -> list[Row]:
    """How far probability and Dice in each type are from those of the network run as it is written."""
    parser = _config("inference", settings)
    network = _network(parser, WEIGHTS)
    size = parser.get_parsed_content("image_size")
    plain: Callable[..., Any] = SliceInferer(spatial_dim=2, roi_size=(size, size), sw_batch_size=1)
    cases = load_datalist(settings.dataset_dir / DATALIST, "testing", settings.dataset_dir)[:DICE_CASES]
    changes: dict[str, list[tuple[float, float]]] = {name: [] for name in TYPES}
    for case in cases:
        batch = list_data_collate([parser.get_parsed_content("preprocessing")(case)])
        image = batch["image"].to(settings.device)
        with torch.no_grad():
            expected = plain(image, WithSynthesis(network, mirror=True))
        expected_dice = _dice(_segmented(parser, batch, expected))
        for name, found in changes.items():
            logits = infer(network, image, name, mirror=True)
            difference = (logits[:, :2].softmax(1) - expected[:, :2].softmax(1)).abs().max()
            found.append((float(difference), abs(_dice(_segmented(parser, batch, logits)) - expected_dice)))
    rows = []
    for name, found in changes.items():
        difference, change = (max(values) for values in zip(*found, strict=True))
        figures = {
            DIFFERENCE: Figure(difference, PROBABILITY_TOLERANCES[name], unit=""),
            "largest difference in Dice": Figure(change, DICE_TOLERANCE, unit=""),
        }
        rows.append(Row(f"{len(cases)} test cases, {name}", None, figures))
    return rows


def _config(name: str, settings: Settings) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(path) for path in config_files(name)])
    parser.update({"device": settings.device})
    return parser


def _network(parser: ConfigParser, weights: Path | None) -> nn.Module:
    """The config's network in evaluation, with weights where there are some."""
    network: nn.Module = parser.get_parsed_content("network")
    if weights is not None:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()


def _segmented(parser: ConfigParser, batch: Mapping[str, Any], prediction: Tensor) -> dict[str, Any]:
    """The case after the config's post-processing."""
    item = {**decollate_batch(batch)[0], "pred": decollate_batch(prediction)[0]}
    return parser.get_parsed_content("postprocessing")(item)


def _dice(item: Mapping[str, Any]) -> float:
    prediction, label = (item[key][0].cpu().numpy() > 0.5 for key in ("pred", "label"))
    return lesion_metrics(prediction, label, voxel_sizes(item["label"].affine.numpy()).tolist())["dice"]


def stage_rows(settings: Settings) -> list[Row]:
    """Time of each stage of `configs/inference.json` on a series whose maps are to be computed, in both types."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = write_series(Path(folder) / "case.nii", simulated_case(matrix_of(settings)))
        for name in TYPES:
            parser = _config("inference", settings)
            small = {"features": [2, 4], "image_size": 64} if settings.quick else {}
            parser.update({"amp": name == "bfloat16", **small})
            network = _network(parser, None if settings.quick else WEIGHTS)
            runs = [time_stages(parser, network, path, Path(folder)) for _ in range(min(settings.rounds, 5) + 1)][1:]
            times = {stage: quartiles_ms([run[stage] for run in runs]) for stage in runs[0]}
            total_ms = sum(ms[1] for ms in times.values())
            for stage, ms in times.items():
                figures = {"part of the case": Figure(100 * ms[1] / total_ms, unit="%")}
                rows.append(Row(f"file to mask, {name}: {stage}", ms, figures))
    return rows


def time_stages(parser: ConfigParser, network: nn.Module, image: Path, folder: Path) -> dict[str, float]:
    """Time in s of each stage from the file of a series to the files of its results, through the config's parts."""
    device = parser.get_parsed_content("device")
    inferer = parser.get_parsed_content("inferer")
    seconds: dict[str, float] = {}
    item: dict[str, Any] = {"image": str(image)}
    steps = _stages(parser, network, inferer, device, item, ResultWriter(folder / "results"))
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start_s = clock()
    for stage in steps:
        if device.type == "cuda":
            torch.cuda.synchronize()
        end_s = clock()
        seconds[stage] = seconds.get(stage, 0.0) + end_s - start_s
        start_s = clock()
    return seconds


def _stages(
    parser: ConfigParser,
    network: nn.Module,
    inferer: Callable[..., Tensor],
    device: torch.device,
    item: dict[str, Any],
    writer: ResultWriter,
) -> Iterator[str]:
    """Take the case through its stages, and name each when it is done."""
    names: dict[type, str] = {LoadCased: "reading", PerfusionMapsd: "maps"}
    for transform in parser.get_parsed_content("preprocessing").transforms:
        item = transform(item)
        yield names.get(type(transform), "transforms")
    batch = list_data_collate([item])
    yield "transforms"
    with torch.no_grad():
        prediction = inferer(batch["image"].to(device), network)
    yield NETWORK
    item = _segmented(parser, batch, prediction)
    yield "post-processing"
    writer.write_case(item)
    yield "writing"
