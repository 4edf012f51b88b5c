"""How the annotated micrographs spread over what the metadata says of them."""

from collections import Counter
from collections.abc import Mapping, Sequence

GROUP_COLUMNS = ("type", "temperature")
"""The columns of the published table that together say how a steel was made."""

MOST_VALUES = 20
"""A column with more values than this measures or names something; it does not group."""

Groups = dict[str, list[tuple[str, int]]]


def group_sizes(names: Sequence[str], metadata: Mapping[str, Mapping[str, str]]) -> Groups:
    """Return for each grouping column its values and how many of the micrographs `names` have each, sorted.

    `metadata` maps an image's name to its row. Where there are both, type and temperature also count together,
    under "type, temperature". Micrographs without metadata are left out.
    """
    rows = [metadata[name] for name in names if name in metadata]
    if not rows:
        return {}
    columns: list[tuple[str, ...]] = [(column,) for column in list(rows[0])[1:]]
    if set(GROUP_COLUMNS) <= set(rows[0]):
        columns.append(GROUP_COLUMNS)
    groups: Groups = {}
    for combined in columns:
        counts = Counter(", ".join(row[column] for column in combined) for row in rows)
        if len(counts) <= MOST_VALUES:
            groups[", ".join(combined)] = sorted(counts.items())
    return groups
