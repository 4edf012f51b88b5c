"""Neither the encoding of redirected output nor a path that cannot be is a traceback, or the end of done work."""

import re
import subprocess
import sys

import pytest

from microseg.console.program import main

from drawn_micrographs import write_disks
from pipeline_files import ROOT
from project_copy import environment

PRINT = """
from microseg.console import preset, program
preset.define = lambda parser: parser.set_defaults(run=lambda _: print("8.2 \\N{PLUS-MINUS SIGN} 0.3"))
program.main(["preset"])
"""


@pytest.mark.parametrize(("encoding", "sign"), [("ascii", rb"\xb1"), ("cp437", b"\xf1"), ("utf-8", b"\xc2\xb1")])
def test_a_character_that_the_encoding_lacks_is_escaped(encoding, sign):
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        env=environment(PYTHONPATH=str(ROOT / "src"), PYTHONIOENCODING=encoding),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.split() == [b"8.2", sign, b"0.3"]


@pytest.mark.parametrize("option", ["folder", "--output", "--fields", "--model"])
def test_a_name_longer_than_file_systems_allow_is_refused_in_one_line(tmp_path, capsys, option):
    paths = {
        "folder": tmp_path / "in",
        "--output": tmp_path / "out",
        "--model": tmp_path,
        "--fields": tmp_path / "f.csv",
    }
    write_disks(tmp_path / "in", ["a.png"])
    (tmp_path / "f.csv").write_text("image,specimen\na.png,steel\n")
    paths[option] = tmp_path / ("n" * 300)
    folder, *others = (str(word) for key, path in paths.items() for word in (key, path) if word != "folder")
    with pytest.raises(SystemExit) as ended:
        main(["segment", folder, *others])
    capsys.readouterr()
    assert re.match(f"error: .*{'n' * 300}", str(ended.value.code))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode here")
def test_a_path_that_is_not_utf_8_is_refused_before_the_work():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "microseg.console.program",
            "segment",
            b"heat\xff",
            "--model",
            "m",
            "--output",
            "o",
        ],
        env=environment(PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == rb"error: heat\udcff: is not UTF-8, so results could not name it; rename it"
