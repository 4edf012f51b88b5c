"""Which annotated classes are foreground: the parameter download.foreground, for all forms of annotations."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from microseg.common.errors import InputError

MOST_LISTED = 12
"""How many classes an error message lists."""


class AnnotatedClass(NamedTuple):
    """A class, its number of annotations or masks, and its fraction of the area of all annotated micrographs."""

    name: str
    number: int
    area_fraction: float


def choose_classes(
    place: object,
    foreground: Sequence[str] | None,
    names: Sequence[str],
    classes: Callable[[], list[AnnotatedClass]],
    unit: str,
    option: str,
) -> frozenset[str]:
    """Return the classes that are foreground: those of download.foreground, or the only one.

    Args:
        place: what error messages call the annotations.
        foreground: the names of the chosen classes, or None.
        names: the annotated classes.
        classes: returns what is known of them, for error messages.
        unit: what has a class, an annotation or a mask.
        option: what the user calls the setting of the foreground.

    Raises:
        InputError: there are several classes and no choice, or a class that is not annotated is chosen.
    """
    if foreground is None and len(names) > 1:
        raise InputError(
            f"{place}: annotates {len(names)} classes: {listed(classes(), unit)}; set {option} to "
            f"those that are foreground, such as [{names[0]}]"
        )
    for name in foreground or ():
        if name not in names:
            raise InputError(
                f"{place}: no {unit} has the class {name} of {option}; there are {listed(classes(), unit)}"
            )
    return frozenset(foreground or names)


def listed(classes: Sequence[AnnotatedClass], unit: str) -> str:
    """Return classes with their numbers and areas, such as "MA (12 annotations, 3.1 % of the area)"."""
    described = [
        f"{name} ({number} {unit}{'s' * (number != 1)}, {100 * fraction:.1f} % of the area)"
        for name, number, fraction in classes[:MOST_LISTED]
    ]
    hidden = len(classes) - MOST_LISTED
    return ", ".join(described + ([f"{hidden} more"] if hidden > 0 else []))
