"""The tables of the report, from those that a run writes."""

from operator import itemgetter
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from microseg.measurement.correction import CHANGES
from microseg.measurement.formatting import SQUARED, Label, column_name, label_of, number, percent, with_subscripts
from microseg.measurement.results import Results
from microseg.measurement.specimens import ACCURACIES, summarize

MOST_ROWS_A_QUANTITY = 4
"""More specimens have one row each, without standard deviations and numbers of fields."""
INTERVAL = ("mean", "low", "high")


class Table(NamedTuple):
    """A table of the page: text, in which a line break is one on the page, or Markup."""

    header: list[str]
    rows: list[list[Any]]
    left: int = 1
    """How many columns, the first ones, are aligned left."""
    values: tuple[int, ...] = ()
    """The columns of values with intervals, which wrap on a narrow page."""


def measured_table(results: Results) -> Table:
    """Return what was measured, a row for each specimen."""
    images = {image.name: image for image in results.intake.images}
    rows = []
    for specimen, group in results.counted.groupby("specimen", sort=False):
        one = {"Specimen": specimen, "Fields": len(group), "Islands": int(group["islands"].sum())}
        sizes: dict[str, Any] = {"px": 1}
        if results.intake.scaled:
            sizes = {"\N{MICRO SIGN}m": group["pixel_size_um"], **sizes}
            one["Area in all"] = f"{number(group['area_um2'].sum() / 1e6)} mm{SQUARED}"
        for unit, size in sizes.items():
            sides = zip(group["width_px"] * size, group["height_px"] * size, strict=True)
            texts = [f"{width:.4g} \N{MULTIPLICATION SIGN} {height:.4g} {unit}" for width, height in sorted(sides)]
            one[f"Field in {unit}"] = " to ".join(dict.fromkeys((texts[0], texts[-1])))
        stated = sorted({images[name].magnification or 0 for name in group["image"]} - {0})
        one["Magnification in header"] = ", ".join(f"{value:g}\N{MULTIPLICATION SIGN}" for value in stated)
        rows.append(one)
    known = [column for column in rows[0] if any(row[column] != "" for row in rows)]
    return Table(known, [[row[column] for column in known] for row in rows])


def quantities_table(results: Results) -> Table:
    """Return the estimates: the specimens of one quantity below each other, or many specimens with a row each."""
    found = {name: group.to_dict("records") for name, group in results.specimens.groupby("quantity")}
    labels = {one: label_of(one, scaled=results.intake.scaled) for one in results.quantities}
    specimens = list(results.sensitivity)

    def mean(quantity: str, row: dict[Any, Any]) -> str:
        return labels[quantity].interval(row["mean"], row["low"], row["high"])

    if len(specimens) > MOST_ROWS_A_QUANTITY:
        columns = [[mean(one, row).replace(" (", "\n(") for row in found[one]] for one in labels]
        header = ["Specimen", *map(_with_unit, labels.values())]
        return Table(header, [list(row) for row in zip(specimens, *columns, strict=True)])
    several = len(specimens) > 1
    goals = (f"More for {ACCURACIES[0]} %", *(f"for {accuracy} %" for accuracy in ACCURACIES[1:]))
    rows = []
    for quantity, label in labels.items():
        for row in found[quantity]:
            text = mean(quantity, row)
            more = (row[f"more_fields_for_{goal}_percent"] for goal in ACCURACIES)
            rows.append(
                [
                    *(label.name, *[row["specimen"]][:several]),
                    text if text == number(None) else f"{text} {label.unit}",
                    *(
                        number(label.factor * row["standard_deviation"]),
                        number(row["relative_accuracy_percent"], 2),
                    ),
                    *(row["fields"], *(number(None) if pd.isna(one) else one for one in more)),
                ]
            )
    header = ["Quantity", *["Specimen"][:several], "Mean (95 % interval)", "s", "%RA", "Fields", *goals]
    return Table(header, _without_repetition(rows), 1 + several, (1 + several,))


def differences_table(results: Results) -> Table:
    """Return the differences between specimens: all quantities of two specimens, else A_A alone."""
    shown = results.quantities if len(results.sensitivity) == 2 else results.quantities[:1]
    rows: list[list[Any]] = []
    for row in results.differences[results.differences["quantity"].isin(shown)].to_dict("records"):
        label = label_of(row["quantity"], scaled=results.intake.scaled)
        unit = "percentage points" if label.unit == "%" else label.unit
        rows.append(
            [
                *(label.name, f"{row['specimen']} \N{MINUS SIGN} {row['minus']}"),
                f"{label.interval(row['difference'], row['low'], row['high'])} {unit}",
                "below 0.001" if row["p"] < 1e-3 else number(row["p"], 2),
            ]
        )
    header = ["Quantity", "Specimens", "Difference (95 % interval)", "p"]
    return Table(header, _without_repetition(rows), 2, (2,))


def _without_repetition(rows: list[list[Any]]) -> list[list[Any]]:
    """Return rows whose first cell is empty where it is that of the row above."""
    above = [None, *(first for first, *_ in rows)]
    return [["" if first == last else first, *rest] for last, (first, *rest) in zip(above, rows, strict=False)]


