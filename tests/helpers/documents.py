"""The project's own documents: their headings and links, and the commands that they tell people to type."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline_files import ROOT

README = ROOT / "README.md"
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("data/*/README.md")],
    key=lambda path: (path != README, path.as_posix()),
)
"""All documents, README.md first."""


def name_of(document: Path) -> str:
    """Return the path of a document from the top folder of the project."""
    return document.relative_to(ROOT).as_posix()


def tokens_of(document: Path) -> list[Token]:
    """Return the parsed Markdown of a document."""
    return MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8"))


def headings(document: Path) -> list[tuple[int, str]]:
    """Return the level and the text of each heading."""
    tokens = tokens_of(document)
    return [
        (int(token.tag[1:]), plain_text(following))
        for token, following in pairwise(tokens)
        if token.type == "heading_open"
    ]


def plain_text(inline: Token) -> str:
    """Return the text of a piece of Markdown as it is shown."""
    return "".join(child.content for child in inline.children or ())


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    found: list[str] = []
    for _, heading in headings(document):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        repeated = found.count(anchor)
        found.append(anchor if not repeated else f"{anchor}-{repeated}")
    return set(found)


def links(document: Path) -> Iterator[str]:
    """Yield the target of each link and picture."""
    for token in tokens_of(document):
        for child in token.children or ():
            target = child.attrGet("href") if child.type == "link_open" else child.attrGet("src")
            if child.type in ("link_open", "image"):
                yield str(target)


def texts(document: Path) -> Iterator[str]:
    """Yield everything that is written in a document: text, code in it, and blocks of code."""
    for token in tokens_of(document):
        if token.type in ("inline", "fence", "code_block"):
            yield token.content


@dataclass(frozen=True)
class Command:
    """A command to type: its document, and its text in one line without the comment behind it."""

    document: str
    text: str

    def words(self) -> list[str]:
        """Return the words that a shell makes of it, without the variables set for it alone."""
        words = shlex.split(self.text)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        return words

    def simple_commands(self) -> list[list[str]]:
        """Return the words of the command itself and of each $(...) in it."""
        inner = re.findall(r"\$\(([^)]*)\)", self.text)
        outer = Command(self.document, re.sub(r"\$\([^)]*\)", "", self.text))
        return [outer.words(), *map(shlex.split, inner)]


def commands(document: Path) -> list[Command]:
    """Return the commands in the blocks of a document that are marked as sh, in their order."""
    return [
        Command(name_of(document), text)
        for token in tokens_of(document)
        if token.type == "fence" and token.info == "sh" and not token.content.startswith("#!")
        for text in _lines(token.content)
    ]


def job_scripts(document: Path) -> list[str]:
    """Return the whole scripts in a document: blocks that begin with the program that runs them."""
    return [token.content for token in tokens_of(document) if token.type == "fence" and token.content[:2] == "#!"]


def _lines(block: str) -> Iterator[str]:
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        text = re.sub(r"(^|\s+)#\s.*$", "", line)
        if text:
            yield text


ALL_COMMANDS = [command for document in DOCUMENTS for command in commands(document)]
