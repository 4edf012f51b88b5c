import ast

import pytest

from microseg.training.fingerprint import CODE, code_digest, fingerprint

from tiny_training import ROOT, blobs, tiny_params, write_blobs


@pytest.fixture
def files(tmp_path):
    names = write_blobs(tmp_path, count=4)
    return blobs(tmp_path, names[:2]), blobs(tmp_path, names[2:])


def name(files, seed=1, device="cpu", **changes) -> str:
    return fingerprint(*files, tiny_params(**changes), seed, device)


@pytest.mark.parametrize(
    "change",
    [
        {"base_channels": 3}, {"crop": 48}, {"crops_per_micrograph": 3}, {"foreground_fraction": 0.75},
        {"batch_size": 3}, {"accumulate_batches": 2}, {"loss": "bce"}, {"lr": 0.1}, {"warmup_epochs": 1},
        {"weight_decay": 0.1}, {"gradient_clip": None}, {"grey_values": "none"}, {"compile": True},
        {"activation_checkpointing": True}, {"devices": 2}, {"nodes": 2}, {"schedule": "cosine"},
        {"augment": {"symmetries": True, "brightness": 0.1, "contrast": 0.1, "noise": 0.02, "blur": 1.0}},
        {"seed": 2}, {"device": "another"},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_changes_the_weights_changes_the_fingerprint(files, change):
    assert name(files, **change) != name(files)


@pytest.mark.parametrize(
    "change",
    [{"epochs": 9}, {"workers": 2}, {"keep": "last"}, {"keep_epochs": [1]}, {"early_stopping": 2}],
    ids=str,
)
def test_what_changes_no_epoch_does_not(files, change):
    assert name(files, **change) == name(files)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_the_number_of_epochs_counts_where_the_schedule_depends_on_it(files, schedule):
    assert name(files, schedule=schedule, epochs=4) != name(files, schedule=schedule, epochs=5)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_the_content_of_every_file_counts(files, part, folder):
    before = name(files)
    path = getattr(files[part], folder) / files[part].names[0]
    path.write_bytes(path.read_bytes() + b"\0")
    assert name(files) != before


def test_the_place_of_the_files_does_not_count(files, tmp_path):
    before = name(files)
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert name([blobs(moved, part.names) for part in files]) == before


def test_comments_and_layout_of_the_code_do_not_count(tmp_path, monkeypatch):
    sources = {
        "first": "x = 1  # one\n",
        "second": "\n\nx = (1)\n",
        "third": "x = 2\n",
    }
    for module, source in sources.items():
        (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.setattr("microseg.__path__", [str(tmp_path)])
    first, second, third = (code_digest(module) for module in sources)
    assert first == second != third


def test_the_code_that_counts_is_all_that_the_training_loop_imports_but_what_only_reports():
    reporting = {
        "common.errors",
        "common.files",
        "common.params",
        "common.progress",
        "common.workspace",
        "training.checkpoint_space",
        "training.checkpoints",
        "training.history",
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
