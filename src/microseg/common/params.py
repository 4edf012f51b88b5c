"""params.yaml as typed, frozen and validated sections; its comments say what each key means."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from microseg.common.errors import InputError, nearest
from microseg.common.renamed import RENAMED, RENAMED_VALUES

PARAMS = Path("params.yaml")
"""The parameter file, as seen from the top folder of the project, in which commands run."""

PLAIN_ENCODER = "plain"
"""The name of the U-Net's own encoder."""

# At the narrowest level the plain network has a sixteenth of the height and width, the others half of that.
SMALLEST_NORMALIZED_CROP = 32
SMALLEST_ENCODED_CROP = 64

Flips = Literal["none", "hflip", "d4"]
FLIPS: tuple[Flips, ...] = get_args(Flips)
"""Each has all of those before it."""

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _names(value: object) -> object:
    """Return one or more class names or values as a tuple of text; anything else as it is, to be refused."""
    values = value if isinstance(value, list) else [value]
    is_plain = all(isinstance(one, str | int) and not isinstance(one, bool) for one in values)
    return tuple(map(str, values)) if is_plain else value


ClassNames = Annotated[tuple[str, ...], BeforeValidator(_names), Field(min_length=1)]


class Section(BaseModel):
    """The base of all sections: frozen, no unknown keys, no silent type conversion."""

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
    crop_bottom: NonNegative
    foreground: ClassNames | None
    mask_suffix: str
    manual_dir: str | None
    mirrors: list[str]
    synthetic: SyntheticParams

    @model_validator(mode="after")
    def _only_folders_have_classes_and_bars(self) -> Self:
        if self.foreground is not None and self.source != "folder":
            raise ValueError(f"foreground has no effect with source {self.source}; set it to null")
        if self.crop_bottom and self.source != "folder":
            raise ValueError(f"crop_bottom cuts off nothing with source {self.source}; set it to 0")
        return self


class ParseCsvParams(Section):
    """Parameters of the stage parse_csv."""

    on_invalid: Literal["error", "skip"]


class RasterizeMasksParams(Section):
    """Parameters of the stage rasterize_masks."""

    examples: int = Field(ge=1, le=20)


class SplitParams(Section):
    """Parameters of the stage split."""

    test_size: Annotated[int | float, Field(ge=0)]
    sample_size: Annotated[int, Field(ge=2)] | None
    validation_size: Annotated[int | float, Field(gt=0)]
    group_by: list[str]
    folds: Annotated[int, Field(ge=2)] | None
    fold: NonNegative
    from_column: str | None

    @model_validator(mode="after")
    def _fractions_are_below_one(self) -> Self:
        for key in ("test_size", "validation_size"):
            size = getattr(self, key)
            if isinstance(size, float) and size >= 1:
                raise ValueError(
                    f"{key} is {size}, but a fraction is below 1; for a number of micrographs, write it without a "
                    "decimal point"
                )
        return self

    @model_validator(mode="after")
    def _one_method_of_splitting(self) -> Self:
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold}, but of {self.folds} folds the last one is {self.folds - 1}")
        if self.folds is None and self.fold:
            raise ValueError(f"fold is {self.fold}, but has no effect without folds; set it to 0")
        if self.from_column is not None and self.folds is not None:
            raise ValueError("from_column and folds exclude each other; set one of them to null")
        if self.from_column is not None and self.group_by:
            raise ValueError("from_column and group_by exclude each other; set one of them to null or []")
        return self


class AugmentParams(Section):
    """Parameters of the random changes to training crops."""

    flips: Flips
    brightness: Fraction
    contrast: float = Field(ge=0, lt=1)
    noise_std: Fraction
    blur_sigma: float = Field(ge=0, le=10)
    gamma: float = Field(ge=0, le=10)
    scale_jitter: Fraction
    random_erasing: Fraction


