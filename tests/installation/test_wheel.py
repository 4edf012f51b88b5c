"""The wheel, installed into an environment of its own, runs outside of the project."""

import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline_files import ROOT
from project_copy import environment


def call(*command: object, cwd: Path) -> str:
    variables = environment()
    variables.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("installation")
    # The build backend is pinned in requirements-dev.lock and installed: nothing is downloaded.
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    call(*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheels", cwd=folder)
    (wheel,) = (folder / "wheels").iterdir()
    venv.create(folder / "fresh", with_pip=False)
    paths = sysconfig.get_paths("venv", {"base": str(folder / "fresh"), "platbase": str(folder / "fresh")})
    python = Path(paths["scripts"], "python.exe" if sys.platform == "win32" else "python")
    call(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    # Other people's packages are those of this environment. The .pth files there are not read in turn, and so an
    # editable installation of this project is not seen.
    others = [folder for folder in sys.path if Path(folder).name == "site-packages"]
    Path(paths["purelib"], "others.pth").write_text("\n".join(others), encoding="utf-8")
    return Path(paths["scripts"])


def test_the_package_is_the_wheel_s(programs: Path, tmp_path: Path):
    place = call(programs / "python", "-c", "import microseg; print(microseg.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(programs.parent)


def test_the_wheel_is_typed_and_holds_the_package_only(programs: Path, tmp_path: Path):
    listing = "from importlib.metadata import files; print(*files('microseg'), sep='\\n')"
    files = {Path(line) for line in call(programs / "python", "-c", listing, cwd=tmp_path).split("\n") if line}
    package = {file for file in files if file.parts[0] == "microseg" and "__pycache__" not in file.parts}
    expected = {file.relative_to(ROOT / "src") for file in (ROOT / "src").rglob("*") if file.is_file()}
    assert package == {file for file in expected if "__pycache__" not in file.parts}
    assert Path("microseg/py.typed") in package
    metadata = f"microseg-{version('microseg')}.dist-info"
    assert {file.parts[0] for file in files - package} <= {"microseg", metadata, ".."}


def test_the_console_program_helps(programs: Path, tmp_path: Path):
    assert "agreement" in call(programs / "microseg", "--help", cwd=tmp_path)


def test_the_points_that_annotators_agree_upon(programs: Path, tmp_path: Path):
    table = "image;A;B\nIMG_1.png;[(10, 10)];[(12, 10)]\nIMG_2.png;[(10, 10)];[(90, 90)]\n"
    (tmp_path / "points.csv").write_text(table, encoding="utf-8")
    call(
        *(programs / "microseg", "agreement", "--points", "points.csv", "--annotators", "A", "B"),
        *("--agreed", "agreed.csv", "--metrics", "agreement.json"),
        cwd=tmp_path,
    )
    assert (tmp_path / "agreed.csv").read_text(encoding="utf-8").splitlines()[1:] == ["IMG_1.png,11.0,10.0,A B"]
