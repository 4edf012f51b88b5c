"""The page of `dvc plots show` and `dvc plots diff`: whole without a network, drawn by a real browser."""

import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dvc_render.vega import VegaRenderer
from PIL import Image

from browser import BROWSER_OPTIONS

ROOT = Path(__file__).parents[2]
TEMPLATE_FOLDER = ROOT / ".dvc/plots"
OPTIONS = (*BROWSER_OPTIONS, "--window-size=1400,2400", "--virtual-time-budget=20000", "--dump-dom")
# What the test itself asks of a page in the browser: did every image decode, and what did the page load?
PROBE = """<script>
addEventListener('load', () => setTimeout(() => {
  const images = [...document.images].map((image) => [image.alt, image.naturalWidth]);
  const loaded = performance.getEntriesByType('resource').map((entry) => entry.name);
  document.body.dataset.probe = JSON.stringify({ images, loaded });
}, 1000));
</script>"""

DEFINITIONS = """
plots:
  - IoU by epoch:
      title: Validation IoU by epoch
      x: epoch
      y: {plots/training.csv: [iou_mean, iou_median]}
      x_label: epoch
      y_label: IoU
  - plots/loss.csv:
      title: Training loss
      template: simple
      x: epoch
      y: loss
      x_label: epoch
      y_label: loss
  - plots/islands.csv:
      title: IoU by island area
      template: area_iou
      x: area_px
      y: iou
      x_label: foreground area (px)
      y_label: IoU
  - plots/only_new.csv:
      title: Only in the newer revision
      template: scatter
      x: x
      y: y
  - plots/worst
"""
CUSTOM_TEMPLATE = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "data": {"values": "<DVC_METRIC_DATA>"},
    "title": "<DVC_METRIC_TITLE>",
    "mark": "point",
    "encoding": {
        "x": {
            "field": "<DVC_METRIC_X>",
            "type": "quantitative",
            "downsample": {"type": "log"},
            "title": "<DVC_METRIC_X_LABEL>",
        },
        "y": {"field": "<DVC_METRIC_Y>", "type": "quantitative", "title": "<DVC_METRIC_Y_LABEL>"},
        "color": "<DVC_METRIC_COLOR>",
    },
}


