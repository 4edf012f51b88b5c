"""An interrupted run leaves no output, and the same command with --resume continues it."""

import errno

import pandas as pd
import pytest

from microseg.common.errors import InputError
from microseg.measurement import segmentation
from microseg.measurement.run import run


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
    with pytest.raises(InputError, match="was started with other settings; give the same again"):
        run(request_for(resume=True, method="morphology"))
    request = request_for(method="morphology")
    run(request)
    assert pd.read_csv(request.output / "fields.csv")["islands"].tolist() == [6] * 5
