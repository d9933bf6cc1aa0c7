"""Export the network and its weights by MONAI's own verbs; the file appears once it agrees with PyTorch."""

import argparse
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export
from monai.utils import optional_import
from torch import Tensor, nn

from scripts.io import atomic_path
from scripts.networks.unet import EncoderDecoder

from .provenance import ROOT
from .run import WEIGHTS, check_weights

onnx, HAS_ONNX = optional_import("onnx")
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
    for shape, difference in export(args.format, out, args.ckpt_path, args.features).items():
        print(f"input {' x '.join(map(str, shape))}: largest difference from PyTorch {difference:.1e}")
    print(f"{args.format}{f', opset {OPSET}' if args.format == 'onnx' else ''} -> {out}")


def export(
    form: str, out: Path, ckpt_path: Path = WEIGHTS, features: Sequence[int] | None = None
) -> dict[tuple[int, ...], float]:
    """Write the network of `configs/inference.json` with weights, and read it back to compare it with PyTorch's.

    Args:
        form: a key of `FORMATS`.
        out: where the file appears, if it is right.
        ckpt_path: the weights.
        features: their widths, where they are not those of the config.

    Returns:
        The largest absolute difference of the logits for each compared shape of the input.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: they are those of another network, the file differs from PyTorch by more than `TOLERANCE`, or a
            package is missing.
    """
    overrides = {} if features is None else {"features": list(features)}
    network = load_network(ckpt_path, overrides)
    logging.getLogger("monai.bundle.scripts").setLevel(logging.WARNING)  # MONAI prints every argument
    write, read = FORMATS[form]
    with atomic_path(out) as temporary:
        files = {"ckpt_file": str(ckpt_path), "meta_file": str(METADATA), "config_file": str(INFERENCE)}
        write(filepath=str(temporary), net_id="network_def", **files, **overrides)
        return compare(network, read(temporary), input_shapes(network))


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
    channels, least = int(_metadata()["network_data_format"]["inputs"]["image"]["num_channels"]), smallest_size(network)
    sizes = [(1, 256, 256), (2, least, least), (3, 2 * least + 5, 3 * least + 3), (5, 4 * least, 33)]
    return [(batch, channels, height, max(width, least)) for batch, height, width in sizes]


def smallest_size(network: nn.Module) -> int:
    """Pixels along each side of the smallest slice that the network takes."""
    return max([int(module.min_size) for module in network.modules() if isinstance(module, EncoderDecoder)], default=1)


def _metadata() -> dict[str, Any]:
    return json.loads(METADATA.read_text(encoding="utf-8"))


def write_onnx(filepath: str, **arguments: Any) -> None:
    """Write ONNX whose input `image` and output `pred` have any batch, height and width, and which says what it is.

    Raises:
        ValueError: a package that writes or reads ONNX is missing.
    """
    if not (HAS_ONNX and HAS_ONNXRUNTIME and HAS_ONNXSCRIPT):
        raise ValueError("--format onnx: expected the packages onnx, onnxscript and onnxruntime, got not all of them")
    # The graph is that of the example's sizes. Odd ones at every level make it pad in every decoder block; for even
    # sizes the same padding is by nothing. Two in the batch, for 1 would be taken as a constant.
    example = (2, *input_shapes(nn.Identity())[0][1:2], 63, 95)
    axes = {0: "batch", 2: "height", 3: "width"}
    options = {"dynamo": True, "dynamic_shapes": (axes,), "opset_version": OPSET, "verbose": False}
    options |= {"input_names": ["image"], "output_names": ["pred"]}
    onnx_export(filepath=filepath, input_shape=example, use_trace=True, converter_kwargs=options, **arguments)
    model, metadata = onnx.load(filepath), _metadata()
    onnx.helper.set_model_props(model, {key: metadata[key] for key in ("name", "version", "intended_use", "copyright")})
    onnx.save(model, filepath)


def read_onnx(path: Path) -> Forward:
    """The function in an ONNX file, by ONNX Runtime on a CPU."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["pred"], {"image": image.numpy()})[0])


FORMATS: Mapping[str, tuple[Callable[..., None], Callable[[Path], Forward]]] = {
    "ts": (ckpt_export, partial(torch.jit.load, map_location="cpu")),
    "onnx": (write_onnx, read_onnx),
}
