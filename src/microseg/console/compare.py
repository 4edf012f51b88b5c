"""`microseg compare`: paired differences between two experiments on the same micrographs."""

import argparse


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "Compare the scores of two experiments on the same micrographs: paired differences with 95 % intervals, "
        "and for each undecided one how many more micrographs or groups it would take to decide it."
    )
    parser.add_argument("first", metavar="A", help="an experiment or a commit, such as HEAD")
    parser.add_argument(
        "second", metavar="B", nargs="?", default="workspace", help="another one (default: the working tree)"
    )
    parser.set_defaults(run=_compare)


def _compare(parsed: argparse.Namespace) -> int:
    from microseg.experiments.paired import differences, read_evaluated, to_markdown

    first, second = read_evaluated(parsed.first), read_evaluated(parsed.second)
    print(to_markdown(first, second, differences(first, second)), end="")
    return 0
