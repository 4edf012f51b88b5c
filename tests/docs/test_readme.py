"""The README is one page, in an order that leads from the first command to the reference."""

from documents import README, headings

HEADINGS = [
    (1, "microseg"),
    (2, "Start"),
    (2, "The pipeline"),
    (2, "Your own micrographs"),
    (2, "Experiments"),
    (2, "Results"),
    (2, "Documentation"),
    (2, "Licence and citation"),
]


def test_it_is_one_page() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1200


def test_its_headings_are_in_order() -> None:
    assert headings(README) == HEADINGS
