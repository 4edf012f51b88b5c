"""Settings of experiments: values on the command line, presets in files, and the grid of a sweep."""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from microseg.common.errors import InputError
from microseg.common.params import check_key, flat_params, read_params, read_yaml

SHORT_NAMES = {"split.sample_size": "n", "train.epochs": "e"}
"""What every experiment is called after, whether swept or not, with the letters that stand for it."""

LONGEST_NAME = 120
"""Longer names would exceed what file systems allow (255 bytes), together with what git and DVC add to them."""


@dataclass(frozen=True)
class Experiment:
    """One experiment of a sweep."""

    name: str
    overrides: tuple[str, ...]
    """What `dvc exp run -S` is given, such as "split.sample_size=25"."""
    values: Mapping[str, object]
    """The value of every parameter of params.yaml in this experiment."""


def parse_setting(text: str) -> tuple[str, list[str]]:
    """Split "train.lr=0.1,0.01" into the key and its values; a comma in brackets belongs to a value.

    Raises:
        InputError: there is no key or no value, or params.yaml has no such key.
    """
    key, equals, values = text.partition("=")
    parts = [part.strip() for part in re.split(r",(?![^\[]*\])", values)]
    if not equals or not all(parts):
        raise InputError(f"{text!r} sets nothing; write KEY=VALUE or KEY=VALUE,VALUE, as in train.epochs=5,10")
    check_key(key)
    return key, parts


def parse_value(text: str) -> object:
    """Return what `text` means as a value in params.yaml. InputError where it means nothing there."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise InputError(f"{text!r} is not a value that params.yaml can hold") from error


def build_grid(settings: Sequence[str], params_path: Path) -> list[Experiment]:
    """Return an experiment for each combination of the values in `settings`, such as ["train.epochs=5,10"].

    The name says the size of the sample and the number of epochs ("n25-e20", "nall-e20"), then what else is swept
    or set to another value than the parameter file has ("n25-e20-lr0.01").

    Raises:
        InputError: a key is unknown or given twice, a value is out of range, or two experiments get one name.
    """
    parsed = [parse_setting(text) for text in settings]
    keys = [key for key, _ in parsed]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise InputError(f"{twice} is given twice; write all its values after one -S, as in {twice}=1,2")
    here = flat_params(read_params(params_path))
    experiments: dict[str, Experiment] = {}
    for texts in itertools.product(*(values for _, values in parsed)):
        changes = {key: parse_value(text) for key, text in zip(keys, texts, strict=True)}
        values = flat_params(read_params(params_path, changes))
        named = [key for key, options in parsed if len(options) > 1 or values[key] != here[key]]
        overrides = tuple(f"{key}={text}" for key, text in zip(keys, texts, strict=True))
        experiment = Experiment(experiment_name(values, named), overrides, values)
        known = experiments.setdefault(experiment.name, experiment)
        if known.values != values:
            raise InputError(f"two experiments would be called {known.name}; sweep over one of {keys} at a time")
    return list(experiments.values())


def experiment_name(values: Mapping[str, object], named: Sequence[str]) -> str:
    """Return a name, usable as a git reference, that says the values of SHORT_NAMES and of the keys `named`.

    One that would be longer than LONGEST_NAME ends in a digest of itself instead.
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
