"""The error that says what the user has to correct, and the suggestion of a similar name."""

import difflib
from collections.abc import Sequence


class InputError(Exception):
    """The user's input cannot be used.

    The message is written for the user: it names the file and the line or key, says what is wrong and what to do.
    Stages and commands print it and exit with status 1; any other exception is a bug of this package and keeps its
    traceback.
    """


def nearest(key: str, keys: Sequence[str]) -> str:
    """Return the one of `keys` that is most similar to `key`."""
    return difflib.get_close_matches(key, keys, n=1, cutoff=0)[0]
