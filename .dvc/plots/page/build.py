"""Rebuild ../page.html, the page of `dvc plots show` and `dvc plots diff`. It needs npm and the network.

DVC's own page loads the chart libraries from a content-delivery network; in this one they stand inside, so that it
also works with no network and wherever it is copied. libraries.json pins them: vega and vega-lite are the versions
that DVC's page names, vega-embed is a little newer, because 6.18.2 wrongly warns about the version of every chart.
Both the package (npm's own integrity value) and the script taken from it are checked.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "page.html"
# Where source.html wants the libraries and their licences.
LIBRARIES_MARK = "<!-- libraries -->"
LICENCES_MARK = "<!-- licences -->"


def fetch_script(library: dict[str, str], folder: Path) -> str:
    """Download one package into ``folder`` and return its script.

    Raises:
        ValueError: the package or the script is not the pinned one.
        subprocess.CalledProcessError: npm could not fetch the package.
    """
    package = f"{library['name']}@{library['version']}"
    command = ["npm", "pack", package, "--silent", "--pack-destination", str(folder)]
    file_name = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    content = (folder / file_name).read_bytes()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if integrity != library["integrity"]:
        raise ValueError(
            f"{package} has the integrity {integrity}, but libraries.json says {library['integrity']}"
        )
    with tarfile.open(folder / file_name) as archive:
        member = archive.extractfile(f"package/{library['script']}")
        script = member.read() if member else b""
    if hashlib.sha256(script).hexdigest() != library["sha256"]:
        raise ValueError(f"{library['script']} of {package} has not the sha256 in libraries.json")
    return script.decode("utf-8")


def assemble(source: str, licences: str, scripts: dict[str, str]) -> str:
    """Put the licences and the scripts, by package, in the places that the source marks."""
    tags = "\n".join(f'<script data-package="{package}">{script}</script>' for package, script in scripts.items())
    return source.replace(LICENCES_MARK, f"<!--\n{licences}-->").replace(LIBRARIES_MARK, tags)


def main() -> None:
    """Write the page."""
    libraries = json.loads((HERE / "libraries.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        scripts = {f"{item['name']}@{item['version']}": fetch_script(item, Path(folder)) for item in libraries}
    source = (HERE / "source.html").read_text(encoding="utf-8")
    licences = (HERE / "licences.txt").read_text(encoding="utf-8")
    PAGE.write_text(assemble(source, licences, scripts), encoding="utf-8", newline="\n")
    sys.stdout.write(f"{PAGE}: {PAGE.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
