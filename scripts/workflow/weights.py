"""Weights from a file: that it is whole, the one that is recorded, and holds a trained network."""

from __future__ import annotations

import json
import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from ..io.errors import WeightsError
from ..io.origin import sha256

RECORD = "provenance.json"
"""Lies beside the weights that ship and holds their SHA-256."""

_READABLE = "a checkpoint as torch.save writes it"

logger = logging.getLogger(__name__)


class CheckpointLoader:
    """Ignite handler that loads weights before the engine starts; takes the arguments of MONAI's.

    MONAI's loads whatever a file holds: NaN, which becomes a lesion of 0 ml, or zeros, which become one of 2 l.

    Args:
        load_path: the file, a state dict or a checkpoint that has one as ``model``.
        load_dict: ``{"model": network}``.
        map_location: device to load to.
    """

    def __init__(
        self, load_path: str | os.PathLike[str], load_dict: Mapping[str, nn.Module], map_location: Any = None
    ) -> None:
        self.path = Path(load_path)
        self.load_dict = dict(load_dict)
        self.map_location = map_location

    def attach(self, engine: Engine) -> None:
        """Register with the engine."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights.

        Raises:
            FileNotFoundError: there is no file.
            WeightsError: see :func:`read_weights`.
        """
        for name, network in self.load_dict.items():
            network.load_state_dict(read_weights(self.path, network, name, self.map_location))
        engine.logger.info(f"Restored all variables from {self.path}")


def read_weights(
    path: str | os.PathLike[str], network: nn.Module, name: str = "model", map_location: Any = None
) -> dict[str, Tensor]:
    """The state of a network from a file.

    Args:
        path: the file.
        network: the network that it is for.
        name: where a checkpoint of several objects holds it.
        map_location: device to load to.

    Raises:
        FileNotFoundError: there is no file.
        WeightsError: it cannot be read, is damaged, is not the shipped file though it stands in its place, is of
            another network, or holds values that no training leaves: NaN, infinity, or a constant convolution.
    """
    file = Path(path)
    if not file.is_file():
        got = "a folder" if file.is_dir() else "nothing there"
        raise FileNotFoundError(f"weights '{file}': expected a checkpoint, got {got}")
    check_record(file)
    _check_archive(file)
    try:
        states = torch.load(file, map_location=map_location, weights_only=True)
    except Exception as error:  # what damaged content leads its readers to has no bound
        raise _unreadable(file, error) from error
    if isinstance(states, Mapping) and isinstance(states.get(name), Mapping):
        states = states[name]
    _check_names(file, states, network.state_dict())
    _check_values(file, states)
    return states


def check_record(file: Path) -> None:
    """Compare a file with the SHA-256 that ``provenance.json`` beside it records for it, if there is one.

    Raises:
        WeightsError: they differ, or the record cannot be read.
    """
    recorded = recorded_sha256(file)
    if recorded is None:
        return
    found = sha256(file)
    if found != recorded:
        raise WeightsError(
            f"weights '{file}': expected SHA-256 {recorded}, which {RECORD} records for the weights that ship, "
            f"got {found}; fetch it again, or keep weights of your own under another name and pass --ckpt_path"
        )


def recorded_sha256(file: Path) -> str | None:
    """The SHA-256 that ``provenance.json`` beside a file of weights records for it; None where none does.

    Raises:
        WeightsError: the record cannot be read.
    """
    record = file.parent / RECORD
    if not record.is_file():
        return None
    try:
        weights = json.loads(record.read_text(encoding="utf-8"))["weights"]
        return str(weights["sha256"]) if Path(weights["file"]).name == file.name else None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WeightsError(f"weights '{file}': expected '{record}' to record their SHA-256, got {error!r}") from error


class RetireRecord:
    """Ignite handler that sets the record of the shipped weights aside once a training has replaced them.

    MONAI Label trains into the folder of the model. ``provenance.json`` then speaks of weights that are no longer
    there, and becomes ``provenance.replaced.json``.

    Args:
        path: the file that the training writes its best model to.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Register with the engine of the training, after the handlers that save."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._retire)

    def _retire(self, engine: Engine) -> None:
        state: Any = engine.state
        if state.rank != 0 or not self.path.is_file():
            return
        recorded = recorded_sha256(self.path)
        if recorded is not None and recorded != sha256(self.path):
            record = self.path.parent / RECORD
            record.replace(record.with_suffix(".replaced.json"))
            logger.warning("the training replaced '%s': %s, which is of other weights, is set aside", self.path, RECORD)


def _check_archive(file: Path) -> None:
    """Check that a checkpoint is a zip file whose records are stored as they are and whole (CRC-32).

    PyTorch takes what is no zip file for its format of before 2020, in which garbage has no end of errors; and a
    record that is packed may unpack to any size.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            if any(record.compress_type != zipfile.ZIP_STORED for record in records):
                raise zipfile.BadZipFile("packed records")
            if sum(record.file_size for record in records) > file.stat().st_size:
                raise zipfile.BadZipFile("records that are longer than the file")
            damaged = archive.testzip()
    except Exception as error:  # zipfile's own, and those of what a damaged directory leads it to
        raise _unreadable(file, error) from error
    if damaged is not None:
        raise _unreadable(file, f"the record '{damaged}' is damaged")


def _unreadable(file: Path, error: object) -> WeightsError:
    reason = (str(error) or type(error).__name__).splitlines()[0][:200]
    return WeightsError(f"weights '{file}': expected {_READABLE}, got a file that cannot be read ({reason})")


def _check_names(file: Path, states: Any, wanted: Mapping[str, Tensor]) -> None:
    if not isinstance(states, Mapping) or not all(isinstance(state, Tensor) for state in states.values()):
        raise WeightsError(f"weights '{file}': expected the state of a network, got {type(states).__name__} of others")
    missing, unknown = sorted(wanted.keys() - states.keys()), sorted(map(str, states.keys() - wanted.keys()))
    if missing or unknown:
        got = "; ".join(
            f"{what} {len(names)} keys such as '{names[0]}'"
            for what, names in (("without", missing), ("with", unknown))
            if names
        )
        raise WeightsError(f"weights '{file}': expected the {len(wanted)} parameters of the network, got others: {got}")
    for name, tensor in wanted.items():
        if states[name].shape != tensor.shape:
            got = f"{tuple(states[name].shape)}; are 'features' those of the weights?"
            raise WeightsError(f"weights '{file}': expected '{name}' of shape {tuple(tensor.shape)}, got {got}")


def _check_values(file: Path, states: Mapping[str, Tensor]) -> None:
    for name, tensor in states.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"weights '{file}': expected finite values, got NaN or infinity in '{name}'")
        # A convolution of one value is what zeroed or filled memory looks like: no initialization and no training of
        # these networks makes one.
        if tensor.dim() >= 4 and tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
            value = float(tensor.flatten()[0])
            raise WeightsError(f"weights '{file}': expected a trained network, got {value:g} everywhere in '{name}'")
