"""Switchable normalisation of (5, 64, 256, 256), forward and backward, in channels-last.

Its floor is memory: the input is read for the moments and for the affine map, which writes the output; the gradient and
the input are read for two sums and for the input's gradient, which is written. That makes eight streams, and three for
the forward pass in evaluation. The plain form takes the statistics of each of the three normalisations from the
tensor, by `mean` and `var`, and mixes them.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from scripts.networks import SwitchableNorm2d

from .floors import Run, copies, memory_floor_ms
from .measurement import TIMES_FASTER, TIMES_THE_FLOOR, Figure, Found, Measurement, Scaling, Settings, floor_row
from .timing import Timing, alternate, peak_memory_mib

HELP = "switchable normalisation against memory bandwidth, BatchNorm2d and the plain form"

SHAPE, QUICK_SHAPE = (5, 64, 256, 256), (2, 16, 64, 64)
TRAINING_STREAMS, EVALUATION_STREAMS = 8, 3
OFFSET = 100.0
TIMES_BATCH_NORM = "times BatchNorm2d"
MEMORY = "extra memory in input tensors"
DIFFERENCE = "largest difference from float64"


def measure(settings: Settings) -> Found:
    """Training in float32 and bfloat16, evaluation, and how time grows with the channels and the batch."""
    shape = QUICK_SHAPE if settings.quick else SHAPE
    rows = [
        *_training_rows(shape, torch.float32, settings),
        *_training_rows(shape, torch.bfloat16, settings),
        *_evaluation_rows(shape, settings),
    ]
    notes = [
        "Differences are those of outputs and of the input's gradient, relative where a value is above 1. In bfloat16 "
        f"the input's mean is {OFFSET:g}, where one step of the type is half a standard deviation.",
    ]
    return Found(rows, _scaling(shape, settings), notes)


def plain_switchable(x: Tensor, layer: SwitchableNorm2d) -> Tensor:
    """Switchable normalisation as its definition reads, all in the type of ``x``."""
    mean_mix = torch.softmax(layer.mean_weight, 0).to(x.dtype)
    var_mix = torch.softmax(layer.var_weight, 0).to(x.dtype)
    mean, var = torch.zeros_like(x[:, :, :1, :1]), torch.zeros_like(x[:, :, :1, :1])
    from_batch = ((0, 2, 3),) if layer.training else ()
    for index, dims in enumerate(((2, 3), (1, 2, 3), *from_batch)):  # instance, layer, batch
        mean = mean + mean_mix[index] * x.mean(dims, keepdim=True)
        var = var + var_mix[index] * x.var(dims, keepdim=True, correction=0)
    if not layer.training:
        mean = mean + (mean_mix[2] * layer.running_mean)[:, None, None]
        var = var + (var_mix[2] * layer.running_var)[:, None, None]
    weight, bias = (parameter.to(x.dtype)[:, None, None] for parameter in (layer.weight, layer.bias))
    return (x - mean) / torch.sqrt(var + layer.eps) * weight + bias


def _training_rows(shape: Sequence[int], dtype: torch.dtype, settings: Settings) -> list[Measurement]:
    half = dtype == torch.bfloat16
    x, grad_y = _tensors(shape, dtype, settings.device, OFFSET if half else 0.0)
    layer, batch_norm = SwitchableNorm2d(shape[1]).to(settings.device), nn.BatchNorm2d(shape[1]).to(settings.device)
    functions: dict[str, tuple[Callable[[Tensor], Tensor], nn.Module]] = {
        "ours": (layer, layer),
        "BatchNorm2d": (batch_norm, batch_norm),
        "plain": (partial(plain_switchable, layer=layer), layer),
    }
    runs: dict[str, Run] = {
        name: partial(_step, function, x, grad_y, module) for name, (function, module) in functions.items()
    }
    timings = alternate({**runs, **copies(x.device)}, settings.repeats, x.device)
    floor_ms = memory_floor_ms(TRAINING_STREAMS, x.nbytes, timings)
    expected = _step(partial(plain_switchable, layer=layer), x.double(), grad_y.double(), layer)[:2]
    prefix = f"{str(dtype).removeprefix('torch.')}, forward and backward"
    rows = []
    for name, run in runs.items():
        figures = {
            TIMES_THE_FLOOR: Figure(timings[name].median_ms / floor_ms, 1.6 if name == "ours" and not half else None),
            MEMORY: Figure(_memory(run, x), 2.1 if name == "ours" else None),
        }
        if name == "ours":
            figures[TIMES_BATCH_NORM] = Figure(_ratio(timings, name, "BatchNorm2d"), 1.5 if half else 1.3)
            figures[TIMES_FASTER] = Figure(_ratio(timings, "plain", name), None if half else 10.0, True)
        if name != "BatchNorm2d":
            found = _step(functions[name][0], x, grad_y, layer)[:2]
            lost = float((~found[0].isfinite()).float().mean())
            figures["not finite"] = Figure(100 * lost, 0.0 if name == "ours" else None, unit="%")
            if lost == 0:
                difference = _difference(found, expected)
                figures[DIFFERENCE] = Figure(difference, 1e-2 if half and name == "ours" else None, unit="")
        rows.append(Measurement(f"{prefix}: {name}", timings[name], figures))
    rows.append(floor_row(f"{prefix}: floor", floor_ms))
    return rows


def _tensors(shape: Sequence[int], dtype: torch.dtype, device: torch.device, offset: float) -> tuple[Tensor, Tensor]:
    """Input and gradient of the output, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    x, grad_y = (torch.randn(*shape, generator=generator) for _ in range(2))
    return (
        (x + offset).to(device, dtype, memory_format=torch.channels_last),
        grad_y.to(device, dtype, memory_format=torch.channels_last),
    )


