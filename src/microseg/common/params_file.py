"""Reading params.yaml: what is wrong in it is reported by key, and old names with the new ones."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from microseg.common.errors import InputError, nearest
from microseg.common.params import PARAMETER_KEYS, Params

PARAMS = Path("params.yaml")
"""The parameter file, as seen from the top folder of the project, in which commands run."""

RENAMED = {
    "train.encoder_lr": "train.encoder_lr_multiplier",
    "train.normalisation": "train.norm_layer",
    "train.scale": "train.downsample",
    "train.crop": "train.crop_size",
    "train.foreground_fraction": "train.foreground_oversampling",
    "train.accumulate_batches": "train.accumulate_grad_batches",
    "train.fall": "train.decay_fraction",
    "train.weight_average": "train.ema_decay",
    "train.gradient_clip": "train.max_grad_norm",
    "train.early_stopping": "train.early_stopping_patience",
    "train.keep": "train.checkpoint",
    "train.keep_epochs": "train.checkpoint_epochs",
    "train.grey_values": "train.input_normalization",
    "train.augment.symmetries": "train.augment.flips",
    "train.augment.noise": "train.augment.noise_std",
    "train.augment.blur": "train.augment.blur_sigma",
    "train.augment.zoom": "train.augment.scale_jitter",
    "train.augment.erase": "train.augment.random_erasing",
    "train.workers": "train.num_workers",
    "train.nodes": "train.num_nodes",
    "predict.parts": "predict.subset",
    "predict.calibrate": "predict.temperature_scaling",
    "predict.tile": "predict.tile_size",
    "predict.overlap": "predict.tile_overlap",
    "predict.symmetries": "predict.tta",
}
"""Keys that were renamed in version 0.2, with their new names."""

RENAMED_VALUES = {
    ("train.schedule", "rise_hold_fall"): "wsd",
    ("train.input_normalization", "per_image"): "zscore",
    ("train.augment.flips", "all"): "d4",
    ("train.augment.flips", "mirror"): "hflip",
    ("predict.tta", "all"): "d4",
    ("predict.tta", "mirror"): "hflip",
}
"""Values that were renamed in version 0.2, by key and old value."""


def read_params(path: Path, changes: Mapping[str, object] | None = None) -> Params:
    """Read and check a parameter file after replacing values by `changes`, such as {"train.epochs": 5}.

    Raises:
        InputError: there is no such file, or it is not valid; one line per problem.
    """
    return _check(_read_content(path, changes or {}), path)


def flat_params(path: Path, changes: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return the value of every parameter, such as {"train.epochs": 20}, in the order of PARAMETER_KEYS.

    Values are those of the file and of `changes`, checked but not converted, as in DVC's table of experiments.
    Raises what `read_params` raises.
    """
    content = _read_content(path, changes or {})
    _check(content, path)
    flat = flatten(cast("dict[str, Any]", content))
    return {key: flat[key] for key in PARAMETER_KEYS}


def _read_content(path: Path, changes: Mapping[str, object]) -> object:
    content = read_yaml(path, "no such parameter file; run from the top folder of the project")
    for key, value in changes.items():
        check_key(key)
        _set(content, key.split("."), value)
    return content


def _check(content: object, path: Path) -> Params:
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        problems = map(_describe, _without_new_names_of_old_keys([*map(dict, error.errors())]))
        raise InputError("\n       ".join(f"{path}: {problem}" for problem in problems)) from None


def read_yaml(path: Path, missing: str) -> object:
    """Return the content of a YAML file; InputError, with the text `missing`, if there is none.

    DVC reads params.yaml with the same library: 1e-4 is a number for both, but text for PyYAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: {missing}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def _set(content: Any, path: Sequence[str], value: object) -> None:
    """Set one value in nested sections; validation reports anything that is not a section."""
    for name in path[:-1]:
        content = content.get(name) if isinstance(content, dict) else None
    if isinstance(content, dict):
        content[path[-1]] = value


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted keys: {"train": {"epochs": 20}} becomes {"train.epochs": 20}."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def check_key(key: str) -> None:
    """Raise an InputError with the new or the nearest name if there is no parameter `key`."""
    if key in RENAMED:
        raise InputError(f"{key} is called {RENAMED[key]} now")
    if key not in PARAMETER_KEYS:
        raise InputError(f"{key}: unknown key; did you mean {nearest(key, PARAMETER_KEYS)}?")


def _without_new_names_of_old_keys(problems: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Omit that a key is missing if it is there under its old name, which is reported already."""
    locations = [".".join(map(str, problem["loc"])) for problem in problems]
    reported = {RENAMED[location] for location in locations if location in RENAMED}
    for location, problem in zip(locations, problems, strict=True):
        if not (problem["type"] == "missing" and location in reported):
            yield problem


def _describe(problem: Mapping[str, Any]) -> str:
    """Return a problem that pydantic found as a sentence for the user."""
    location = ".".join(str(part) for part in problem["loc"]) or "the whole file"
    if location in RENAMED:
        return f"{location} is called {RENAMED[location]} now"
    if problem["type"] == "literal_error" and (location, problem["input"]) in RENAMED_VALUES:
        return f"{location}: {problem['input']} is called {RENAMED_VALUES[location, problem['input']]} now"
    if problem["type"] == "extra_forbidden":
        return f"{location}: unknown key; did you mean {nearest(location, PARAMETER_KEYS)}?"
    if problem["type"] == "missing":
        return f"{location}: missing key; add it, with a value as the manual in params.yaml describes it"
    if problem["type"] == "value_error":
        return f"{location}: {problem['ctx']['error']}"
    # For a union of types, pydantic appends the type that it tried: only the key means something to the user.
    key = next((key for key in PARAMETER_KEYS if f"{location}.".startswith(f"{key}.")), location)
    message = problem["msg"]
    return f"{key}: {message[0].lower()}{message[1:]}, found {problem['input']!r}"
