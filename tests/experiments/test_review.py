"""The review of a pull request: the parameters, metrics, micrographs and curves that a change affects."""

from pathlib import Path

from project_copy import run, set_params


def test_a_changed_opening_shows_in_every_section(project: Path):
    set_params(project, {"postprocess.opening_radius": 0, "postprocess.morphology_threshold": -100.0})
    run("dvc", "repro", cwd=project)
    text = run("microseg", "review", "HEAD", cwd=project, PYTHONPATH=str(project / "src")).stdout
    assert "## What this changes against HEAD" in text
    assert "postprocess.opening_radius" in text
    assert "morphology.mean_iou" in text
    # All of the micrograph is foreground now: recall is perfect, and the sigmoid masks are what they were.
    assert "**sigmoid**: 2 micrographs, 0 better and 0 worse" in text
    assert "**morphology**: 2 micrographs" in text
    assert "validation IoU" in text


def test_nothing_changed(project: Path):
    text = run("microseg", "review", "HEAD", cwd=project, PYTHONPATH=str(project / "src")).stdout
    assert text.count("No difference.") == 2
    assert "changes cannot be distinguished from noise" in text


def test_an_unknown_commit_is_refused(project: Path):
    done = run("microseg", "review", "nowhere", cwd=project, check=False, PYTHONPATH=str(project / "src"))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "nowhere" in done.stdout