def _step(function: Callable[[Tensor], Tensor], x: Tensor, grad_y: Tensor, module: nn.Module) -> tuple[Tensor, ...]:
    """Output, gradient of the input, and those of the parameters."""
    leaf = x.detach().requires_grad_()
    y = function(leaf)
    return y.detach(), *torch.autograd.grad(y, (leaf, *module.parameters()), grad_y)


def _ratio(timings: dict[str, Timing], name: str, other: str) -> float:
    return timings[name].median_ms / timings[other].median_ms


def _memory(run: Run, x: Tensor) -> float:
    return peak_memory_mib(run, x.device) * 2**20 / x.nbytes


def _difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference of values, relative where those expected are above 1; NaN where one is."""
    return max(
        float(((a.double() - b).abs() / b.abs().clamp(min=1)).max()) for a, b in zip(found, expected, strict=True)
    )


def _evaluation_rows(shape: Sequence[int], settings: Settings) -> list[Measurement]:
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        x, _ = _tensors(shape, dtype, settings.device, 0.0)
        layer = SwitchableNorm2d(shape[1]).to(settings.device).eval()
        ours = partial(_forward, layer, x)
        timings = alternate({"ours": ours, **copies(x.device)}, settings.repeats, x.device)
        floor_ms = memory_floor_ms(EVALUATION_STREAMS, x.nbytes, timings)
        wanted = 1.7 if dtype == torch.float32 else None
        figures = {
            TIMES_THE_FLOOR: Figure(timings["ours"].median_ms / floor_ms, wanted),
            MEMORY: Figure(_memory(ours, x)),
        }
        prefix = f"{str(dtype).removeprefix('torch.')}, forward in evaluation"
        rows += [Measurement(f"{prefix}: ours", timings["ours"], figures), floor_row(f"{prefix}: floor", floor_ms)]
    return rows


def _forward(layer: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return layer(x)


def _scaling(shape: Sequence[int], settings: Settings) -> list[Scaling]:
    """Against the channels of a batch, and against the items."""
    items, channels, *pixels = shape
    counts = [channels // 2, channels] if settings.quick else [channels // 4, channels // 2, channels, 2 * channels]
    sizes = list(range(1, items + 1))
    return [
        _grown("channels", counts, [(items, count, *pixels) for count in counts], settings),
        _grown("items of a batch", sizes, [(size, channels, *pixels) for size in sizes], settings),
    ]


def _grown(axis: str, points: list[int], shapes: list[tuple[int, ...]], settings: Settings) -> Scaling:
    """Training in float32 at some shapes, one after the other, as their tensors are large."""
    names = ("ours", "BatchNorm2d")
    time_ms: dict[str, list[float]] = {name: [] for name in names}
    memory_mib: dict[str, list[float]] = {name: [] for name in names}
    for shape in shapes:
        x, grad_y = _tensors(shape, torch.float32, settings.device, 0.0)
        layers = [SwitchableNorm2d(shape[1]).to(x.device), nn.BatchNorm2d(shape[1]).to(x.device)]
        runs = {name: partial(_step, layer, x, grad_y, layer) for name, layer in zip(names, layers, strict=True)}
        for name, timing in alternate(runs, min(settings.repeats, 5), x.device).items():
            time_ms[name].append(timing.median_ms)
            memory_mib[name].append(peak_memory_mib(runs[name], x.device))
    return Scaling(axis, points, time_ms, memory_mib)
