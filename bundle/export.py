"""Export the network and its weights as TorchScript or ONNX; the file appears once it agrees with PyTorch."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from monai.data import save_net_with_metadata
from monai.utils import optional_import
from torch import Tensor, nn
from torch.export import Dim

from scripts.io import atomic_path
from scripts.networks.unet import EncoderDecoder

from .steps import ROOT, WEIGHTS, check_weights

onnx, _ = optional_import("onnx")
onnxruntime, HAS_ONNXRUNTIME = optional_import("onnxruntime")
HAS_ONNXSCRIPT = optional_import("onnxscript")[1]

HELP = "write the network as TorchScript or ONNX, compared with PyTorch"

OPSET = 20
TOLERANCE = 1e-4
"""Of the logits: the largest difference, in units of the largest logit where that is above 1."""

INFERENCE, METADATA = ROOT / "configs" / "inference.json", ROOT / "configs" / "metadata.json"

Forward = Callable[[Tensor], Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--format", choices=sorted(FORMATS), required=True, help="ts is TorchScript")
    parser.add_argument("--out", type=Path, help="default: dist/model.ts or dist/model.onnx")
    parser.add_argument("--ckpt-path", type=Path, default=WEIGHTS, help="default: the shipped weights")
    parser.add_argument("--features", type=int, nargs="+", metavar="N", help="widths of the weights; default: config's")


def run(args: argparse.Namespace) -> None:
    """Export, and print how well the file agrees with PyTorch."""
    out = args.out or ROOT / "dist" / f"model.{args.format}"
    network = load_network(args.ckpt_path, args.features)
    for shape, difference in export(network, args.format, out).items():
        print(f"input {' x '.join(map(str, shape))}: largest difference from PyTorch {difference:.1e}")
    print(f"{args.format}{f', opset {OPSET}' if args.format == 'onnx' else ''} -> {out}")


def load_network(ckpt_path: Path, features: Sequence[int] | None = None) -> nn.Module:
    """The network of `configs/inference.json` with its weights, in evaluation mode.

    Args:
        ckpt_path: the weights.
        features: its widths, where they are not those of the config.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: they are those of another network.
    """
    parser = ConfigParser(ConfigParser.load_config_file(INFERENCE))
    if features is not None:
        parser["features"] = list(features)
    network = parser.get_parsed_content("network_def")
    state = torch.load(check_weights(ckpt_path), map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"ckpt_path '{ckpt_path}': expected the weights of widths {parser['features']}, got others (see --features)"
        ) from error
    return network.eval()


def export(network: nn.Module, form: str, out: Path) -> dict[tuple[int, ...], float]:
    """Write a network, and read it back to compare it with the network.

    Args:
        network: maps (N, C, H, W) to logits; in evaluation mode.
        form: a key of `FORMATS`.
        out: where the file appears, if it is right.

    Returns:
        The largest absolute difference of the logits for each compared shape of the input.

    Raises:
        ValueError: the file differs from the network by more than `TOLERANCE`, or a package is missing.
    """
    write, read = FORMATS[form]
    with atomic_path(out) as temporary:
        write(network, temporary)
        return compare(network, read(temporary), input_shapes(network))


def compare(network: Forward, other: Forward, shapes: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], float]:
    """The largest absolute difference of two functions on random inputs in (0, 1) of each shape.

    Raises:
        ValueError: one is above the tolerance.
    """
    generator = torch.Generator().manual_seed(0)
    differences = {}
    for shape in shapes:
        image = torch.rand(shape, generator=generator)
        with torch.inference_mode():
            expected = network(image)
            differences[shape] = (other(image) - expected).abs().max().item()
        allowed = TOLERANCE * max(1.0, expected.abs().max().item())
        if not differences[shape] <= allowed:  # NaN too is a disagreement
            raise ValueError(
                f"the exported network: expected the logits of PyTorch to {allowed:.1e} for an input of shape "
                f"{list(shape)}, got a difference of {differences[shape]:.1e}"
            )
    return differences


def input_shapes(network: nn.Module) -> list[tuple[int, ...]]:
    """Shapes to compare: several batches; the size of the configs, odd sizes, the smallest that the network takes."""
    channels, smallest = _channels(), _smallest_size(network)
    sizes = [(1, 256, 256), (2, smallest, smallest), (3, 2 * smallest + 5, 3 * smallest + 3), (5, 4 * smallest, 33)]
    return [(batch, channels, height, max(width, smallest)) for batch, height, width in sizes]


def _channels() -> int:
    """Of the input, by the metadata."""
    return int(_metadata()["network_data_format"]["inputs"]["image"]["num_channels"])


def _metadata() -> dict:
    return json.loads(METADATA.read_text(encoding="utf-8"))


def _smallest_size(network: nn.Module) -> int:
    return max([int(module.min_size) for module in network.modules() if isinstance(module, EncoderDecoder)], default=1)


def write_torchscript(network: nn.Module, path: Path) -> None:
    """Script a network and save it as MONAI does, with the metadata and the inference config inside."""
    save_net_with_metadata(
        torch.jit.script(network),
        str(path),
        include_config_vals=False,
        append_timestamp=False,
        meta_values=_metadata(),
        more_extra_files={INFERENCE.name: INFERENCE.read_bytes()},
    )


def read_torchscript(path: Path) -> Forward:
    """The function in a TorchScript file, on a CPU."""
    return torch.jit.load(str(path), map_location="cpu")


def write_onnx(network: nn.Module, path: Path) -> None:
    """Save a network as ONNX, whose input `image` and output `pred` have any batch, height and width.

    Raises:
        ValueError: a package that writes or reads ONNX is missing.
    """
    if not (HAS_ONNXRUNTIME and HAS_ONNXSCRIPT):
        raise ValueError("--format onnx: expected the packages onnx, onnxscript and onnxruntime, got not all of them")
    # The graph is that of the example's sizes. Odd ones at every level make it pad in every decoder block; for even
    # sizes the same padding is by nothing. Two in the batch, for 1 would be taken as a constant.
    size = max(2, _smallest_size(network))
    example = torch.rand(2, _channels(), 4 * size - 1, 6 * size - 1)
    dynamic = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    program = torch.export.export(network, (example,), dynamic_shapes=(dynamic,))
    exported = torch.onnx.export(
        program, dynamo=True, opset_version=OPSET, input_names=["image"], output_names=["pred"], verbose=False
    )
    if exported is None:  # by its type, where it writes a file itself
        raise ValueError("torch.onnx.export: expected a model, got nothing")
    model = exported.model_proto
    names = {0: "batch", 2: "height", 3: "width"}
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in names.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    metadata = _metadata()
    onnx.helper.set_model_props(model, {key: metadata[key] for key in ("name", "version", "intended_use", "copyright")})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def read_onnx(path: Path) -> Forward:
    """The function in an ONNX file, by ONNX Runtime on a CPU."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["pred"], {"image": image.numpy()})[0])


FORMATS: Mapping[str, tuple[Callable[[nn.Module, Path], None], Callable[[Path], Forward]]] = {
    "ts": (write_torchscript, read_torchscript),
    "onnx": (write_onnx, read_onnx),
}