def run(*command: str, folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def dvc(*arguments: str, folder: Path) -> None:
    run(sys.executable, "-m", "dvc", *arguments, folder=folder)


def write_results(folder: Path, gain: float) -> None:
    """What an evaluation might leave: two curves, a scatter and pictures of the worst micrographs."""
    plots = folder / "plots"
    (plots / "worst").mkdir(parents=True, exist_ok=True)
    epochs = range(1, 13)
    curve = [f"{e},{gain * e / (e + 3):.4f},{gain * e / (e + 2):.4f}" for e in epochs]
    (plots / "training.csv").write_text("\n".join(["epoch,iou_mean,iou_median", *curve]) + "\n")
    (plots / "loss.csv").write_text(
        "\n".join(["epoch,loss", *(f"{e},{1 / (gain * e):.4f}" for e in epochs)]) + "\n"
    )
    islands = [f"{40 * 2**k},{gain * k / (k + 1):.4f}" for k in range(8)]
    (plots / "islands.csv").write_text("\n".join(["area_px,iou", *islands]) + "\n")
    for rank in range(1, 4):
        picture = np.full((120, 320), 60 + 40 * rank, dtype=np.uint8)
        picture[30:90, 40 : 40 + int(200 * gain)] = 230
        Image.fromarray(picture).save(plots / f"worst/rank_{rank:02}.png")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits with this project's DVC configuration and plots page, and results of their own."""
    folder = tmp_path_factory.mktemp("plots_page") / "repository"
    folder.mkdir()
    run("git", "init", "-q", folder=folder)
    run("git", "config", "user.email", "test@example.org", folder=folder)
    run("git", "config", "user.name", "Test", folder=folder)
    dvc("init", "-q", folder=folder)
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    shutil.copytree(TEMPLATE_FOLDER, folder / ".dvc/plots", dirs_exist_ok=True)
    (folder / ".dvc/plots/area_iou.json").write_text(json.dumps(CUSTOM_TEMPLATE))
    (folder / "dvc.yaml").write_text(DEFINITIONS)
    for gain, tag in ((0.7, "baseline"), (0.9, "longer")):
        write_results(folder, gain)
        if tag == "longer":
            (folder / "plots/only_new.csv").write_text("x,y\n1,2\n2,3\n")
            (folder / "plots/worst/rank_03.png").unlink()
        run("git", "add", "--all", folder=folder)
        run("git", "commit", "-q", "-m", tag, folder=folder)
        run("git", "tag", tag, folder=folder)
    return folder


@pytest.fixture(scope="module")
def shown(repository: Path) -> Path:
    dvc("plots", "show", "-o", "a/folder/of my own", folder=repository)
    return repository / "a/folder/of my own"


@pytest.fixture(scope="module")
def compared(repository: Path) -> Path:
    dvc("plots", "diff", "baseline", "longer", folder=repository)
    return repository / "dvc_plots"


def in_browser(browser: str, page_folder: Path, tmp_path: Path) -> tuple[str, dict[str, list[str]], list[str]]:
    """Open a copy of the page, network off: the drawn document, the probe's answer, the console's lines."""
    copy = Path(shutil.copytree(page_folder, tmp_path / "copy"))
    with (copy / "index.html").open("a") as page:
        page.write(PROBE)
    command = [
        browser,
        *OPTIONS,
        f"--user-data-dir={tmp_path / 'profile'}",
        (copy / "index.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answer = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert answer, "the page's load event never came"
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return done.stdout, json.loads(html.unescape(answer[1])), console


def remote_resources(page: str) -> list[str]:
    """The tags that make a browser load something from another machine; what stands inside a script is no tag."""
    markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1</script>", page, flags=re.DOTALL)
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", markup)
    return [tag for tag in tags if re.search(r"""\b(?:src|href)\s*=\s*["']?(?:https?:)?//""", tag)]


def drawings(document: str) -> list[str]:
    return re.findall(r'<svg[^>]*class="marks".*?</svg>', document, flags=re.DOTALL)


def text_of(drawing: str) -> str:
    return " ".join(re.findall(r"<text[^>]*>([^<]+)</text>", drawing))


def test_page_holds_the_pinned_libraries_and_nothing_else():
    page = (TEMPLATE_FOLDER / "page.html").read_text(encoding="utf-8")
    libraries = json.loads((TEMPLATE_FOLDER / "page/libraries.json").read_text(encoding="utf-8"))
    blocks = re.findall(r'<script data-package="([^"]+)">(.*?)</script>', page, flags=re.DOTALL)
    assert [(package, hashlib.sha256(script.encode()).hexdigest()) for package, script in blocks] == [
        (f"{library['name']}@{library['version']}", library["sha256"]) for library in libraries
    ]
    own_part = re.sub(
        r"<script data-package=.*</script>(?=\n<script>)", "<!-- libraries -->", page, flags=re.DOTALL
    )
    licences = (TEMPLATE_FOLDER / "page/licences.txt").read_text(encoding="utf-8")
    own_part = own_part.replace(f"<!--\n{licences}-->", "<!-- licences -->")
    assert own_part == (TEMPLATE_FOLDER / "page/source.html").read_text(encoding="utf-8"), "run build.py again"


def test_libraries_are_those_that_dvc_asks_for():
    libraries = json.loads((TEMPLATE_FOLDER / "page/libraries.json").read_text(encoding="utf-8"))
    pinned = {library["name"]: library["version"] for library in libraries}
    wanted = dict(re.findall(r"npm/([\w-]+)@([\d.]+)", VegaRenderer.SCRIPTS))
    # The newer vega-embed is the one with a working version check, as build.py says.
    assert pinned.pop("vega-embed").split(".")[0] == wanted.pop("vega-embed").split(".")[0]
    assert pinned == wanted


@pytest.mark.parametrize("page", ["shown", "compared"])
def test_page_names_no_remote_resource(page: str, request: pytest.FixtureRequest):
    text = (request.getfixturevalue(page) / "index.html").read_text(encoding="utf-8")
    assert "vegaEmbed('#" in text
    assert "<img src=" in text
    assert remote_resources(text) == []


def test_remote_resources_of_the_default_page_are_recognised():
    assert len(remote_resources(VegaRenderer.SCRIPTS)) == 3


def test_browser_draws_the_page_of_plots_show(browser: str, shown: Path, tmp_path: Path):
    document, probe, console = in_browser(browser, shown, tmp_path)
    assert console == []
    assert all(address.startswith("file:") for address in probe["loaded"])
    charts = drawings(document)
    assert len(charts) == 4
    assert "Validation IoU by epoch" in text_of(charts[0])
    assert "foreground area (px)" in text_of(charts[2])
    assert probe["images"] == [[f"plots/worst/rank_{rank:02}.png, workspace", 320] for rank in (1, 2)]


def test_browser_draws_the_page_of_plots_diff(browser: str, compared: Path, tmp_path: Path):
    document, probe, console = in_browser(browser, compared, tmp_path)
    assert console == []
    assert all(address.startswith("file:") for address in probe["loaded"])
    charts = drawings(document)
    assert len(charts) == 4
    assert all("baseline longer" in text_of(chart) for chart in charts[:3])
    first, second = "#0072b2", "#d55e00"
    assert all(first in chart and second in chart for chart in charts[:3])
    assert second in charts[3], "a revision keeps its colour in a chart that the other one lacks"
    assert first not in charts[3]
    assert probe["images"] == [
        ["plots/worst/rank_01.png, baseline", 320],
        ["plots/worst/rank_01.png, longer", 320],
        ["plots/worst/rank_02.png, baseline", 320],
        ["plots/worst/rank_02.png, longer", 320],
        ["plots/worst/rank_03.png, baseline", 320],
    ]
    assert document.count("has no such file</p>") == 1


def test_browser_check_sees_what_is_broken(browser: str, tmp_path: Path):
    page = '<body><img src="absent.png" alt="absent"><script src="https://cdn.example/vega.js"></script><script>vegaEmbed()</script>'
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/index.html").write_text(page)
    _, probe, console = in_browser(browser, tmp_path / "broken", tmp_path)
    assert probe["images"] == [["absent", 0]]
    assert "https://cdn.example/vega.js" in probe["loaded"]
    assert any("vegaEmbed is not defined" in line for line in console)
