"""The report: one page that a browser shows without network access, on a screen, a phone and paper."""

import html
import json
import math
import re
import shutil
import subprocess

import pandas as pd
import pytest

from microseg.measurement.formatting import with_interval
from microseg.measurement.report import headline
from microseg.measurement.run import run
from microseg.measurement.settings import Request
from microseg.micrographs.pixel_size import parse_pixel_size

from browser import BROWSER_OPTIONS, find_browser
from drawn_micrographs import write_disks, write_tiny_model

# Reports of the page: are the images there, what does it load, does anything overflow it?
PROBE = """<script>
addEventListener('load', () => setTimeout(() => {
  const images = [...document.images].map((image) => image.naturalWidth);
  const loaded = performance.getEntriesByType('resource').map((entry) => entry.name.slice(0, 40));
  const wide = [...document.querySelectorAll('p, li, h2, table, img, figure, dd')]
    .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map((one) => one.tagName + (one.closest('.wide') ? ' that scrolls' : ''));
  const shown = ['micrograph', 'outline', 'probability'].map((name) => {
    document.getElementById('show-' + name).checked = true;
    return ['outline', 'probability'].filter((one) => document.querySelector('.fields .' + one).offsetParent);
  });
  document.body.dataset.probe = JSON.stringify({ images, loaded, wide, shown });
}, 300));
</script>"""
A4_BETWEEN_MARGINS = 688
"""Width of the printed page in the browser's pixels, 96 an inch: 210 mm less twice 14."""


@pytest.fixture
def report(tmp_path, sees_bright):  # noqa: ARG001 (replaces the network)
    """The folder of results of seven fields of two specimens, with names and columns that need care."""
    names = [
        "a b&c.png",
        "100%#1.png",
        "<i>.png",
        *(f"a_rather_long_name_of_a_micrograph_{n}.png" for n in range(4)),
    ]
    write_disks(tmp_path / "steel", names)
    write_disks(tmp_path / "steel", names[-1:], count=5)
    lines = [
        f"{name},{'heat <42>' if number < 3 else 'heat 43'},Nital & more" for number, name in enumerate(names)
    ]
    (tmp_path / "fields.csv").write_text("\n".join(["image,specimen,etching", *lines]))
    card = write_tiny_model(tmp_path / "model") / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"foreground": ["network", "needles"]}))
    run(
        Request(
            tmp_path / "steel",
            str(card.parent),
            tmp_path / "out",
            pixel_size=parse_pixel_size("0.1um"),
            fields=tmp_path / "fields.csv",
        )
    )
    return tmp_path / "out"


def in_browser(page, tmp_path, width):
    profile = tmp_path / f"profile{width}"
    command = [
        *(
            find_browser(),
            *BROWSER_OPTIONS,
            f"--window-size={width},2000",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ),
        *(f"--user-data-dir={profile}", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answer = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert answer, "the page's load event never came"
    shutil.rmtree(profile, ignore_errors=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(html.unescape(answer[1])), console


def test_a_browser_shows_it_without_a_network_wide_and_narrow_and_on_paper(report, tmp_path):
    find_browser()
    text = (report / "report.html").read_text(encoding="utf-8")
    page = report / "probed.html"
    for width, content in (
        (1200, text),
        (500, text),
        (A4_BETWEEN_MARGINS, text.replace("@media print", "@media all")),
    ):
        page.write_text(content + PROBE, encoding="utf-8")
        probe, console = in_browser(page, tmp_path, width)
        assert console == []
        assert len(probe["images"]) == 1 + 5 + 3 * 7
        assert min(probe["images"]) > 0
        assert all(address.startswith("data:") for address in probe["loaded"])
        wide = set(probe["wide"])
        assert wide <= ({"TABLE that scrolls"} if width == 500 else set()), width
        assert probe["shown"] == [[], ["outline"], ["probability"]]


def test_it_prints(report, tmp_path):
    paper = tmp_path / "report.pdf"
    command = [
        find_browser(),
        *BROWSER_OPTIONS,
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--print-to-pdf={paper}",
    ]
    subprocess.run([*command, (report / "report.html").as_uri()], capture_output=True, check=True, timeout=120)
    assert paper.read_bytes().startswith(b"%PDF")
    assert paper.stat().st_size > 20_000


def test_it_needs_nothing_from_elsewhere_and_runs_no_script(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert re.findall(r'(?:src|href)="(?!data:|overlays/)([^"]{1,60})', text) == []


def test_names_are_escaped_and_link_to_the_overlays(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    assert "Foreground of its annotations" in text
    assert "network, needles" in text
    for shown in ("<b>a b&amp;c.png</b>", "<b>&lt;i&gt;.png</b>", "heat &lt;42&gt;", "Nital &amp; more"):
        assert shown in text
    assert 'href="overlays/100%25%231.jpg"' in text
    assert (report / "overlays/100%#1.jpg").is_file()


def test_it_begins_with_the_headline_then_the_warnings_and_agrees_with_the_tables(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    specimens = pd.read_csv(report / "specimens.csv")
    rows = specimens[specimens["quantity"] == "area_fraction"].to_dict("records")
    places = [text.index(html.escape(headline(row, ""), quote=True)) for row in rows]
    places += [text.index(words) for words in ("Before you use these figures", "The material", "The fields")]
    assert places == sorted(places)
    row = specimens[(specimens["quantity"] == "mean_free_path_um") & (specimens["specimen"] == "heat 43")].iloc[0]
    assert f"<td>{with_interval(row['mean'], row['low'], row['high'])}</td>" in text


ROW = {
    "fields": 14,
    "mean": 0.124,
    "low": 0.1152,
    "high": 0.1335,
    "relative_accuracy_percent": 7.298,
    "more_fields_for_5_percent": 16,
}
NO_INTERVAL = dict.fromkeys(("low", "high", "relative_accuracy_percent", "more_fields_for_5_percent"), math.nan)
MEASURED = "A_A = 12.40 (11.52 to 13.35) % (95 %, n = 14 fields, %RA 7.3 %)"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, f"{MEASURED}; about 16 more fields for 5 %"),
        ({"more_fields_for_5_percent": 0}, f"{MEASURED}; enough fields for 5 %"),
        ({"fields": 4}, "n = 4 fields: too few for a result, measure at least 5"),
        ({"fields": 1} | NO_INTERVAL, "n = 1 field: too few for a result, measure at least 5"),
        ({"mean": 0} | NO_INTERVAL, "no island in 14 fields: N_A is below 8.8 1/mm² with 95 % confidence"),
        (
            NO_INTERVAL,
            "A_A = 12.4 % (n = 14 fields): no confidence interval from equal fields, or islands in one of them",
        ),
    ],
)
def test_the_headline(changes, sentence):
    assert headline(ROW | changes, "8.8 1/mm²") == sentence
