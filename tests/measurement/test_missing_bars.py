"""A field without an information bar among others with one may have lost it, or hide it from detection."""

import numpy as np
from PIL import Image, ImageDraw

from microseg.measurement.run import run


def add_bar(path):
    with Image.open(path) as image:
        wider = Image.new("L", (image.width, image.height + 16), 0)
        wider.paste(image, (0, 0))
    ImageDraw.Draw(wider).text((4, image.height + 2), "20.00 kV  5 000 x", fill=255)
    wider.save(path)


def test_a_field_without_a_bar_is_warned_of_where_others_have_one(request_for, tmp_path):
    for name in ("a.png", "d.png", "e.png"):
        add_bar(tmp_path / "heat42" / name)
    results = run(request_for(crop_bottom="auto"))
    warned = {
        name for name, texts in results.warnings.items() if any("no information bar" in text for text in texts)
    }
    assert warned == {"b.tif", "c.jpg"}
    assert [image.bar for image in results.intake.images] == [16, 0, 0, 16, 16]
    assert np.unique(results.fields["height_px"]).tolist() == [96]


def test_nothing_is_warned_of_where_no_field_has_a_bar(request_for):
    results = run(request_for(crop_bottom="auto"))
    assert not any("bar" in text for texts in results.warnings.values() for text in texts)
