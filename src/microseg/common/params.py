"""The typed, frozen, validated view of params.yaml, whose comments say what each key means."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from microseg.common.errors import InputError, nearest

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
SizeOrShare = Annotated[int | float, Field(ge=0)]


class Section(BaseModel):
    """What all sections share: frozen, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SyntheticParams(Section):
    """Parameters of the synthetic source."""

    images: Count
    height: int = Field(ge=128)
    width: int = Field(ge=128)


class DownloadParams(Section):
    """Parameters of the stage download."""

    source: Literal["synthetic", "folder", "published"]
    path: str
    crop_bottom: NotNegative
    manual_dir: str | None
    mirrors: list[str]
    synthetic: SyntheticParams


class ParseCsvParams(Section):
    """Parameters of the stage parse_csv."""

    on_invalid: Literal["error", "skip"]


class RasterizeMasksParams(Section):
    """Parameters of the stage rasterize_masks."""

    examples: int = Field(ge=1, le=20)


class SplitParams(Section):
    """Parameters of the stage split."""

    test_size: SizeOrShare
    sample_size: Annotated[int, Field(ge=2)] | None
    validation_size: Annotated[int | float, Field(gt=0)]
    group_by: list[str]
    folds: Annotated[int, Field(ge=2)] | None
    fold: NotNegative
    from_column: str | None

    @model_validator(mode="after")
    def _shares_are_below_one(self) -> Self:
        for key in ("test_size", "validation_size"):
            size = getattr(self, key)
            if isinstance(size, float) and size >= 1:
                raise ValueError(
                    f"{key} is {size}, but a share is below 1; write a number without a point for a count"
                )
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold}, but of {self.folds} folds the last one is {self.folds - 1}")
        if self.from_column is not None and self.folds is not None:
            raise ValueError("from_column and folds exclude each other; set one of them to null")
        if self.from_column is not None and self.group_by:
            raise ValueError("from_column and group_by exclude each other; set one of them to null or []")
        return self


# The narrowest level of the plain network has a sixteenth of the height and width, that of others half as much.
SMALLEST_NORMALISED_CROP = 32
SMALLEST_ENCODED_CROP = 64

PLAIN_ENCODER = "plain"
"""The name of the encoder that is the U-Net's own."""


PARAMS = Path("params.yaml")
"""The parameters of the project in whose top folder a command runs."""


class AugmentParams(Section):
    """Parameters of the random changes made to training crops."""

    symmetries: Literal["all", "mirror", "none"]
    brightness: Share
    contrast: float = Field(ge=0, lt=1)
    noise: Share
    blur: float = Field(ge=0, le=10)
    gamma: float = Field(ge=0, le=10)
    zoom: Share
    erase: Share


class TrainParams(Section):
    """Parameters of the stage train."""

    seed: NotNegative
    architecture: str
    encoder: str
    encoder_weights: str
    encoder_lr: float = Field(ge=0)
    base_channels: Count
    normalisation: Literal["batch", "none"]
    epochs: Count
    scale: float = Field(ge=1)
    crop: Annotated[int, Field(ge=16)] | None
    crops_per_micrograph: Count
    foreground_fraction: Share
    batch_size: Count
    accumulate_batches: Count
    loss: Literal["bce", "dice_bce"]
    lr: float = Field(gt=0)
    schedule: Literal["constant", "rise_hold_fall", "cosine", "one_cycle"]
    warmup_epochs: NotNegative
    fall: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    weight_average: float = Field(ge=0, lt=1)
    gradient_clip: Annotated[float, Field(gt=0)] | None
    validate_every: Count
    early_stopping: Count | None
    keep: Literal["best", "last"]
    keep_epochs: list[Count]
    pixel_size_um: Annotated[float, Field(gt=0)] | None
    grey_values: Literal["per_image", "imagenet", "none"]
    augment: AugmentParams
    precision: Literal["auto", "float32", "tf32", "bf16", "fp16"]
    activation_checkpointing: bool
    compile: bool
    workers: NotNegative | Literal["auto"]
    accelerator: Literal["auto", "cpu", "cuda"]
    devices: Count
    nodes: Count

    @model_validator(mode="after")
    def _warmup_ends_before_training(self) -> Self:
        if self.warmup_epochs and self.schedule == "one_cycle":
            raise ValueError(
                "warmup_epochs has no meaning with schedule one_cycle, which has a rise of its own; set it to 0"
            )
        # A constant rate may still be rising where a shorter training ends: a longer one goes on from there.
        if self.warmup_epochs >= self.epochs and self.schedule == "cosine":
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs}, which leaves none of {self.epochs} epochs for the fall "
                "of schedule cosine; set it to less than epochs"
            )
        return self

    @model_validator(mode="after")
    def _only_crops_are_zoomed(self) -> Self:
        if self.augment.zoom and self.crop is None:
            raise ValueError(
                "augment.zoom has no meaning for whole micrographs; set crop to a number, or augment.zoom to 0"
            )
        return self

    @model_validator(mode="after")
    def _a_batch_has_more_than_one_value_a_channel(self) -> Self:
        crop = self.crop
        if self.encoder != PLAIN_ENCODER and crop is not None and crop < SMALLEST_ENCODED_CROP:
            raise ValueError(
                f"crop is {crop}, which leaves nothing for the batch normalisations of encoder {self.encoder} to "
                f"normalise where it is narrowest; set crop to {SMALLEST_ENCODED_CROP} or more"
            )
        if self.normalisation == "batch" and crop is not None and crop < SMALLEST_NORMALISED_CROP:
            raise ValueError(
                f"crop is {self.crop}, of which one single value is left where the network is narrowest: nothing "
                f"for normalisation batch to normalise; set crop to {SMALLEST_NORMALISED_CROP} or more, or "
                "normalisation to none"
            )
        return self

    @model_validator(mode="after")
    def _the_plain_network_is_a_unet(self) -> Self:
        if self.encoder != PLAIN_ENCODER:
            if self.activation_checkpointing:
                raise ValueError(
                    "activation_checkpointing is for encoder plain only; set it to false; to save memory, lower "
                    "batch_size and raise accumulate_batches"
                )
            return self
        if self.architecture != "unet":
            raise ValueError(
                f"architecture is {self.architecture}, but encoder plain is a U-Net's own; set architecture to "
                "unet, or encoder to one of segmentation_models_pytorch's, such as resnet34"
            )
        if self.encoder_lr != 1:
            raise ValueError(
                f"encoder_lr is {self.encoder_lr}, but has no meaning with encoder plain; set it to 1.0"
            )
        if self.grey_values == "imagenet":
            raise ValueError("grey_values imagenet has no meaning with encoder plain; set it to per_image or none")
        return self


