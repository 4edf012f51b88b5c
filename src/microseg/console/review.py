"""`microseg review`: changes of the working tree against a commit, as Markdown."""

import argparse


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "Print what the working tree changes in parameters, metrics and plots, as Markdown for a review."
    )
    parser.add_argument("base", metavar="COMMIT", help="the commit to compare with, such as origin/main")
    parser.set_defaults(run=_review)


def _review(parsed: argparse.Namespace) -> int:
    from microseg.experiments.review import review

    print(review(parsed.base), end="")
    return 0
