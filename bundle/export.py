"""Export the network and its weights by MONAI's own verbs; the file appears once it agrees with PyTorch."""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export
from monai.utils import optional_import
from torch import Tensor, nn

from scripts.io import atomic_path

from .provenance import ROOT
from .run import WEIGHTS, check_weights

onnx, HAS_ONNX = optional_import("onnx")
onnxruntime, HAS_ONNXRUNTIME = optional_import("onnxruntime")
HAS_ONNXSCRIPT = optional_import("onnxscript")[1]

HELP = "write the network as TorchScript or ONNX, compared with PyTorch"

TOLERANCE = 1e-4
"""Of the logits: the largest difference, in units of the largest logit where that is above 1."""
SIZES = ((1, 256, 256), (2, 16, 16), (3, 37, 51), (5, 64, 33))
"""Batch, height and width that are compared: the size of the configs, the smallest, and odd ones."""
INFERENCE, METADATA, ONNX = (
    ROOT / "configs" / name for name in ("inference.json", "metadata.json", "export/onnx.json")
)

Forward = Callable[[Tensor], Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--format", choices=["onnx", "ts"], required=True, help="ts is TorchScript")
    parser.add_argument("--out", type=Path, help="default: dist/model.ts or dist/model.onnx")
    parser.add_argument("--ckpt-path", type=Path, default=WEIGHTS, help="default: the shipped weights")
    parser.add_argument("--features", type=int, nargs="+", metavar="N", help="widths of the weights; default: config's")


def run(args: argparse.Namespace) -> None:
    """Export, and print how well the file agrees with PyTorch."""
    out = args.out or ROOT / "dist" / f"model.{args.format}"
    for size, difference in export(args.format, out, args.ckpt_path, args.features).items():
        print(f"input {' x '.join(map(str, size))}: largest difference from PyTorch {difference:.1e}")
    print(f"{args.format} -> {out}")


def export(
    form: str, out: Path, ckpt_path: Path = WEIGHTS, features: Sequence[int] | None = None
) -> dict[tuple[int, ...], float]:
    """Write the network of `configs/inference.json` with weights, and read it back to compare it with PyTorch's.

    Args:
        form: `ts` or `onnx`.
        out: where the file appears, if it is right.
        ckpt_path: the weights.
        features: their widths, where they are not those of the config.

    Returns:
        The largest absolute difference of the logits for each of `SIZES`.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: they are those of another network, the file differs from PyTorch by more than `TOLERANCE`, or a
            package is missing.
    """
    overrides: dict[str, Any] = {} if features is None else {"features": list(features)}
    network = load_network(ckpt_path, overrides)
    logging.getLogger("monai.bundle.scripts").setLevel(logging.WARNING)  # MONAI prints every argument
    files: dict[str, Any] = {"ckpt_file": str(ckpt_path), "meta_file": str(METADATA), "config_file": str(INFERENCE)}
    with atomic_path(out) as temporary:
        if form == "ts":
            ckpt_export(net_id="network_def", filepath=str(temporary), **files, **overrides)
            return compare(network, torch.jit.load(temporary, map_location="cpu"))
        write_onnx(temporary, {**files, **overrides})
        return compare(network, read_onnx(temporary))


def load_network(ckpt_path: Path, overrides: Mapping[str, Any]) -> nn.Module:
    """The network of `configs/inference.json` with weights, in evaluation mode; errors are those of :func:`export`."""
    parser = ConfigParser(ConfigParser.load_config_file(INFERENCE))
    parser.update(dict(overrides))
    network = parser.get_parsed_content("network_def")
    state = torch.load(check_weights(ckpt_path), map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"ckpt_path '{ckpt_path}': expected the weights of widths {parser['features']}, got others (see --features)"
        ) from error
    return network.eval()


def compare(network: Forward, other: Forward) -> dict[tuple[int, ...], float]:
    """The largest absolute difference of two functions on random inputs in (0, 1) of each of `SIZES`.

    Raises:
        ValueError: one is above the tolerance.
    """
    channels = ConfigParser.load_config_file(METADATA)["network_data_format"]["inputs"]["image"]["num_channels"]
    generator = torch.Generator().manual_seed(0)
    differences: dict[tuple[int, ...], float] = {}
    for batch, height, width in SIZES:
        image = torch.rand((batch, channels, height, width), generator=generator)
        with torch.inference_mode():
            expected = network(image)
            difference = (other(image) - expected).abs().max().item()
        allowed = TOLERANCE * max(1.0, expected.abs().max().item())
        if not difference <= allowed:  # NaN too is a disagreement
            raise ValueError(
                f"the exported network: expected the logits of PyTorch to {allowed:.1e} for an input of shape "
                f"{list(image.shape)}, got a difference of {difference:.1e}"
            )
        differences[tuple(image.shape)] = difference
    return differences


def write_onnx(path: Path, arguments: Mapping[str, Any]) -> None:
    """Write ONNX as `configs/export/onnx.json` says, with names of the free axes and what the metadata say of it.

    Raises:
        ValueError: a package that writes or reads ONNX is missing.
    """
    if not (HAS_ONNX and HAS_ONNXRUNTIME and HAS_ONNXSCRIPT):
        raise ValueError("--format onnx: expected the packages onnx, onnxscript and onnxruntime, got not all of them")
    onnx_export(args_file=str(ONNX), filepath=str(path), **arguments)
    model, metadata = onnx.load(path), ConfigParser.load_config_file(METADATA)
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in {0: "batch", 2: "height", 3: "width"}.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.helper.set_model_props(model, {key: metadata[key] for key in ("name", "version", "intended_use", "copyright")})
    onnx.save(model, path)


def read_onnx(path: Path) -> Forward:
    """The function in an ONNX file, by ONNX Runtime on a CPU."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["pred"], {"image": image.numpy()})[0])
