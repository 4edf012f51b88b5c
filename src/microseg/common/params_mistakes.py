"""How mistakes in params.yaml are told: by the name of the key, and with what to write instead."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any


def nearest(key: str, keys: Sequence[str]) -> str:
    """Return which of `keys` was probably meant."""
    return difflib.get_close_matches(key, keys, n=1, cutoff=0)[0]


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
