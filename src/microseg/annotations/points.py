"""Reading points as the published tables write them: `(627, 319)`, and lists of them in square brackets."""

import json
import re

LONGEST_QUOTE = 60
LARGEST_COORDINATE = 1_000_000

# Possessive quantifiers (++) make the expressions take linear time on any text. Groups have none: before Python
# 3.11.5 they would match what they should not (python/cpython issue 106052), and as there is but one way to match
# a group, going back over it is quick. What the expressions accept is JSON once the round brackets are gone, and
# json reads numbers twice as fast as float() does one by one.
_NUMBER = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?+[0-9]++)?"
_POINT = rf"\( *+{_NUMBER} *+, *+{_NUMBER} *+\)"
_POINT_FIELD = re.compile(rf" *+{_POINT} *+")
_LIST_FIELD = re.compile(rf" *+\[ *+(?:{_POINT}(?: *+, *+{_POINT})*)? *+\] *+")
_WITHOUT_ROUND_BRACKETS = str.maketrans("()", "  ")


def parse_point(text: str, what: str) -> list[float]:
    """Return the two numbers of a point; where it is none a ValueError, which calls the text `what`."""
    if not _POINT_FIELD.fullmatch(text):
        raise ValueError(f"{what} {shortened(text)} is not a pair of numbers such as (627, 319)")
    return _numbers(f"[{text}]", what)


def parse_points(text: str, what: str) -> list[float]:
    """Return the numbers x, y, x, y, ... of a list of points, which may be empty; ValueError where it is none."""
    if not _LIST_FIELD.fullmatch(text):
        example = "[(720, 288), (725, 294)]"
        raise ValueError(f"{what} {shortened(text)} is not a list of pairs of numbers such as {example}")
    return _numbers(text, what)


def shortened(text: str) -> str:
    """Return a text in quotation marks, its beginning only where it is long."""
    return repr(text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}...")


def _numbers(text: str, what: str) -> list[float]:
    numbers: list[float] = json.loads(text.translate(_WITHOUT_ROUND_BRACKETS))
    if max(numbers, default=0) > LARGEST_COORDINATE or min(numbers, default=0) < -LARGEST_COORDINATE:
        raise ValueError(f"{what} has a coordinate beyond {LARGEST_COORDINATE:,} pixels")
    return numbers
