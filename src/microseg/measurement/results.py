"""The results of a run, as the tables and summaries it writes."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from microseg.common.errors import InputError
from microseg.measurement.correction import Earlier, corrected_table
from microseg.measurement.formatting import column_name
from microseg.measurement.intake import Intake
from microseg.measurement.model import UsedModel, unlike_evaluation
from microseg.measurement.segmentation import Record
from microseg.measurement.settings import Request
from microseg.measurement.specimens import difference_table, specimen_table
from microseg.measurement.stereology import QUANTITIES

FIELD_COLUMNS = (
    *("image", "specimen", "width_px", "height_px", "pixel_size_um", "area_um2", "area_fraction", "islands"),
    *("number_per_mm2", "mean_area_um2", "interceptions_per_mm", "mean_intercept_um", "mean_free_path_um"),
    *("boundary_per_mm", "interceptions_x_per_mm", "interceptions_y_per_mm"),
    *("specks", "number_without_specks_per_mm2", "warnings"),
)
"""The first columns of the table of fields."""

SENSITIVITY = "area_fraction_"
"""How the columns of area fractions at other probabilities and by both methods begin."""
CROPPED = "cropped_bottom_px"


def refuse_measured_columns(request: Request, intake: Intake) -> None:
    """Raise an InputError if a column of the user's table of fields has the name of one that is written."""
    measured = {column_name(one, scaled=scaled) for one in (*FIELD_COLUMNS, CROPPED) for scaled in (True, False)}
    columns = next(iter(intake.more_columns.values()), {})
    taken = ", ".join(one for one in columns if one in measured or one.startswith(SENSITIVITY))
    if taken:
        raise InputError(f"{request.fields}, line 1: {taken}: results have columns of this name; rename them")


