"""`microseg review`: what the working tree changes, as Markdown."""

import argparse


def define(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command its description and arguments."""
    parser.description = "Print what the working tree changes in parameters, metrics and plots, as Markdown."
    parser.add_argument("base", metavar="COMMIT", help="the commit to compare with, such as origin/main")
    parser.set_defaults(run=_review)


def _review(parsed: argparse.Namespace) -> int:
    from microseg.experiments.review import review

    print(review(parsed.base), end="")
    return 0