class TrainParams(Section):
    """Parameters of the stage train."""

    seed: NonNegative
    architecture: str
    encoder: str
    encoder_weights: str
    encoder_lr_multiplier: float = Field(ge=0)
    base_channels: Count
    norm_layer: Literal["batch", "none"]
    epochs: Count
    downsample: float = Field(ge=1)
    crop_size: Annotated[int, Field(ge=16)] | None
    crops_per_micrograph: Count
    foreground_oversampling: Fraction
    batch_size: Count
    accumulate_grad_batches: Count
    loss: Literal["bce", "dice_bce"]
    lr: float = Field(gt=0)
    schedule: Literal["constant", "wsd", "cosine", "one_cycle"]
    warmup_epochs: NonNegative
    decay_fraction: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    ema_decay: float = Field(ge=0, lt=1)
    max_grad_norm: Annotated[float, Field(gt=0)] | None
    validate_every: Count
    early_stopping_patience: Count | None
    checkpoint: Literal["best", "last"]
    checkpoint_epochs: list[Count]
    pixel_size_um: Annotated[float, Field(gt=0)] | Literal["auto"] | None
    input_normalization: Literal["zscore", "imagenet", "none"]
    augment: AugmentParams
    precision: Literal["auto", "float32", "tf32", "bf16", "fp16"]
    activation_checkpointing: bool
    compile: bool
    num_workers: NonNegative | Literal["auto"]
    accelerator: Literal["auto", "cpu", "cuda"]
    devices: Count
    num_nodes: Count

    @model_validator(mode="after")
    def _encoder_fits_the_network(self) -> Self:
        if self.encoder != PLAIN_ENCODER:
            if self.encoder_weights == "none" and self.encoder_lr_multiplier == 0:
                raise ValueError("encoder_lr_multiplier 0 would freeze random weights; set encoder_weights")
            if self.activation_checkpointing:
                raise ValueError(
                    "activation_checkpointing works only with encoder plain; set it to false; to save memory, "
                    "lower batch_size and raise accumulate_grad_batches"
                )
            return self
        if self.architecture != "unet":
            raise ValueError(
                f"architecture is {self.architecture}, but encoder plain is part of the U-Net; set architecture "
                "to unet, or encoder to one of segmentation_models_pytorch's, such as resnet34"
            )
        if self.encoder_lr_multiplier != 1:
            raise ValueError(
                f"encoder_lr_multiplier is {self.encoder_lr_multiplier}, but has no effect with encoder plain; "
                "set it to 1.0"
            )
        if self.input_normalization == "imagenet":
            raise ValueError(
                "input_normalization imagenet has no effect with encoder plain; set it to zscore or none"
            )
        return self

    @model_validator(mode="after")
    def _crops_are_large_enough_for_batch_normalization(self) -> Self:
        crop = self.crop_size
        if self.encoder != PLAIN_ENCODER and crop is not None and crop < SMALLEST_ENCODED_CROP:
            raise ValueError(
                f"crop_size is {crop}, which leaves a single value for the batch normalization of encoder "
                f"{self.encoder} at its narrowest level; set crop_size to {SMALLEST_ENCODED_CROP} or more"
            )
        if self.norm_layer == "batch" and crop is not None and crop < SMALLEST_NORMALIZED_CROP:
            raise ValueError(
                f"crop_size is {crop}, which leaves a single value for norm_layer batch at the narrowest level of "
                f"the network; set crop_size to {SMALLEST_NORMALIZED_CROP} or more, or norm_layer to none"
            )
        return self

    @model_validator(mode="after")
    def _the_schedule_reaches_its_rate_and_its_end(self) -> Self:
        hold = max(1, self.epochs - max(1, round(self.epochs * self.decay_fraction)))
        # A constant rate may still be rising at the end of a short training: a longer one continues from there.
        most = {"constant": self.epochs, "wsd": hold, "cosine": self.epochs - 1, "one_cycle": 0}
        if self.warmup_epochs > most[self.schedule]:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs}, but with schedule {self.schedule} and {self.epochs} "
                f"epochs lr is reached only with at most {most[self.schedule]}; set it to that or less"
            )
        if self.early_stopping_patience is not None and self.schedule != "constant":
            raise ValueError(
                f"early_stopping_patience would end it before the decay of schedule {self.schedule}; set null"
            )
        return self

    @model_validator(mode="after")
    def _only_crops_are_jittered_in_scale(self) -> Self:
        if self.augment.scale_jitter and self.crop_size is None:
            raise ValueError(
                "augment.scale_jitter has no effect on whole micrographs; set crop_size to a number, or "
                "augment.scale_jitter to 0"
            )
        return self


class PredictParams(Section):
    """Parameters of the stage predict."""

    subset: Literal["measured", "all"]
    temperature_scaling: bool
    tile_size: Annotated[int, Field(ge=16, multiple_of=16)] | None
    tile_overlap: float = Field(ge=0, lt=1)
    tta: Flips


class PostprocessParams(Section):
    """Parameters of the stage postprocess."""

    sigmoid_threshold: float = Field(gt=0, lt=1)
    morphology_threshold: float | Literal["validation", "otsu"]
    opening_radius: NonNegative
    closing_radius: NonNegative


class EvaluateParams(Section):
    """Parameters of the stage evaluate."""

    examples: int = Field(ge=1, le=20)


class Params(Section):
    """All of params.yaml."""

    seed: NonNegative
    download: DownloadParams
    parse_csv: ParseCsvParams
    rasterize_masks: RasterizeMasksParams
    split: SplitParams
    train: TrainParams
    predict: PredictParams
    postprocess: PostprocessParams
    evaluate: EvaluateParams

    @model_validator(mode="after")
    def _only_trained_flips_are_predicted(self) -> Self:
        flips, tta = self.train.augment.flips, self.predict.tta
        if FLIPS.index(tta) > FLIPS.index(flips):
            raise ValueError(
                f"predict.tta is {tta}, but train.augment.flips is {flips}, so the network is not trained for it; "
                f"set predict.tta to {flips}"
            )
        return self


def read_params(path: Path, changes: Mapping[str, object] | None = None) -> Params:
    """Read and check a parameter file after replacing values by `changes`, such as {"train.epochs": 5}.

    Raises:
        InputError: there is no such file, it is not YAML, or a key is unknown, renamed, missing, mistyped or out
            of range; one line per problem.
    """
    content = read_yaml(path, "no such parameter file; run from the top folder of the project")
    for key, value in (changes or {}).items():
        check_key(key)
        _set(content, key.split("."), value)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        problems = map(_describe, _without_new_names_of_old_keys([*map(dict, error.errors())]))
        raise InputError("\n       ".join(f"{path}: {problem}" for problem in problems)) from None


def read_yaml(path: Path, missing: str) -> object:
    """Return the content of a YAML file; `missing` is the error message if there is no such file.

    DVC reads params.yaml with the same library: 1e-4 is a number for both, and a duplicate key an error. PyYAML,
    which knows only YAML 1.1, would read 1e-4 as text.

    Raises:
        InputError: there is no such file, or it is not YAML.
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


def flat_params(params: Params) -> dict[str, Any]:
    """Return the value of every parameter, such as {"train.epochs": 20}, in the order of PARAMETER_KEYS."""
    return {key: functools.reduce(getattr, key.split("."), params) for key in PARAMETER_KEYS}


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
