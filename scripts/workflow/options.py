"""The values of a config that people change, checked before MONAI evaluates any of them.

MONAI takes every override for a config: one with an unknown key does nothing, a text such as ``maybe`` counts as true,
and a text that begins with ``$`` runs as code. The workflows' first step looks at the config as text instead.
"""

from __future__ import annotations

import difflib
import inspect
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from ..io.errors import OptionError
from ..io.paths import bundle_root, is_installed
from .command_line import end_with_the_cause, typed_values

TEXT_KEYS = (
    *("image", "datalist", "dataset_dir", "section", "output_dir", "ckpt_dir", "ckpt_path", "last_path"),
    *("pretrained", "trt_path", "bundle_root", "times", "orientation", "series_uid", "cbf", "cbv", "mtt", "tmax"),
)
"""Keys whose value is a path or a name: text that comes from outside, never an expression."""

CASES = ("dataset#data", "train#dataset#data", "validate#dataset#data")
"""Where programs such as MONAI Label put lists of cases, with their paths."""

KNOWN = {"_meta_", "description", "finalize", "tracking_uri", "experiment_name", "run_name", "save_execute_config"}
"""Keys that MONAI or MONAI Label uses, besides those of the bundle's own configs."""

TRACKING_KEYS = ("tracking_uri", "experiment_name", "run_name")
"""Keys of experiment tracking, whose values MONAI Label takes from a request."""

_REFERENCE = re.compile(r"@(\w+)")
_JOINED = re.compile(r"\$?@\w+( \+ '[^'$@%]*')*")  # such as $@bundle_root + '/eval'
_DEVICE = re.compile(r"\$torch\.device\((['\"])\w+(:\d+)?\1\)")


def _is_switch(value: Any) -> bool:
    return value in (True, False)  # 3D Slicer sends 1 and 0


def _is_number(low: float, high: float = math.inf) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and low <= v <= high and math.isfinite(v)


def _is_count(low: int, high: float = math.inf) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def _is_widths(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(map(_is_count(1), value))


_SWITCH = (_is_switch, "True or False")
_SHARE = (_is_number(0, 1), "a number in [0, 1]")
_COUNT = (_is_count(1), "a whole number of at least 1")

RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("mirror", "amp", "resume", "overwrite", "synchronize_norms", "use_given_maps", "identify"), _SWITCH
    ),
    **dict.fromkeys(("cache_rate", "computed_maps", "elastic_probability"), _SHARE),
    **dict.fromkeys(("epochs", "batch_size", "image_size", "val_interval"), _COUNT),
    "min_lesion_ml": (_is_number(0), "a volume in ml, 0 or more"),
    "learning_rate": (_is_number(0), "a number, 0 or more"),
    **dict.fromkeys(("num_workers", "val_num_workers"), (_is_count(0), "a whole number, 0 or more")),
    "seed": (_is_count(0, 2**32 - 1), "a whole number from 0 to 4294967295"),
    "features": (_is_widths, "a list of whole numbers of at least 1"),
    "dt_s": (lambda v: v is None or (_is_number(0)(v) and v > 0), "a time in s above 0, or None for the header's"),
}
"""What a key's value must be, for the config's own value as for an override of it."""


def check_options() -> None:
    """Check the config that this is called from, as text; the first step of every workflow.

    Raises:
        OptionError: an overlay runs without its base, a key is not known, a value is of another kind or out of its
            range, or a path is an expression.
    """
    end_with_the_cause()
    config = _config()
    _check_keys(config)
    for key, typed in typed_values().items():
        if key in TEXT_KEYS and (typed != str(config.get(key)) or typed[:1] in ("$", "@", "%")):
            raise _not_plain(key, typed)
    shown = {key: value for key, value in config.get("displayable_configs", {}).items() if value != ""}  # blank: none
    for key, value in [*config.items(), *shown.items()]:
        check_value(key, value)
    _check_outputs(config)
    _check_max_epochs(_at(config, "train#trainer#max_epochs"))
    for key in CASES:
        cases = _at(config, key)
        for path in _texts(cases if isinstance(cases, list) else None):
            if _is_changed(path):
                raise _not_plain(key, path)
    _check_base(config)


def check_value(key: str, value: Any) -> None:
    """Check one value of a config, as text.

    Raises:
        OptionError: it is not what the key takes.
    """
    if key in TEXT_KEYS:
        _check_text(key, value)
    elif key == "device":
        _check_device(value)
    elif key in TRACKING_KEYS:
        if isinstance(value, str) and value[:1] in ("$", "@", "%") and value not in _own_values(key):
            raise OptionError(f"{key}: expected a plain text, got {value!r}, which MONAI evaluates")
    elif key in RULES and not (isinstance(value, str) and value[:1] in ("$", "@")):
        accepts, expected = RULES[key]
        if not accepts(value):
            raise OptionError(f"{key}: expected {expected}, got {value!r}")


