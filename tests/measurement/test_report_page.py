"""The report: one page that a browser shows without network access, on a screen, a phone and paper."""

import html
import json
import math
import re
import shutil
import subprocess

import pandas as pd
import pytest

from microseg.measurement.formatting import with_interval, with_subscripts
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
  const bars = [...document.querySelectorAll('.stack')].map((one) =>
    parseFloat(getComputedStyle(one.querySelector('.scale'), '::after').width) / one.querySelector('img').width);
  const unit = Math.max(...[...document.querySelectorAll('td.value')]
    .map((one) => one.getBoundingClientRect().right));
  document.body.dataset.probe = JSON.stringify({ images, loaded, wide, shown, bars, unit });
}, 300));
</script>"""
TIMES = "\N{MULTIPLICATION SIGN}"
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
        assert len(probe["images"]) == 1 + 4 + 3 * 7  # disks have no orientation
        assert min(probe["images"]) > 0
        assert all(address.startswith("data:") for address in probe["loaded"])
        wide = set(probe["wide"])
        assert wide <= ({"TABLE that scrolls"} if width == 500 else set()), width
        assert probe["shown"] == [[], ["outline"], ["probability"]]
        # Of 128 pixels of 0.1 um, 12.8 um, the bar is 2 um.
        assert probe["bars"] == pytest.approx([2 / 12.8] * 7, abs=0.01)
        # The unit of the mean free path is on the page without scrolling.
        assert probe["unit"] <= width


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
    places = [text.index(with_subscripts(headline(row, ""))) for row in rows]
    places += [text.index(words) for words in ("Before you use these figures", "The material", "The fields")]
    assert places == sorted(places)
    row = specimens[(specimens["quantity"] == "mean_free_path_um") & (specimens["specimen"] == "heat 43")].iloc[0]
    assert f'<td class="value">{with_interval(row["mean"], row["low"], row["high"])} µm</td>' in text


def test_symbols_have_subscripts_wherever_a_reader_sees_them(report):
    text = re.sub(r'src="[^"]*"', "", (report / "report.html").read_text(encoding="utf-8"))
    assert re.findall(r".{20}\b[ANSV]_[ALV]\b", text) == []
    assert (
        with_subscripts("A_A of <A_A>, not of BA_A or A_AB")
        == "A<sub>A</sub> of &lt;A<sub>A</sub>&gt;, not of BA_A or A_AB"
    )


def test_it_says_what_was_measured(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    # Four fields of 128 x 96 pixels of 0.1 um are 491.52 square micrometres.
    for cell in ("4", "4.92 {} 10⁻⁴ mm²", "12.8 {} 9.6 µm", "128 {} 96 px"):
        assert f"<td>{cell.format(TIMES)}</td>" in text
    assert "Magnification" not in text


def test_no_column_says_what_another_one_says(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    assert re.search(r"<th>above 0.4</th><th>above 0.6</th><th>sigmoid, above 0.5</th><th>morphology</th>", text)
    assert "S<sub>V</sub>\n" not in text


def test_thirty_specimens_have_one_row_each(tmp_path, sees_bright):  # noqa: ARG001 (replaces the network)
    for count in (1, 2, 4):
        names = [f"heat {number}/{count}.png" for number in range(30)]
        write_disks(tmp_path / "steel", names, height=64, width=64, count=count)
    run(Request(tmp_path / "steel", str(write_tiny_model(tmp_path / "model")), tmp_path / "out"))
    text = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    material = text[text.index("<h2>The material</h2>") : text.index("<h3>Differences")]
    assert material.count("<tr>") == 1 + 30
    assert len(re.findall(r"<td>heat \d+</td>", material)) == 30
    differences = text[text.index("<h3>Differences") : text.index("<h2>How sensitive")]
    assert differences.count("<tr>") == 1 + 29
    assert len(re.findall("No pixel size|Fewer than 30 islands", text)) == 2  # one warning for all of a kind


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
        ({"mean": 0} | NO_INTERVAL, "N_A is below 8.8 1/mm² with 95 % confidence: no island in 14 fields"),
        (
            NO_INTERVAL,
            "A_A = 12.4 % (n = 14 fields): no confidence interval from equal fields, or islands in one of them",
        ),
    ],
)
def test_the_headline(changes, sentence):
    assert headline(ROW | changes, "8.8 1/mm²") == sentence
