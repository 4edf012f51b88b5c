"""An interrupted measurement leaves no output, and the same command with --resume goes on with it."""

import errno

import pandas as pd
import pytest

from microseg.common.errors import InputError
from microseg.measurement import segmentation
from microseg.measurement.run import run


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_run_leaves_no_output_and_is_gone_on_with(request_for, monkeypatch, interruption):
    whole = request_for(output=request_for().output.with_name("whole"))
    run(whole)
    request, real, begun = request_for(), segmentation.write_overlay, []

    def interrupt(path, *arguments):
        begun.append(path.stem)
        if begun == ["a", "b", "c"]:
            raise interruption
        real(path, *arguments)

    monkeypatch.setattr(segmentation, "write_overlay", interrupt)
    expected = KeyboardInterrupt if isinstance(interruption, KeyboardInterrupt) else InputError
    with pytest.raises(expected) as caught:
        run(request)
    if expected is InputError:
        assert "out: the disk is full; free some space, then run the same with --resume" in str(caught.value)
    assert not request.output.exists()
    begun.clear()
    run(request_for(resume=True))
    assert begun[0] == "c"
    assert begun[-1] == "e"
    assert not (request.output.parent / ".out.partial").exists()
    for path in whole.output.rglob("*.*"):
        if path.suffix != ".html":
            assert (request.output / path.relative_to(whole.output)).read_bytes() == path.read_bytes(), path


def test_a_resumed_run_with_other_settings_is_refused_and_one_without_it_starts_anew(request_for, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(segmentation, "write_labels", fail)
        with pytest.raises(KeyboardInterrupt):
            run(request_for())
    with pytest.raises(InputError, match="was begun with other settings; give the same again"):
        run(request_for(resume=True, method="morphology"))
    request = request_for(method="morphology")
    run(request)
    assert pd.read_csv(request.output / "fields.csv")["islands"].tolist() == [6] * 5