def _config() -> dict[str, Any]:
    """The config whose evaluation called this module.

    MONAI passes evaluated values alone to what a config names, so that an argument would be evaluated before it could
    be checked. The parser is therefore taken from the call stack.
    """
    frame = inspect.currentframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser.get()
        frame = frame.f_back
    raise RuntimeError("check_options: expected a call by monai.bundle.ConfigParser, got another")


def _check_base(config: Mapping[str, Any]) -> None:
    """Raise OptionError for an overlay, such as ``evaluate.json``, that runs without the config that it changes."""
    used = {name for text in _texts(config) if text[:1] in ("$", "@") for name in _REFERENCE.findall(text)}
    if missing := sorted(used - config.keys()):
        raise OptionError(
            "config_file: expected an overlay after its base, such as --config_file "
            f"\"['configs/train.json','configs/evaluate.json']\", got a config without {', '.join(missing)}"
        )


def _check_keys(config: Mapping[str, Any]) -> None:
    """Raise OptionError for a key that no config of the bundle has and nothing refers to: another was meant."""
    used = {match for text in _texts(config) for match in _REFERENCE.findall(text)} | KNOWN
    used.update(*_shipped_configs())
    for key, value in config.items():
        runs = isinstance(value, list) and any(text[:1] == "$" for text in _texts(value))
        if key not in used and not isinstance(value, dict) and not runs:
            names = sorted(set(config) & used)
            near = difflib.get_close_matches(key, names, n=1)
            raise OptionError(
                f"{key}: expected a key of the config, got an unknown one; "
                + (f"did you mean '{near[0]}'?" if near else f"the config has {', '.join(names)}")
            )


def _check_outputs(config: Mapping[str, Any]) -> None:
    """Raise OptionError for default folders of outputs, which lie in the bundle's folder, if pip installed that."""
    for key in ("output_dir", *(("ckpt_dir",) if "train" in config else ())):
        if is_installed() and config.get(key) in _own_values(key):
            raise OptionError(f"{key}: expected a folder of yours, as the default lies in the installed package")


def _check_text(key: str, value: Any) -> None:
    if value is None or isinstance(value, (dict, os.PathLike)):  # a dict is a component of a config file
        return
    if isinstance(value, (list, tuple)) and key == "image":  # several series
        for path in value:
            _check_text(key, path)
        return
    if not isinstance(value, str):
        raise OptionError(f"{key}: expected a path or a name, got {value!r}; write it as \"'{value}'\" or as ./{value}")
    if _is_changed(value) and not _JOINED.fullmatch(value):
        raise _not_plain(key, value)


def _is_changed(text: str) -> bool:
    """Whether MONAI takes a text for something else: an expression, a reference, a macro or an id."""
    return text[:1] in ("$", "@", "%") or "#" in text or "::" in text


def _not_plain(key: str, value: str) -> OptionError:
    return OptionError(
        f"{key}: expected a plain path, got {value!r}, which MONAI's command line does not take as it is: it evaluates "
        "what begins with $, @ or %, and changes # and quotes; rename the file, or list it in a datalist"
    )


def _check_device(value: Any) -> None:
    if isinstance(value, torch.device) or value in _own_values("device"):
        return
    name = value[len("$torch.device('") : -len("')")] if isinstance(value, str) and _DEVICE.fullmatch(value) else value
    try:
        torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise OptionError(f"device: expected a device such as cpu, cuda or cuda:1, got {value!r}") from error


def _shipped_configs() -> list[dict[str, Any]]:
    folder = Path(bundle_root()) / "configs"
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def _own_values(key: str) -> list[Any]:
    """The values of a key in the bundle's configs and in MONAI's own settings of experiment tracking."""
    configs = _shipped_configs()
    tracking = [config.get("configs", {}) for config in (*configs, DEFAULT_MLFLOW_SETTINGS)]
    return [_at(config, key) for config in (*configs, *tracking)]


def _check_max_epochs(value: Any) -> None:
    """Check what MONAI Label takes from a request: a number, where the config has an expression."""
    if value in _own_values("train#trainer#max_epochs") or (isinstance(value, str) and _JOINED.fullmatch(value)):
        return
    if not _is_count(1)(value):
        raise OptionError(f"train#trainer#max_epochs: expected a whole number of at least 1, got {value!r}")


def _at(config: Any, key: str) -> Any:
    """The value of a nested key, such as ``train#trainer``; None where there is none."""
    for part in key.split("#"):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def _texts(item: Any) -> Iterator[str]:
    """Every string in a nested config."""
    if isinstance(item, str):
        yield item
    elif isinstance(item, Mapping):
        for value in item.values():
            yield from _texts(value)
    elif isinstance(item, (list, tuple)):
        for value in item:
            yield from _texts(value)
