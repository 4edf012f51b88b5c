"""Commands in the documents have no option that does not exist."""

import argparse
import re

import pytest
from dvc.cli.parser import get_main_parser

from microseg.console.program import COMMANDS, _parser

from documents import ALL_COMMANDS, DOCUMENTS, Command, job_scripts, texts
from pipeline_files import ROOT

SIMPLE = sorted({tuple(words) for command in ALL_COMMANDS for words in command.simple_commands()})
INTERNAL = {"MICROSEG_LAUNCHED"}
"""What the stages set for the processes that they start."""

SCRIPTS = [script for document in DOCUMENTS for script in job_scripts(document)]


def simple(program: str) -> list[tuple[str, ...]]:
    """Return the arguments of every call of a program in the documents."""
    in_scripts = [
        tuple(Command("", line).words())
        for script in SCRIPTS
        for line in re.sub(r"^exec ", "", script, flags=re.MULTILINE).splitlines()
        if line and not line.startswith("#")
    ]
    return sorted({words[1:] for words in (*SIMPLE, *in_scripts) if words[:1] == (program,)})


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of a parser and of all of its commands."""
    options = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            options |= {option for command in action.choices.values() for option in options_of(command)}
    return options


@pytest.mark.parametrize("arguments", simple("microseg"), ids=" ".join)
def test_microseg_understands_it(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    parser = _parser(arguments)
    try:
        parser.parse_args(arguments)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    # argparse takes the beginning of an option for the whole.
    assert {word for word in arguments if word.startswith("--")} <= options_of(parser)


@pytest.mark.parametrize("arguments", simple("dvc"), ids=" ".join)
def test_dvc_understands_it(arguments: tuple[str, ...]) -> None:
    parser = get_main_parser()
    parser.parse_args(list(arguments))
    assert {word for word in arguments if word.startswith("--")} <= options_of(parser)


@pytest.mark.parametrize("arguments", simple("dask"), ids=" ".join)
def test_dask_understands_it(arguments: tuple[str, ...]) -> None:
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    program = {"scheduler": scheduler, "worker": worker}[arguments[0]]
    program.make_context(arguments[0], list(arguments[1:])).close()


@pytest.mark.parametrize("arguments", simple("make"), ids=" ".join)
def test_make_has_the_target_and_the_variables(arguments: tuple[str, ...]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = [word for word in arguments if word not in ("-C", "../before")]
    for word in words:
        name = word.split("=")[0]
        rule = rf"^(?:[a-z-]+: )?{re.escape(name)} \??=" if "=" in word else rf"^{re.escape(name)}:.*## "
        assert re.search(rule, makefile, re.MULTILINE), name


@pytest.mark.parametrize("arguments", [*simple("pytest"), *simple("python")], ids=" ".join)
def test_tests_and_scripts_that_are_run_are_there(arguments: tuple[str, ...]) -> None:
    assert (ROOT / arguments[0]).exists()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_reference_lists_every_option(command: str) -> None:
    text = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    section = text.split(f"### microseg {command}\n")[1].split("\n## ")[0].split("\n### ")[0]
    parser = _parser([command])
    (commands_of,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for action in commands_of.choices[command]._actions:
        if action.help != argparse.SUPPRESS and action.dest != "help":
            name = action.option_strings[-1] if action.option_strings else str(action.metavar)
            assert f"`{name}" in section or f", `{name}" in section, name


def test_the_reference_lists_every_target_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `make ([a-z-]+)", text, re.MULTILINE)
    assert sorted(listed) == sorted(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))


def test_the_reference_names_every_environment_variable() -> None:
    text = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    used = set()
    for folder in ("src", "stages", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r"\bMICROSEG_[A-Z_]+\b", file.read_text(encoding="utf-8")))
    assert used - INTERNAL == set(re.findall(r"MICROSEG_[A-Z_]+", text))


def test_every_program_named_in_the_text_is_one_of_the_project() -> None:
    named = {match for document in DOCUMENTS for text in texts(document) for match in _commands_named(text)}
    assert named <= set(COMMANDS)


def _commands_named(text: str) -> list[str]:
    return re.findall(r"`microseg ([a-z]+)", text)