class PredictParams(Section):
    """Parameters of the stage predict."""

    parts: Literal["measured", "all"]
    calibrate: bool
    tile: Annotated[int, Field(ge=16, multiple_of=16)] | None
    overlap: float = Field(ge=0, lt=1)
    symmetries: Literal["all", "mirror", "none"]


class PostprocessParams(Section):
    """Parameters of the stage postprocess."""

    sigmoid_threshold: float = Field(gt=0, lt=1)
    morphology_threshold: float | Literal["otsu"]
    opening_radius: NotNegative
    closing_radius: NotNegative


class EvaluateParams(Section):
    """Parameters of the stage evaluate."""

    examples: int = Field(ge=1, le=20)


class Params(Section):
    """All of params.yaml."""

    seed: NotNegative
    download: DownloadParams
    parse_csv: ParseCsvParams
    rasterize_masks: RasterizeMasksParams
    split: SplitParams
    train: TrainParams
    predict: PredictParams
    postprocess: PostprocessParams
    evaluate: EvaluateParams


def read_params(path: Path, changes: Mapping[str, object] | None = None) -> Params:
    """Read and check a parameter file; `changes`, such as {"train.epochs": 5}, take the place of what it says.

    Raises:
        InputError: there is no such file, it is not YAML, or a key is unknown, missing, mistyped or out of range.
    """
    content = read_yaml(path, "no such parameter file; run from the top folder of the project")
    for key, value in (changes or {}).items():
        check_key(key)
        _set(content, key.split("."), value)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        problems = [describe(dict(problem), PARAMETER_KEYS) for problem in error.errors()]
        raise InputError("\n       ".join(f"{path}: {problem}" for problem in problems)) from None


def _leaf_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += _leaf_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys


PARAMETER_KEYS = tuple(_leaf_keys(Params))
"""Every parameter of params.yaml as DVC writes it, such as "train.epochs"."""


def check_key(key: str) -> None:
    """Raise an InputError that names the nearest parameter where there is none called `key`."""
    if key not in PARAMETER_KEYS:
        raise InputError(f"{key}: unknown key; did you mean {nearest(key, PARAMETER_KEYS)}?")


def flat_params(params: Params) -> dict[str, Any]:
    """Return the value of every parameter, such as {"train.epochs": 20}, in the order of PARAMETER_KEYS."""
    return {key: functools.reduce(getattr, key.split("."), params) for key in PARAMETER_KEYS}


def _set(content: Any, path: list[str], value: object) -> None:
    # What is not a section is left for the validation to complain about.
    for name in path[:-1]:
        content = content.get(name) if isinstance(content, dict) else None
    if isinstance(content, dict):
        content[path[-1]] = value


def describe(problem: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return a problem that pydantic found as a sentence; `keys` are all parameters."""
    location = ".".join(str(part) for part in problem["loc"]) or "the whole file"
    if problem["type"] == "extra_forbidden":
        return f"{location}: unknown key; did you mean {nearest(location, keys)}?"
    if problem["type"] == "missing":
        return f"{location}: missing key; add it, with a value as the manual in params.yaml describes it"
    if problem["type"] == "value_error":
        return f"{location}: {problem['ctx']['error']}"
    # Where several types are allowed pydantic adds the name of the one it tried: the key is what the user knows.
    key = next((key for key in keys if f"{location}.".startswith(f"{key}.")), location)
    message = problem["msg"]
    return f"{key}: {message[0].lower()}{message[1:]}, found {problem['input']!r}"


def read_yaml(path: Path, missing: str) -> object:
    """Return what a YAML file holds.

    DVC reads params.yaml with this library too: 1e-4 is a number for both, and a key given twice an error. For
    PyYAML, which knows YAML 1.1 only, 1e-4 would be a text.

    Raises:
        InputError: there is no such file, which is said in the words of `missing`, or it is not YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: {missing}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
