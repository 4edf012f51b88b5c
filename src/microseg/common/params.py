"""The parameters as typed, frozen and validated sections; the comments in params.yaml say what each key means."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

PLAIN_ENCODER = "plain"
"""The name of the U-Net's own encoder."""

# At the narrowest level the plain network has a sixteenth of the height and width, the others half of that.
SMALLEST_NORMALIZED_CROP = 32
SMALLEST_ENCODED_CROP = 64

Flips = Literal["none", "hflip", "d4"]
FLIPS: tuple[Flips, ...] = get_args(Flips)
"""Each has all of those before it."""

Precision = Literal["auto", "float32", "tf32", "bf16", "fp16"]
Accelerator = Literal["auto", "cpu", "cuda"]

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

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with values that are valid one by one."""
        yield from ()

    @model_validator(mode="after")
    def _has_no_problems(self) -> Self:
        for problem in self.problems():
            raise ValueError(problem)
        return self


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

    def problems(self) -> Iterator[str]:
        """Yield the parameters that only the source folder has."""
        if self.foreground is not None and self.source != "folder":
            yield f"foreground has no effect with source {self.source}; set it to null"
        if self.crop_bottom and self.source != "folder":
            yield f"crop_bottom cuts off nothing with source {self.source}; set it to 0"


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
    validation_fold: NonNegative
    group_by: list[str]
    folds: Annotated[int, Field(ge=2)] | None
    fold: NonNegative
    fold_column: str | None
    from_column: str | None
    allow_overlap: bool

    def problems(self) -> Iterator[str]:
        """Yield fractions of 1 and more, and methods of splitting that exclude each other."""
        for key in ("test_size", "validation_size"):
            size = getattr(self, key)
            if isinstance(size, float) and size >= 1:
                yield (
                    f"{key} is {size}, but a fraction is below 1; for a number of micrographs, write it without a "
                    "decimal point"
                )
        if self.folds is not None and self.fold >= self.folds:
            yield f"fold is {self.fold}, but of {self.folds} folds the last one is {self.folds - 1}"
        given = [key for key in ("from_column", "fold_column", "folds") if getattr(self, key) is not None]
        if self.fold and given in ([], ["from_column"]):
            yield f"fold is {self.fold}, but has no effect without folds; set it to 0"
        if self.from_column is not None and self.validation_fold:
            yield "validation_fold draws no other validation set with from_column; set it to 0"
        if len(given) > 1:
            yield f"{given[0]} and {given[1]} exclude each other; set one of them to null"
        if self.group_by and given not in ([], ["folds"]):
            yield f"{given[0]} and group_by exclude each other; set one of them to null or []"


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
    corrected_weight: Count
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
    precision: Precision
    activation_checkpointing: bool
    compile: bool
    num_workers: NonNegative | Literal["auto"]
    accelerator: Accelerator
    devices: Count
    num_nodes: Count

    def problems(self) -> Iterator[str]:
        """Yield parameters that have no effect, or none that anyone wants, because of other ones."""
        yield from self._plain_problems() if self.encoder == PLAIN_ENCODER else self._encoder_problems()
        crop = self.crop_size
        if self.norm_layer == "batch" and crop is not None and crop < SMALLEST_NORMALIZED_CROP:
            yield (
                f"crop_size is {crop}, which leaves a single value for norm_layer batch at the narrowest level of "
                f"the network; set crop_size to {SMALLEST_NORMALIZED_CROP} or more, or norm_layer to none"
            )
        hold = max(1, self.epochs - max(1, round(self.epochs * self.decay_fraction)))
        # A constant rate may still be rising at the end of a short training: a longer one continues from there.
        most = {"constant": self.epochs, "wsd": hold, "cosine": self.epochs - 1, "one_cycle": 0}
        if self.warmup_epochs > most[self.schedule]:
            yield (
                f"warmup_epochs is {self.warmup_epochs}, but with schedule {self.schedule} and {self.epochs} "
                f"epochs lr is reached only with at most {most[self.schedule]}; set it to that or less"
            )
        if self.early_stopping_patience is not None and self.schedule != "constant":
            yield f"early_stopping_patience would end it before the decay of schedule {self.schedule}; set null"
        if self.augment.scale_jitter and crop is None:
            yield (
                "augment.scale_jitter has no effect on whole micrographs; set crop_size to a number, or "
                "augment.scale_jitter to 0"
            )

    def _plain_problems(self) -> Iterator[str]:
        if self.architecture != "unet":
            yield (
                f"architecture is {self.architecture}, but encoder plain is part of the U-Net; set architecture "
                "to unet, or encoder to one of segmentation_models_pytorch's, such as resnet34"
            )
        if self.encoder_lr_multiplier != 1:
            yield (
                f"encoder_lr_multiplier is {self.encoder_lr_multiplier}, but has no effect with encoder plain; "
                "set it to 1.0"
            )
        if self.input_normalization == "imagenet":
            yield "input_normalization imagenet has no effect with encoder plain; set it to zscore or none"

    def _encoder_problems(self) -> Iterator[str]:
        if self.encoder_weights == "none" and self.encoder_lr_multiplier == 0:
            yield "encoder_lr_multiplier 0 would freeze random weights; set encoder_weights"
        if self.activation_checkpointing:
            yield (
                "activation_checkpointing works only with encoder plain; set it to false; to save memory, "
                "lower batch_size and raise accumulate_grad_batches"
            )
        if self.crop_size is not None and self.crop_size < SMALLEST_ENCODED_CROP:
            yield (
                f"crop_size is {self.crop_size}, which leaves a single value for the batch normalization of "
                f"encoder {self.encoder} at its narrowest level; set crop_size to {SMALLEST_ENCODED_CROP} or more"
            )


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
    robustness: Literal["test", "validation", "none"]


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

    def problems(self) -> Iterator[str]:
        """Yield flips of the prediction that are not among those of the training."""
        flips, tta = self.train.augment.flips, self.predict.tta
        if FLIPS.index(tta) > FLIPS.index(flips):
            yield (
                f"predict.tta is {tta}, but train.augment.flips is {flips}, so the network is not trained for it; "
                f"set predict.tta to {flips}"
            )


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
