"""What a run has found, as the tables and summaries that it writes."""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import pandas as pd

from microseg.measurement.formatting import column_name
from microseg.measurement.intake import Intake
from microseg.measurement.model import duplicates
from microseg.measurement.segmentation import Record
from microseg.measurement.settings import Request
from microseg.measurement.specimens import specimen_table
from microseg.measurement.stereology import QUANTITIES

FIELD_COLUMNS = (
    *("image", "specimen", "width_px", "height_px", "pixel_size_um", "area_um2", "area_fraction", "islands"),
    *("number_per_mm2", "mean_area_um2", "interceptions_per_mm", "mean_intercept_um", "mean_free_path_um"),
    *("boundary_per_mm", "warnings"),
)


@dataclass(frozen=True)
class Results:
    """The results of a run, with what they were made from."""

    request: Request
    intake: Intake
    model: dict[str, Any]
    """The model's card."""
    environment: dict[str, str]
    """Device, precision and libraries."""
    compared_with_training: bool
    """Whether the model's folder says what its training micrographs look like."""
    evaluation: dict[str, Any] | None
    """The metrics of the model's evaluation, where they are known."""
    records: list[Record]
    """One for each micrograph, in the order of their names."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """The columns of the fields that are averaged over a specimen."""
        return tuple(column_name(column, scaled=self.intake.scaled) for column in QUANTITIES)

    @cached_property
    def warnings(self) -> dict[str, list[str]]:
        """The warnings about each micrograph."""
        twins = duplicates({record["image"]: record["digest"] for record in self.records})
        return {
            record["image"]: record["warnings"] + ([twins[record["image"]]] if record["image"] in twins else [])
            for record in self.records
        }

    @cached_property
    def fields(self) -> pd.DataFrame:
        """A row for each field: FIELD_COLUMNS, then the rows cut off, sensitivity, and the user's own columns."""
        sizes = {picture.name: picture for picture in self.intake.pictures}
        rows = []
        for record in self.records:
            image = record["image"]
            picture = sizes[image]
            rows.append(
                {
                    "image": image,
                    "specimen": self.intake.specimens[image],
                    "width_px": picture.width,
                    "height_px": picture.height - picture.bar,
                    "pixel_size_um": self.intake.pixel_size_um(image),
                    **record["values"],
                    "warnings": "; ".join(self.warnings[image]),
                    "cropped_bottom_px": picture.bar,
                    **{f"area_fraction_{name}": value for name, value in record["sensitivity"].items()},
                    **self.intake.more_columns.get(image, {}),
                }
            )
        table = pd.DataFrame(rows)
        first = [column_name(column, scaled=self.intake.scaled) for column in FIELD_COLUMNS]
        if not self.intake.scaled:
            first.remove(column_name("pixel_size_um", scaled=False))
            table = table.drop(columns="pixel_size_um")
        # A quantity that is not defined in any field has its column all the same.
        return table.reindex(columns=[*first, *(column for column in table if column not in first)])

    @cached_property
    def specimens(self) -> pd.DataFrame:
        """A row for each specimen and quantity."""
        return specimen_table(self.fields, self.quantities)

    @cached_property
    def sensitivity(self) -> dict[str, dict[str, float]]:
        """For each specimen the mean area fraction at other probabilities and by both methods."""
        names = list(self.records[0]["sensitivity"])
        groups = self.fields.groupby("specimen", sort=False)
        return {
            str(specimen): {name: float(group[f"area_fraction_{name}"].mean()) for name in names}
            for specimen, group in groups
        }

    @property
    def model_error(self) -> dict[str, Any] | None:
        """How far the model's area fraction was from the annotated one, as the metrics of its evaluation have it.

        None where the model has not been evaluated, or by a version that did not measure this.
        """
        metrics = (self.evaluation or {}).get(self.request.settings.method, {})
        error = metrics.get("area_fraction_error")
        return dict(error) if isinstance(error, dict) else None

    def summary(self) -> dict[str, Any]:
        """Return what `dvc metrics` shows of a run."""
        specimens = {}
        for specimen, group in self.specimens.groupby("specimen", sort=False):
            specimens[str(specimen)] = {
                str(row["quantity"]): _without_nan(
                    {name: row[name] for name in ("fields", "mean", "interval95", "relative_accuracy_percent")}
                )
                for _, row in group.iterrows()
            }
            specimens[str(specimen)]["area_fraction_at_or_by"] = self.sensitivity[str(specimen)]
        return {
            "fields": len(self.records),
            "fields_with_warnings": sum(bool(texts) for texts in self.warnings.values()),
            "left_out": [asdict(one) for one in self.intake.unreadable],
            "specimens": specimens,
            "model_error": self.model_error,
        }

    def provenance(self) -> dict[str, Any]:
        """Return all that the results depend on."""
        settings = asdict(self.request.settings)
        return {
            "program": f"microseg {version('microseg')}",
            "model": {"source": self.request.model, **self.model},
            "environment": self.environment,
            "settings": settings,
            "inputs": [
                {
                    "image": picture.name,
                    "sha256": picture.sha256,
                    "cropped_bottom_px": picture.bar,
                    "pixel_size_um": self.intake.pixel_size_um(picture.name),
                    "pixel_size_from": self.intake.pixel_sizes[picture.name].source
                    if self.intake.scaled
                    else None,
                }
                for picture in self.intake.pictures
            ],
        }


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
