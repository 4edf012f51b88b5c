"""Which commands of the documents the tests of the documents run, and why others are not run there."""

import re
import subprocess
from pathlib import Path

from documents import README, Command, commands
from project_copy import environment

NOT_RUN = {
    r"source \.venv/bin/activate": "tests run inside an environment, whichever it is",
    r"make (setup|repro|test|lint)": "installs packages from the network; continuous integration does",
    r"make -C \.\./before repro": "installs packages from the network",
    r"make (TORCH_INDEX|PYTHON)=\S+ repro": "installs packages from the network",
    r"pip install dvc-ssh": "installs a package from the network",
    r"dvc exp run .*download\.source=published.*": "downloads 1.2 GB from figshare",
    r"dvc exp run -n micronet .*": "downloads weights",
    r"git clone https://\S+|cd microseg": "needs the git server of a team",
    r"dvc artifacts get https://.*": "needs the git server of a team",
    r"ssh .*": "needs another machine",
    r"CUDA_VISIBLE_DEVICES=1 .*": "needs two GPUs",
    r"dvc exp run (.* )?-S train\.devices=4.*": "needs four GPUs",
    r"export MICROSEG_LAUNCHER=.*": "needs Slurm or four GPUs",
    r"dvc remote (add --default team ssh://.*|modify --local team user .*)": "needs an ssh server",
    r"pytest .*": "runs other tests",
    r"make benchmark|python benchmarks/.*": "takes minutes to measure speed",
    r"microseg tune .*": "trains for half an hour; tests/experiments/test_tuning.py has the parts",
    r"microseg crossval .*": "trains five times, for minutes; tests/experiments/test_crossval.py has the parts",
    r"microseg experiments --noise": "wants several seeds; tests/experiments/test_seed_noise.py has the parts",
}
"""Patterns of commands that no test runs, each with the reason."""

_PAGES = "tests/docs/test_commands_of_pages.py"
_PARTS = "tests/docs/test_readme_commands.py"
_SWEEPS = f"{_PAGES}::test_make_runs_and_draws_the_sweeps"
_WALK = "tests/pipeline/test_shared_remote.py::test_the_colleagues_walk"
_OWN_DATA = "tests/pipeline/test_shared_remote.py::test_a_colleague_gets_ones_own_micrographs"
_CLUSTER = "tests/experiments/test_cluster_sweep.py::test_a_killed_worker_only_loses_its_training"
_PAIRED = "tests/experiments/test_paired.py::test_the_workspace_is_compared_with_a_commit"
_OWN_WEIGHTS = "tests/pipeline/test_encoder_weights_stage.py::test_a_colleague_gets_the_weights_without_a_network"
_BATCHES = (
    "tests/pipeline/test_segment_pipeline.py"
    "::test_batches_are_segmented_with_the_model_of_a_revision_and_nothing_is_trained"
)
RUN_ELSEWHERE = {
    r"(OMP_NUM_THREADS=1 )?make sweep-.*|microseg experiments --x .*": _SWEEPS,
    r"microseg sweep (?!.*--scheduler).*": _SWEEPS,
    r"microseg sweep .*--scheduler .*|dask (scheduler|worker) .*": _CLUSTER,
    r"microseg experiments --best": f"{_PARTS}::test_an_experiment_is_chosen_on_the_validation_micrographs",
    r"microseg compare .*": _PAIRED,
    r"microseg review .*": "tests/experiments/test_review.py::test_nothing_changed",
    r"microseg segment .*": f"{_PARTS}::test_new_micrographs_are_measured",
    r"microseg measure .*": "tests/console/test_measure_command.py::test_corrected_masks_are_compared",
    r"microseg next .*": "tests/measurement/test_next_micrographs.py::test_the_command_lists_them",
    r"microseg agreement .*": "tests/installation/test_wheel.py::test_the_points_that_annotators_agree_upon",
    r"dvc exp run .*\$\(microseg preset presets/\w+\.yaml\)(?!.*published).*": (
        "tests/experiments/test_presets.py::test_a_shell_passes_each_setting_to_dvc_unchanged"
    ),
    r"dvc exp run -S train\.accelerator=cpu -S train\.devices=2": (
        "tests/training/test_distributed.py::test_two_processes_train_like_one"
    ),
    r"dvc exp run -n network .*": "tests/sources/test_foreground.py::test_the_chosen_classes_are_foreground",
    r"dvc add models --out data/weights/before|dvc exp run -n corrected .*": (
        "tests/pipeline/test_learning_from_corrections.py::test_the_walk_of_the_how_to"
    ),
    r"dvc exp run -n lite0 .*": "tests/pipeline/test_encoder_weights_stage.py::test_torch_is_not_needed",
    r"dvc add data/inbox/.*|dvc exp run -S download\.source=folder": _OWN_DATA,
    r"dvc add ~/Downloads/.*": _OWN_WEIGHTS,
    r"dvc exp run -S train\.encoder_weights=.*": f"{_PAGES}::test_the_commands_of_a_page_work_in_order",
    r"dvc add segment/inbox/heat42|dvc repro segment/dvc\.yaml": _BATCHES,
    r"dvc plots show": "tests/experiments/test_plots_page.py::test_browser_draws_the_page_of_plots_show",
    r"dvc remote add --default team /mnt/.*": _OWN_DATA,
    r"dvc (push|pull)( --run-cache)?|dvc repro --pull": _WALK,
    r"dvc exp (pull|push|apply) .*|dvc exp run -n NAME .*": _WALK,
}
"""Patterns of commands that another test runs, with other names or values, each with that test."""


def to_run(document: Path) -> list[Command]:
    """Return the commands of a document that are run for it, in their order.

    Those of the README are run for it alone, whatever another test does.
    """
    if document == README:
        return [
            one for one in commands(README) if not matches(one, NOT_RUN) and not one.text.startswith("make sweep")
        ]
    shown = {one.text for one in commands(README)}
    tables = NOT_RUN | RUN_ELSEWHERE
    return [one for one in commands(document) if one.text not in shown and not matches(one, tables)]


def matches(command: Command, table: dict[str, str]) -> list[str]:
    """Return the patterns of a table that a command matches as a whole."""
    return [pattern for pattern in table if re.fullmatch(pattern, command.text)]


def run_as_typed(command: Command, folder: Path, **more: str) -> str:
    """Run a command with a shell, answer yes to questions, and return what it says; AssertionError if it fails."""
    done = subprocess.run(
        ["bash", "-c", command.text],
        cwd=folder,
        env=environment(**more),
        input="y\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command.document}: {command.text} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
