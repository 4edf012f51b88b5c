"""Settings that belong together, in files of the form of params.yaml with only the keys that they change."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from microseg.common.errors import InputError
from microseg.common.params import read_params
from microseg.common.yaml_files import read_yaml

# A shell splits what a command prints at spaces, and expands some of the other signs.
WORD = re.compile(r"[\w.,:/+\[\]-]+")


def read_preset(path: Path) -> dict[str, Any]:
    """Return the values of a preset, such as {"train.epochs": 20}; InputError where it is none."""
    content = read_yaml(path, "no such preset; those of this project are in the folder presets")
    if not isinstance(content, dict):
        raise InputError(f"{path}: sets nothing; write it like params.yaml, with only the keys that change")
    return dict(_leaves(content))


def options_of(preset: Path, params: Path) -> list[str]:
    """Return what a preset changes as options, such as ["-S", "train.epochs=20"].

    Raises:
        InputError: the file is no preset, or `params`, the parameter file, cannot take its values.
    """
    values = read_preset(preset)
    try:
        read_params(params, values)
    except InputError as error:
        raise InputError(f"{preset}: {error}") from error
    options = []
    for key, value in values.items():
        text = _spell(value)
        if not WORD.fullmatch(text):
            raise InputError(f"{preset}: {key}: {text!r} cannot be handed to a command; set it in params.yaml")
        options += ["-S", f"{key}={text}"]
    return options


def _leaves(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _spell(value: object) -> str:
    """Return a value as DVC reads it after the equals sign."""
    if isinstance(value, list):
        return f"[{','.join(map(_spell, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
