"""The sections of params.yaml that are about data, up to the split, and what all sections share."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
