"""An interrupted run leaves no output and loses nothing; a second run into the same output is kept out."""

import errno
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from microseg.common.errors import InputError
from microseg.measurement import partial_output, segmentation
from microseg.measurement import run as run_module
from microseg.measurement.partial_output import PartialOutput
from microseg.measurement.predictor import Predictor
from microseg.measurement.run import run


@pytest.fixture
def interrupted(request_for, monkeypatch):
    """A run that ended by Ctrl-C at its third micrograph; return the folder where it left the first two."""
    real = segmentation.write_overlay

    def interrupt(path, *arguments):
        if path.stem == "c":
            raise KeyboardInterrupt
        real(path, *arguments)

    with monkeypatch.context() as context:
        context.setattr(segmentation, "write_overlay", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(request_for())
    return request_for().output.with_name(".out.partial")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_run_leaves_no_output_and_can_be_resumed(request_for, monkeypatch, interruption):
    whole = request_for(output=request_for().output.with_name("whole"))
    run(whole)
    request, real, written = request_for(), segmentation.write_overlay, []

    def interrupt(path, *arguments):
        written.append(path.stem)
        if written == ["a", "b", "c"]:
            raise interruption
        real(path, *arguments)

    monkeypatch.setattr(segmentation, "write_overlay", interrupt)
    expected = KeyboardInterrupt if isinstance(interruption, KeyboardInterrupt) else InputError
    with pytest.raises(expected) as caught:
        run(request)
    if expected is InputError:
        assert "out: the disk is full; free some space, then run the same command with --resume" in str(
            caught.value
        )
    assert not request.output.exists()
    written.clear()
    run(request_for(resume=True))
    assert written[0] == "c"
    assert written[-1] == "e"
    assert not (request.output.parent / ".out.partial").exists()
    for path in whole.output.rglob("*.*"):
        if path.suffix != ".html":
            assert (request.output / path.relative_to(whole.output)).read_bytes() == path.read_bytes(), path


def test_resuming_with_other_settings_is_refused_and_a_new_run_starts_over(request_for, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(segmentation, "write_labels", fail)
        with pytest.raises(KeyboardInterrupt):
            run(request_for())
    with pytest.raises(InputError, match="was started with other method; give the same again"):
        run(request_for(resume=True, method="morphology"))
    request = request_for(method="morphology")
    run(request)
    assert pd.read_csv(request.output / "fields.csv")["islands"].tolist() == [6] * 5


def test_an_interrupted_run_is_neither_continued_nor_removed_unasked(request_for, interrupted):
    message = (
        r"out: an interrupted run has finished micrographs \(2\); give --resume .*, or --restart to start over"
    )
    with pytest.raises(InputError, match=message):
        run(request_for())
    assert len(list(interrupted.glob(".work/records/*.json"))) == 2
    run(request_for(restart=True))
    assert len(list(request_for().output.glob("masks/*.png"))) == 5


@pytest.mark.parametrize("change", ["version", "environment", "model"])
def test_resuming_with_another_version_device_or_temperature_is_refused(
    request_for, interrupted, monkeypatch, change
):
    if change == "version":
        monkeypatch.setattr(run_module, "version", lambda _: "99.0")
    elif change == "environment":
        monkeypatch.setattr(Predictor, "environment", property(lambda _: {"device": "another"}))
    else:
        card = request_for().output.with_name("model") / "model.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | {"temperature": 1.5}))
    with pytest.raises(InputError, match=rf"was started with other {change}; give the same again, or --restart"):
        run(request_for(resume=True))
    assert interrupted.exists()


def test_resuming_with_an_edited_mask_of_the_valid_area_is_refused(request_for, tmp_path, monkeypatch):
    valid = np.full((96, 128), 255, np.uint8)
    valid[:10] = 0
    Image.fromarray(valid).save(tmp_path / "valid.png")
    with monkeypatch.context() as context:
        context.setattr(run_module, "_write_tables", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(request_for(valid_area=str(tmp_path / "valid.png")))
    valid[:20] = 0
    Image.fromarray(valid).save(tmp_path / "valid.png")
    with pytest.raises(InputError, match="was started with other valid areas; give the same again"):
        run(request_for(valid_area=str(tmp_path / "valid.png"), resume=True))


def test_records_of_another_plan_are_measured_again(request_for, interrupted):
    record = interrupted / ".work/records/a.json"
    content = json.loads(record.read_text())
    content["record"]["values"]["islands"] = 99
    record.write_text(json.dumps(content | {"plan": "another"}))
    run(request_for(resume=True))
    assert pd.read_csv(request_for().output / "fields.csv")["islands"].tolist() == [6] * 5


def test_a_second_run_into_the_same_output_is_refused_while_the_first_is_running(request_for):
    request = request_for()
    with (
        PartialOutput(request.output).lock(),
        pytest.raises(InputError, match="out: another run is writing there; wait for it, or give another"),
    ):
        run(request)
    run(request)
    assert sorted(path.name for path in request.output.parent.iterdir()) == ["heat42", "model", "out"]


def test_the_output_is_complete_before_its_records_are_removed(request_for, monkeypatch):
    def killed(path):
        if path.name == ".work":
            raise KeyboardInterrupt

    monkeypatch.setattr(partial_output, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        run(request_for())
    assert (request_for().output / "report.html").is_file()


def test_what_was_put_into_the_output_meanwhile_stays_and_so_do_the_results(request_for, monkeypatch):
    request, real = request_for(), run_module._write_tables

    def fill(*arguments):
        real(*arguments)
        request.output.mkdir()
        (request.output / "notes.txt").touch()

    with monkeypatch.context() as context:
        context.setattr(run_module, "_write_tables", fill)
        with pytest.raises(InputError, match="out: is no longer empty; empty it, then run the same command with"):
            run(request)
    (request.output / "notes.txt").unlink()
    run(request_for(resume=True))
    assert (request.output / "report.html").is_file()
