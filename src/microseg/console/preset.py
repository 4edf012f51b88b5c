"""`microseg preset`: the settings of a file as options of `dvc exp run`."""

import argparse
import logging
import sys
from collections.abc import Collection
from pathlib import Path

log = logging.getLogger(__name__)


def define(parser: argparse.ArgumentParser) -> None:
    """Add the description and the arguments of this command to its parser."""
    parser.description = (
        "Print the settings of a file as options of `dvc exp run` and `microseg sweep`, as in: "
        "dvc exp run -n study $(microseg preset presets/study.yaml)"
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a file like params.yaml with only the keys to change"
    )
    parser.set_defaults(run=_print_options)


def _print_options(parsed: argparse.Namespace) -> int:
    from microseg.common.params_file import PARAMS
    from microseg.experiments.settings import preset_options, read_preset

    sys.stdout.write(" ".join(preset_options(parsed.file, PARAMS)) + "\n")
    others = _uncommitted_keys(PARAMS, but=read_preset(parsed.file))
    if others:
        log.warning(
            "%s has uncommitted values of %s, as `dvc exp run -S` leaves them there: an experiment takes them, "
            "too; for the preset alone, run `git restore %s` first",
            *(PARAMS, ", ".join(others), PARAMS),
        )
    return 0


def _uncommitted_keys(params: Path, but: Collection[str]) -> list[str]:
    """Return the keys whose values differ from those of the last commit; none where it has no valid file."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from microseg.common.params_file import flatten, read_yaml
    from microseg.experiments.dvc_access import try_git

    committed = try_git("show", f"HEAD:./{params}")
    if committed.returncode:
        return []
    try:
        before = YAML(typ="safe", pure=True).load(committed.stdout)
    except YAMLError:
        return []
    now = read_yaml(params, "not there")
    if not isinstance(before, dict) or not isinstance(now, dict):
        return []
    before, now = flatten(before), flatten(now)
    return [key for key in now if key not in but and now[key] != before.get(key)]