def few_fields_table(results: Results) -> Table:
    """Return the intervals of specimens with one or two fields, or why they have none."""
    scaled, rows = results.intake.scaled, []
    label = label_of("area_fraction", scaled=scaled)
    for row in results.few_fields.to_dict("records"):
        value, area = f"no interval: {row['reason']}", number(None)
        if not row["reason"]:
            value = f"{label.interval(row['area_fraction'], row['low'], row['high'])} %"
            needed = row[column_name("area_for_10_percent_um2", scaled=scaled)]
            area = f"{number(needed / 1e6, 2)} mm{SQUARED}" if scaled else f"{number(needed, 2)} px{SQUARED}"
        rows.append([row["specimen"], row["fields"], value, area])
    header = ["Specimen", "Fields", label.name + " (95 % interval)", "Area for \N{PLUS-MINUS SIGN}10 %"]
    return Table(header, rows, 1, (2,))


def corrected_table(results: Results) -> Table:
    """Return the quantities that the random sample of corrections corrects, beside the uncorrected ones."""
    rows: list[list[Any]] = []
    several = len(results.sensitivity) > 1
    table = pd.DataFrame() if results.corrected is None else results.corrected
    for row in sorted(table.to_dict("records"), key=itemgetter("quantity")):
        label = label_of(row["quantity"], scaled=results.intake.scaled)
        ends = [[row[f"{prefix}{name}"] for name in INTERVAL] for prefix in ("", "uncorrected_")]
        more = row["corrections_to_halve"]
        counts = (row["fields"], row["corrected_fields"], number(None) if pd.isna(more) else more)
        values = (label.interval(*one) for one in ends)
        rows.append([_in_unit(label), *[row["specimen"]][:several], *values, *counts])
    header = ["Quantity", *["Specimen"][:several], "Corrected", "Uncorrected", "Fields", "Of these corrected"]
    wide = (1 + several, 2 + several)
    return Table([*header, "More to halve it"], _without_repetition(rows), 1 + several, wide)


def changes_tables(results: Results) -> list[Table]:
    """Return what a correction changed: the quantities of specimens, of many A_A alone, and the changed fields."""
    if results.earlier is None or results.changes is None:
        return []
    scaled, several, rows = results.intake.scaled, len(results.sensitivity) > 1, []
    earlier = results.earlier.fields.reset_index()
    shown = results.shown_quantities[: None if len(results.sensitivity) <= MOST_ROWS_A_QUANTITY else 1]
    for quantity in shown:
        label = label_of(column_name(quantity, scaled=scaled), scaled=scaled)
        for specimen, group in results.counted.groupby("specimen", sort=False):
            before = earlier[earlier["image"].isin(group["image"])]
            found = [summarize(fields, quantity, scaled=scaled) for fields in (before, group)]
            values = (label.interval(*(one[name] for name in INTERVAL)) for one in found)
            rows.append([_in_unit(label), *[specimen][:several], *values])
    names = ["Quantity", *["Specimen"][:several], "Before", "After"]
    quantities = Table(names, _without_repetition(rows), 1 + several, (1 + several, 2 + several))
    columns = ["image", *CHANGES, "area_fraction_before", "area_fraction_after"]
    changed = results.changes[results.changes[list(CHANGES[:-1])].any(axis=1)]
    fields = [[*row[:-2], *map(percent, row[-2:])] for row in changed[columns].itertuples(index=False)]
    names = [*map(str.capitalize, columns[:-2]), with_subscripts("A_A before"), "after"]
    return [quantities, Table(names, fields)]


def sensitivity_table(results: Results) -> Table:
    """Return area fractions by other thresholds and methods; the sigmoid method is one of the probabilities."""
    threshold = f"{results.request.settings.threshold:g}"
    names = [name for name in results.records[0]["sensitivity"] if name != threshold]
    titles = {"sigmoid": f"sigmoid, above {threshold}"}
    return Table(
        ["Specimen", *(titles.get(name, name if name.isalpha() else f"above {name}") for name in names)],
        [[specimen, *(percent(row[name]) for name in names)] for specimen, row in results.sensitivity.items()],
    )


def fields_table(results: Results) -> Table:
    """Return the fields: their names, what was measured in them, and the columns of the user's own table."""
    first = ["image", *["specimen"][: specimens_named(results)]]
    # S_V is four times N_L; of the directions of N_L the specimens' values are enough.
    hidden = ("boundary", "interceptions_x", "interceptions_y")
    shown = [one for one in results.quantities if not one.startswith(hidden)]
    labels = {one: label_of(one, scaled=results.intake.scaled) for one in shown}
    others = ["islands", *dict.fromkeys(name for row in results.intake.more_columns.values() for name in row)]
    rows = [
        [
            *(row[column] for column in first),
            *(number(label.factor * row[column]) for column, label in labels.items()),
            *(row[column] for column in others),
        ]
        for row in results.fields.to_dict("records")
    ]
    header = [*map(str.capitalize, first), *map(_with_unit, labels.values()), *map(str.capitalize, others)]
    return Table(header, rows, len(first))


def specimens_named(results: Results) -> bool:
    """Return whether fields need the name of their specimen: not if there is one, or one for each sub-folder."""
    named = all(one == image.rpartition("/")[0] for image, one in results.intake.specimens.items())
    return not named and len(results.sensitivity) > 1


def _with_unit(label: Label) -> Markup:
    return label.name + "\n" + label.unit


def _in_unit(label: Label) -> Markup:
    return label.name + (f", {label.unit}" if label.unit else "")
