"""The error that tells the user what to correct, and the suggestion that goes with it."""

import difflib
from collections.abc import Sequence


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is a complete sentence for the user: it names the file and the line or key, says what is wrong
    and what to do about it. Stages print it and exit with status 1; anything else that is raised is a fault of
    this package and keeps its traceback.
    """


def nearest(key: str, keys: Sequence[str]) -> str:
    """Return which of `keys` was probably meant."""
    return difflib.get_close_matches(key, keys, n=1, cutoff=0)[0]
