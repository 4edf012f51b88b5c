"""`microseg compare`: two experiments on the same micrographs."""

import argparse


def define(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command its description and arguments."""
    parser.description = (
        "Compare the scores of two experiments on the same micrographs, with intervals of the difference, and say "
        "how many more micrographs would decide an undecided one."
    )
    parser.add_argument("first", metavar="A", help="an experiment or a commit, such as HEAD")
    parser.add_argument(
        "second", metavar="B", nargs="?", default="workspace", help="another one (default: %(default)s)"
    )
    parser.set_defaults(run=_compare)


def _compare(parsed: argparse.Namespace) -> int:
    from microseg.experiments.paired import differences, read_evaluated, to_markdown

    first, second = read_evaluated(parsed.first), read_evaluated(parsed.second)
    print(to_markdown(first, second, differences(first, second)), end="")
    return 0
