"""The origin of initial weights is read as it was written; a missing or broken file is named."""

import pytest

from microseg.common.errors import InputError
from microseg.network.model_card import Pretraining, WeightsOrigin, read_weights_origin, write_weights_origin


def test_an_origin_is_read_as_written(tmp_path):
    given = ("micronet", "resnet50", "w.pth", "1.1", "https://a.example/w.pth", "ab" * 32, 5, "MIT")
    origin = WeightsOrigin(*given, Pretraining([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], tensorflow=True))
    write_weights_origin(tmp_path, origin)
    assert read_weights_origin(tmp_path) == origin


@pytest.mark.parametrize(
    "text", ["{", '{"kind": "none"}', '{"kind": "none", "encoder": "plain", "more": 1}', "[]"]
)
def test_other_content_is_refused(tmp_path, text):
    (tmp_path / "origin.json").write_text(text)
    with pytest.raises(
        InputError, match=r"origin\.json: not an origin of weights .*rerun the stage encoder_weights"
    ):
        read_weights_origin(tmp_path)


def test_a_missing_file_is_refused_with_the_stage_to_run(tmp_path):
    with pytest.raises(InputError, match=r"origin\.json: no such file; run the stage encoder_weights"):
        read_weights_origin(tmp_path)
