"""Settings of experiments: values on the command line, the grid of a sweep, and presets in files."""

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from microseg.common.errors import InputError
from microseg.common.params_file import check_key, flat_params, flatten, read_params, read_yaml

SHORT_NAMES = {"split.sample_size": "n", "train.epochs": "e"}
"""The parameters in the name of every experiment, swept or not, each with its letter."""

LONGEST_NAME = 120
"""With what git and DVC add, longer names would exceed the limit of file systems (255 bytes)."""

SHELL_SAFE = re.compile(r"[\w.,:/+\[\]-]+")
"""Values that a shell neither splits at spaces nor expands."""


@dataclass(frozen=True)
class Experiment:
    """One experiment of a sweep."""

    name: str
    overrides: tuple[str, ...]
    """The values given to `dvc exp run -S`, such as "split.sample_size=25"."""
    values: Mapping[str, object]
    """The value of every parameter of params.yaml in this experiment."""


def build_grid(settings: Sequence[str], params_path: Path) -> list[Experiment]:
    """Return an experiment for each combination of the values in `settings`, such as ["train.epochs=5,10"].

    Of several settings of one key, the last counts, as in `dvc exp run`: what follows a preset changes it. After
    one with several values it is an error, since it may be meant as one more value of the sweep.

    The name has the sample size and the number of epochs ("n25-e20", "nall-e20"), then the other parameters that
    are swept or differ from the parameter file ("n25-e20-lr0.01").
    """
    options: dict[str, list[str]] = {}
    for text in settings:
        key, values_of_key = parse_setting(text)
        if len(options.get(key, ())) > 1:
            raise InputError(f"{key} is given twice; write all its values after one -S, as in {key}=1,2")
        options[key] = values_of_key
    defaults = flat_params(params_path)
    experiments: dict[str, Experiment] = {}
    for texts in itertools.product(*options.values()):
        changes = {key: parse_value(text) for key, text in zip(options, texts, strict=True)}
        values = flat_params(params_path, changes)
        named = [key for key, choices in options.items() if len(choices) > 1 or values[key] != defaults[key]]
        overrides = tuple(f"{key}={text}" for key, text in zip(options, texts, strict=True))
        experiment = Experiment(experiment_name(values, named), overrides, values)
        known = experiments.setdefault(experiment.name, experiment)
        if known.values != values:
            keys = list(options)
            raise InputError(f"two experiments would be called {known.name}; sweep over one of {keys} at a time")
    return list(experiments.values())


def parse_setting(text: str) -> tuple[str, list[str]]:
    """Split "train.lr=0.1,0.01" into its key and values; a comma in brackets is part of a value."""
    key, equals, values = text.partition("=")
    parts = [part.strip() for part in re.split(r",(?![^\[]*\])", values)]
    if not equals or not all(parts):
        raise InputError(f"{text!r} is not a setting; write KEY=VALUE or KEY=VALUE,VALUE, as in train.epochs=5,10")
    check_key(key)
    return key, parts


def parse_value(text: str) -> object:
    """Return the value that `text` stands for in params.yaml; InputError where it is not valid there."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise InputError(f"{text!r} is not a value that params.yaml can hold; quote or correct it") from error


def experiment_name(values: Mapping[str, object], named: Sequence[str]) -> str:
    """Return a name, usable as a git reference, from the values of SHORT_NAMES and of the keys `named`.

    A name longer than LONGEST_NAME ends in a digest of itself instead.
    """
    parts = []
    for key, letter in SHORT_NAMES.items():
        parts.append(f"{letter}all" if values[key] is None else f"{letter}{_word(values[key])}")
    for key in named:
        if key not in SHORT_NAMES:
            leaf, value = key.rsplit(".", 1)[-1], values[key]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            parts.append(f"{leaf}{str(value).removesuffix('.0')}" if number else f"{leaf}-{_word(value)}")
    name = "-".join(parts)
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - len(digest) - 1].rstrip('-.')}-{digest}"


def _word(value: object) -> str:
    if isinstance(value, list):
        return "-".join(map(_word, value)) or "none"
    return "none" if value is None else re.sub(r"[^A-Za-z0-9]+", "-", str(value)).strip("-").lower()


def preset_options(preset: Path, params: Path) -> list[str]:
    """Return the settings of a preset, which `params` has to take, as options: ["-S", "train.epochs=20"]."""
    values = read_preset(preset)
    try:
        read_params(params, values)
    except InputError as error:
        raise InputError(f"{preset}: {error}") from error
    options = []
    for key, value in values.items():
        text = as_text(value)
        if not SHELL_SAFE.fullmatch(text):
            raise InputError(
                f"{preset}: {key}: {text!r} cannot be passed on a command line; set it in params.yaml"
            )
        options += ["-S", f"{key}={text}"]
    return options


def read_preset(path: Path) -> dict[str, Any]:
    """Return the values of a preset by key, such as {"train.epochs": 20}; InputError where it is not a preset."""
    content = read_yaml(path, "no such preset; those of this project are in the folder presets")
    if not isinstance(content, dict):
        raise InputError(f"{path}: has no settings; write it like params.yaml, with only the keys to change")
    return flatten(content)


def as_text(value: object) -> str:
    """Return a value as DVC reads it on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(as_text, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