@dataclass(frozen=True)
class Results:
    """The records of a run, and everything they were made with."""

    request: Request
    intake: Intake
    model: UsedModel | None
    """None where masks were given."""
    records: list[Record]
    """One for each micrograph, ordered by name."""
    earlier: Earlier | None = None
    """The run that the masks are corrections of, where the user names one."""
    changes: pd.DataFrame | None = None
    """What was changed since, in each micrograph."""
    few_fields: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Intervals of the area fraction of specimens with one or two fields."""

    @property
    def shown_quantities(self) -> tuple[str, ...]:
        """Those of QUANTITIES that are shown.

        The number without specks only where there are some, and N_L along a direction only beside that of both.
        """
        hidden = {f"interceptions_{self.request.settings.direction}_per_mm"}
        if not self.counted["specks"].any():
            hidden.add("number_without_specks_per_mm2")
        return tuple(one for one in QUANTITIES if one not in hidden)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The columns of `shown_quantities`."""
        return tuple(column_name(one, scaled=self.intake.scaled) for one in self.shown_quantities)

    @cached_property
    def warnings(self) -> dict[str, list[str]]:
        """The warnings about each micrograph, by image."""
        warnings = {record["image"]: list(record["warnings"]) for record in self.records}
        for image, earlier in find_duplicates({one["image"]: one["digest"] for one in self.records}).items():
            counted = "not counted again" if image in self.repeated else "counted in both specimens"
            warnings[image].append(f"the same pixels as another field, {counted}: {earlier}")
        return warnings

    @cached_property
    def repeated(self) -> dict[str, str]:
        """The fields that do not count, each with the earlier one of its specimen that has the same pixels."""
        specimen = self.intake.specimens
        return find_duplicates({one["image"]: f"{specimen[one['image']]}/{one['digest']}" for one in self.records})

    @cached_property
    def fields(self) -> pd.DataFrame:
        """A row for each field: FIELD_COLUMNS, then the rows cut off, sensitivity, and the user's own columns."""
        rows = [
            {
                "image": image.name,
                "specimen": self.intake.specimens[image.name],
                "width_px": image.width,
                "height_px": image.height - image.bar,
                "pixel_size_um": self.intake.pixel_size_um(image.name),
                **record["values"],
                "warnings": "; ".join(self.warnings[image.name]),
                CROPPED: image.bar,
                **{f"{SENSITIVITY}{name}": value for name, value in record["sensitivity"].items()},
                **self.intake.more_columns.get(image.name, {}),
            }
            for image, record in zip(self.intake.images, self.records, strict=True)
        ]
        table = pd.DataFrame(rows)
        first = [column_name(column, scaled=self.intake.scaled) for column in FIELD_COLUMNS]
        if not self.intake.scaled:
            first.remove(column_name("pixel_size_um", scaled=False))
            table = table.drop(columns="pixel_size_um")
        # A quantity that is not defined in any field keeps its column.
        return table.reindex(columns=[*first, *(column for column in table if column not in first)])

    @cached_property
    def specimens(self) -> pd.DataFrame:
        """A row for each specimen and quantity."""
        return specimen_table(self.counted, scaled=self.intake.scaled)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """A row for each quantity and pair of specimens; empty for a single one."""
        return difference_table(self.counted, scaled=self.intake.scaled)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables to write, by name."""
        tables = {
            "fields": self.fields,
            "specimens": self.specimens,
            "differences": self.differences,
            "few_fields": self.few_fields,
            "changes": self.changes,
            "corrected": self.corrected,
        }
        return {name: table for name, table in tables.items() if table is not None and not table.empty}

    @cached_property
    def corrected(self) -> pd.DataFrame | None:
        """The specimens of the earlier run, corrected by the random sample of their fields that was measured."""
        if self.earlier is None or self.request.random_sample is None:
            return None
        return corrected_table(self.earlier, self.fields, scaled=self.intake.scaled)

    @property
    def counted(self) -> pd.DataFrame:
        """The rows of `fields` that count."""
        return self.fields[~self.fields["image"].isin(self.repeated)]

    @cached_property
    def sensitivity(self) -> dict[str, dict[str, float]]:
        """The area fraction of each specimen at other probabilities and by both methods."""
        area = column_name("area_um2", scaled=self.intake.scaled)
        return {
            str(specimen): {
                name: float(np.average(group[f"{SENSITIVITY}{name}"], weights=group[area]))
                for name in self.records[0]["sensitivity"]
            }
            for specimen, group in self.counted.groupby("specimen", sort=False)
        }

    @property
    def model_error(self) -> dict[str, Any] | None:
        """The error of the model's area fraction in its evaluation, for the method used; None where not known.

        With `dataset`, what it was measured on, and `unlike_this_run`, what was otherwise there.
        """
        evaluation, settings = (self.model and self.model.evaluation) or {}, self.request.settings
        error = evaluation.get(settings.method, {}).get("area_fraction_error")
        if not isinstance(error, dict):
            return None
        unlike = unlike_evaluation(settings, evaluation)
        return error | {"dataset": evaluation.get("dataset", {}), "unlike_this_run": unlike}

    def summary(self) -> dict[str, Any]:
        """Return the content of summary.json, which `dvc metrics` shows."""
        specimens = {}
        for specimen, group in self.specimens.groupby("specimen", sort=False):
            specimens[str(specimen)] = {
                str(row["quantity"]): _without_nan(
                    {name: row[name] for name in ("fields", "mean", "low", "high", "relative_accuracy_percent")}
                )
                for _, row in group.iterrows()
            }
            specimens[str(specimen)]["area_fraction_at_or_by"] = self.sensitivity[str(specimen)]
        return {
            "fields": len(self.records),
            "fields_with_warnings": sum(bool(texts) for texts in self.warnings.values()),
            "left_out": [asdict(one) for one in self.intake.unreadable],
            "ignored": self.intake.ignored,
            "specimens": specimens,
            "model_error": self.model_error,
            "corrected": None if self.corrected is None else json.loads(self.corrected.to_json(orient="records")),
        }

    def provenance(self) -> dict[str, Any]:
        """Return the content of provenance.json: everything the results depend on."""
        return {
            "program": f"microseg {version('microseg')}",
            "model": self.model and {"source": self.model.source, **asdict(self.model.card)},
            "environment": self.model and self.model.environment,
            "masks": self.request.masks and self.request.masks.as_posix(),
            "settings": asdict(self.request.settings),
            "inputs": [
                {
                    "image": image.name,
                    "sha256": image.sha256,
                    "cropped_bottom_px": image.bar,
                    "pixel_size_um": self.intake.pixel_size_um(image.name),
                    "pixel_size_from": self.intake.pixel_sizes[image.name].source if self.intake.scaled else None,
                }
                for image in self.intake.images
            ],
        }


def find_duplicates(digests: Mapping[str, str]) -> dict[str, str]:
    """Return for each image that has the same pixels as an earlier one the name of that one."""
    first: dict[str, str] = {}
    for image, digest in digests.items():
        first.setdefault(digest, image)
    return {image: first[digest] for image, digest in digests.items() if first[digest] != image}


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
