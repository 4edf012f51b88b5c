"""A fingerprint changes with everything that affects the weights of a training, and with nothing else."""

import ast
from dataclasses import replace
from functools import cache
from importlib.metadata import version

import pytest
import torch

from microseg.network import environment
from microseg.network.sliding_window import Tiling
from microseg.training.fingerprint import CODE, code_digest, fingerprint

from tiny_training import ROOT, SMALL_ENCODER, blobs, tiny_params, write_blobs

AUGMENT = tiny_params().augment.model_dump()

digest_once = cache(code_digest)


@pytest.fixture(autouse=True)
def each_module_is_read_once(monkeypatch):
    """Read the code once and not for every fingerprint, which would take most of the time of these tests."""
    monkeypatch.setattr("microseg.training.fingerprint.code_digest", digest_once)


@pytest.fixture
def files(tmp_path):
    names = write_blobs(tmp_path, count=4)
    return blobs(tmp_path, names[:2]), blobs(tmp_path, names[2:])


def name(files, seed=1, device="cpu", tile_size=None, overlap=0.0, **changes) -> str:
    training, validation = map(replace, files)  # whose files have not been read yet
    return fingerprint(training, validation, tiny_params(**changes), seed, device, Tiling(tile_size, overlap))


@pytest.mark.parametrize(
    "change",
    [
        {"base_channels": 3}, {"crop_size": 48}, {"crops_per_micrograph": 3}, {"foreground_oversampling": 0.75},
        {"batch_size": 3}, {"accumulate_grad_batches": 2}, {"loss": "bce"}, {"lr": 0.1}, {"warmup_epochs": 1},
        {"weight_decay": 0.1}, {"max_grad_norm": None}, {"norm_layer": "batch"},
        {"input_normalization": "none"}, {"compile": True}, {"downsample": 2.0},
        {"activation_checkpointing": True}, {"devices": 2}, {"num_nodes": 2}, {"schedule": "cosine"},
        {"augment": AUGMENT | {"blur_sigma": 1.0}}, {"augment": AUGMENT | {"gamma": 0.2}},
        {"augment": AUGMENT | {"scale_jitter": 0.2}}, {"augment": AUGMENT | {"random_erasing": 0.2}},
        {"ema_decay": 0.9},
        {"seed": 2}, {"device": "another"}, {"validate_every": 2},
    ],
    ids=str,
)  # fmt: skip
def test_everything_that_changes_the_weights_changes_the_fingerprint(files, change):
    assert name(files, **change) != name(files)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 9},
        {"decay_fraction": 0.5},
        {"num_workers": 2},
        {"checkpoint": "last"},
        {"checkpoint_epochs": [1]},
        {"early_stopping_patience": 2},
        {"pixel_size_um": 0.1},
    ],
    ids=str,
)
def test_parameters_that_change_no_epoch_do_not_count(files, change):
    assert name(files, **change) == name(files)


@pytest.mark.parametrize(
    ("choice", "change"),
    [
        ({"crop_size": None}, {"crops_per_micrograph": 3}),
        ({"crop_size": None}, {"foreground_oversampling": 0.75}),
        ({"encoder": SMALL_ENCODER, "crop_size": 64}, {"base_channels": 3}),
        ({"encoder": SMALL_ENCODER, "crop_size": 64}, {"norm_layer": "batch"}),
    ],
    ids=str,
)
def test_parameters_that_another_one_keeps_from_acting_do_not_count(files, choice, change):
    assert name(files, **choice, **change) == name(files, **choice)
    assert name(files, **change) != name(files)


def test_tiles_count_and_their_overlap_only_with_tiles(files):
    names = [name(files, tile_size=tile, overlap=overlap) for tile in (None, 32, 64) for overlap in (0.25, 0.5)]
    assert names[0] == names[1]
    assert len(set(names)) == 5


@pytest.mark.parametrize("subset", [0, 1])
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_the_content_of_every_file_counts(files, subset, folder):
    before = name(files)
    path = getattr(files[subset], folder) / files[subset].names[0]
    path.write_bytes(path.read_bytes() + b"\0")
    assert name(files) != before


def test_the_location_of_the_files_does_not_count(files, tmp_path):
    before = name(files)
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert name([blobs(moved, subset.names) for subset in files]) == before


def test_comments_docstrings_and_layout_of_the_code_do_not_count(tmp_path, monkeypatch):
    sources = {
        "first": "x = 1  # one\n",
        "second": "\n\nx = (1)\n",
        "third": "x = 2\n",
        "fourth": '"""What it is."""\n\nx = 1\n"""What x is."""\n',
    }
    for module, source in sources.items():
        (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.setattr("microseg.__path__", [str(tmp_path)])
    first, second, third, fourth = (code_digest(module) for module in sources)
    assert first == second == fourth != third


@pytest.mark.parametrize("library", ["numpy", "scipy", "lightning-fabric"])
def test_the_versions_of_the_libraries_count(files, monkeypatch, library):
    before = name(files)
    monkeypatch.setattr(environment, "version", lambda asked: "0.0" if asked == library else version(asked))
    assert name(files) != before


def test_the_version_of_torch_counts(files, monkeypatch):
    before = name(files)
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert name(files) != before


SAMPLE = '''"""A module."""

from dataclasses import dataclass

@dataclass(frozen=True)
class Point:
    """A point."""

    x: float = 1.5
    """Its place."""

    def moved(self, *steps: int, by: float = 0.0) -> "Point":
        """Return another one."""
        if steps and (last := steps[-1]) > 0:
            return Point(self.x + last * by)
        return Point(*[self.x for _ in steps if not None])

async def name(point: Point, /) -> str:
    return f"{point.x:>{8}} " "of" f"{point!r}" + 'it"s'

def nothing() -> None:
    """Only a docstring."""
'''


def test_the_version_of_python_does_not_count(tmp_path, monkeypatch):
    # Python 3.11, 3.12 and 3.13 gave this digest.
    (tmp_path / "sample.py").write_text(SAMPLE)
    monkeypatch.setattr("microseg.__path__", [str(tmp_path)])
    assert code_digest("sample") == "646cba42016ee51645a1ea713d5102c1f86be312006ebc9ac0897cb379bd4d4a"


def test_the_code_that_counts_is_all_that_the_training_loop_imports_except_reporting():
    reporting = {
        "common.errors",
        "common.files",
        "common.parallel",
        "common.params",
        "common.progress",
        "common.tables",
        "network.memory",
        "network.model_card",
    }
    found, waiting = set(), ["training.loop"]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            tree = ast.parse(
                (ROOT / "src" / "microseg" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
            )
            imports = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
            waiting += [name.removeprefix("microseg.") for name in imports if name.startswith("microseg.")]
    assert found == set(CODE) | reporting
