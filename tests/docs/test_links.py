"""Links, pictures and modules that the documents name are there."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from documents import DOCUMENTS, anchors, links, name_of, tokens_of
from pipeline_files import ROOT

PACKAGES = sorted(path.parent.name for path in (ROOT / "src" / "microseg").glob("*/__init__.py"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_file_and_heading_that_is_linked_to_exists(document: Path) -> None:
    for link in links(document):
        target = urlsplit(link)
        if target.scheme:
            assert target.scheme == "https", link
            continue
        path = document.parent / unquote(target.path) if target.path else document
        assert path.exists(), f"{link}: no such file"
        if target.fragment:
            assert target.fragment in anchors(path), f"{link}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_no_link_stays_a_text_in_brackets(document: Path) -> None:
    for token in tokens_of(document):
        for child in token.children or ():
            assert child.type != "text" or "](" not in child.content, child.content


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_block_of_code_says_its_language(document: Path) -> None:
    for token in tokens_of(document):
        assert token.type != "code_block", f"an indented block:\n{token.content}"
        assert token.type != "fence" or token.info in ("sh", "yaml", "text", "mermaid"), token.info


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), DOCUMENTS[:1]
    while waiting:
        document = waiting.pop()
        reached.add(document)
        linked = {(document.parent / urlsplit(link).path).resolve() for link in links(document)}
        waiting += (linked & set(DOCUMENTS)) - reached
    assert reached == set(DOCUMENTS)


@pytest.mark.parametrize(("document", "column"), [("docs/explanation/architecture.md", None), ("CHANGELOG.md", 2)])
def test_every_module_named_in_a_table_exists(document: str, column: int | None) -> None:
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines():
        cells = line.split("|")
        if len(cells) > 1:
            text = line if column is None else cells[column]
            for name in re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:\.[a-z_]+)?)`", text):
                place = ROOT / "src" / "microseg" / name.replace(".", "/")
                assert place.is_dir() or place.with_suffix(".py").is_file(), name
