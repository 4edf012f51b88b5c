"""Copies of micrographs are memory-mapped instead of decoding the micrographs for each crop."""

import copy
import logging
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from microseg.common.errors import InputError
from microseg.micrographs.images import read_mask, read_micrograph, write_mask, write_micrograph
from microseg.network.inputs import MaskedMicrographs
from microseg.training.data import Draw, TrainingCrops, foreground_pixel, random_crop
from microseg.training.pixel_cache import LIMIT_VARIABLE, PixelCache, foreground_ends

from tiny_training import blobs, tiny_params, write_blobs

HEIGHT, WIDTH = 48, 64
SIZE = 2 * HEIGHT * WIDTH + 128 + 32
"""Bytes of a copy: the header of the format, a byte a pixel for the micrograph and for the mask, and a digest."""


@pytest.fixture
def files(tmp_path):
    return blobs(tmp_path, write_blobs(tmp_path, count=4, height=HEIGHT, width=WIDTH))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pixels"


def copies(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir()) if root.is_dir() else []


@pytest.fixture
def decoded(monkeypatch):
    """Note the indices of the micrographs that are decoded."""
    noted = []
    original = MaskedMicrographs.read
    monkeypatch.setattr(
        MaskedMicrographs, "read", lambda self, index: noted.append(index) or original(self, index)
    )
    return noted


def test_a_copy_holds_the_pixels_of_the_files(files, root):
    for store in (PixelCache(files, root), PixelCache(files, root)):  # the first one writes, the second one maps
        pixels = store[1]
        assert np.array_equal(pixels.micrograph, read_micrograph(files.images / files.names[1]))
        assert np.array_equal(pixels.mask, read_mask(files.masks / files.names[1]))
        assert pixels.mask.dtype == bool
        grey = pixels.micrograph / 255
        assert pixels.statistics.mean == pytest.approx(grey.mean())
        assert pixels.statistics.std == pytest.approx(grey.std())
    assert len(copies(root)) == 1


def test_a_micrograph_is_decoded_once_for_all_trainings(files, root, decoded):
    for _ in range(2):
        store = PixelCache(files, root)
        for index in (0, 1, 0, 1):
            store[index]
    assert decoded == [0, 1]


def test_a_changed_file_is_decoded_again(files, root):
    before = PixelCache(files, root)[0].micrograph.copy()
    path = files.images / files.names[0]
    status = path.stat()
    write_micrograph(path, 255 - before)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # with the same time of modification
    assert np.array_equal(PixelCache(replace(files), root)[0].micrograph, 255 - before)
    write_mask(files.masks / files.names[0], np.ones((HEIGHT, WIDTH), dtype=bool))
    assert PixelCache(replace(files), root)[0].mask.all()


@pytest.mark.parametrize("crop_size", [16, 56, None])
@pytest.mark.parametrize("input_normalization", ["zscore", "none"])
def test_crops_are_the_same_in_every_bit_with_and_without_copies(
    files, tmp_path, monkeypatch, crop_size, input_normalization
):
    stores = [PixelCache(files, tmp_path / "pixels"), PixelCache(files, tmp_path / "pixels")]
    monkeypatch.setenv(LIMIT_VARIABLE, "0")
    stores.append(PixelCache(files, tmp_path / "none"))
    changes = {"crop_size": crop_size, "input_normalization": input_normalization}
    params = tiny_params().model_copy(update=changes)
    for draw in (Draw(epoch, index, 0, 1.0) for epoch in (1, 2) for index in range(4)):
        first, *others = (TrainingCrops(store, 1, params)[draw] for store in stores)
        for other in others:
            assert torch.equal(first.micrograph, other.micrograph)
            assert torch.equal(first.mask, other.mask)
    assert copies(tmp_path / "none") == []
    assert len(copies(tmp_path / "pixels")) == 4


def test_foreground_pixels_are_drawn_as_from_a_list_of_all(files):
    mask = files.read(0)[1]
    ends = foreground_ends(mask)
    listed = np.flatnonzero(mask)
    assert [foreground_pixel(mask, ends, number) for number in range(len(listed))] == list(
        zip(*np.divmod(listed, WIDTH), strict=True)
    )
    for seed in range(50):
        random, same = np.random.default_rng(seed), np.random.default_rng(seed)
        assert listed[random.integers(ends[-1])] == same.choice(listed)
        assert random.random() == same.random()


def test_a_crop_reads_only_its_own_pixels_and_one_row():
    class Watched(np.ndarray):
        touched = 0

        def __getitem__(self, where):
            piece = super().__getitem__(where)
            Watched.touched += piece.size
            return piece

    mask = np.zeros((2000, 3000), dtype=bool)
    mask[1500, 1200] = True
    ends = foreground_ends(mask)
    random_crop(np.zeros_like(mask, np.uint8), mask.view(Watched), 100, 1.0, np.random.default_rng(1), ends)
    assert Watched.touched == 100 * 100 + 3000


@pytest.mark.parametrize(("limit", "cached"), [(4.2, 4), (2.2, 2), (0.9, 0)])
def test_the_first_micrographs_that_fit_are_copied(files, root, monkeypatch, decoded, limit, cached):
    monkeypatch.setenv(LIMIT_VARIABLE, str(limit * SIZE / 1e9))
    store = PixelCache(files, root)
    for index in (0, 1, 2, 3, 0, 1, 2, 3):
        store[index]
    assert len(copies(root)) == cached
    assert decoded == [0, 1, 2, 3, *range(cached, 4)]


def test_the_least_recently_used_copies_are_evicted_first(files, root, monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, str(3.2 * SIZE / 1e9))
    store = PixelCache(files, root)
    paths = []
    for index in range(3):
        store[index]
        (new,) = set(root.iterdir()) - set(paths)
        os.utime(new, (100 + index, 100 + index))
        paths.append(new)
    alone = MaskedMicrographs(files.images, files.masks, files.names[:1])
    PixelCache(alone, root)[0]  # used: now 1 is the least recently used
    other = MaskedMicrographs(files.images, files.masks, files.names[3:])
    mapped = PixelCache(MaskedMicrographs(files.images, files.masks, files.names[1:2]), root)
    held = np.load(paths[1], mmap_mode="r")
    os.utime(paths[1], (101, 101))
    PixelCache(other, root)[0]
    assert not paths[1].exists()
    assert paths[0].exists()
    assert paths[2].exists()
    assert np.array_equal(held[0], files.read(1)[0])  # what is mapped stays readable
    assert np.array_equal(mapped[0].micrograph, files.read(1)[0])


def read_all(arguments: tuple[MaskedMicrographs, Path]) -> list[int]:
    files, root = arguments
    store = PixelCache(files, root)
    return [int(store[index].micrograph.sum()) for index in range(len(files.names)) for _ in range(3)]


def test_several_processes_can_write_at_once(files, root):
    expected = [int(files.read(index)[0].sum()) for index in range(4) for _ in range(3)]
    with multiprocessing.get_context("forkserver").Pool(3) as pool:
        assert pool.map(read_all, [(files, root)] * 6, chunksize=1) == [expected] * 6
    assert len(copies(root)) == 4


def test_a_disk_without_space_costs_only_a_warning(files, tmp_path, caplog, decoded):
    (tmp_path / "blocked").write_text("no folder")
    store = PixelCache(files, tmp_path / "blocked" / "pixels")
    with caplog.at_level(logging.WARNING):
        first, again = store[0], store[0]
    assert np.array_equal(first.micrograph, again.micrograph)
    assert decoded == [0, 0]
    assert caplog.text.count("pixel cache disabled") == 1


@pytest.mark.parametrize("place", [SIZE // 4, -1, 61])
def test_a_copy_with_a_changed_byte_is_written_again(files, root, place):
    PixelCache(files, root)[0]
    (path,) = root.iterdir()
    content = path.read_bytes()
    changed = bytearray(content)
    changed[place] ^= 1
    path.write_bytes(changed)
    assert np.array_equal(PixelCache(files, root)[0].micrograph, files.read(0)[0])
    assert path.read_bytes() == content


@pytest.mark.parametrize("size", [0, 20, SIZE // 2])
def test_a_truncated_copy_is_written_again(files, root, size):
    PixelCache(files, root)[0]
    (path,) = root.iterdir()
    os.truncate(path, size)
    assert np.array_equal(PixelCache(files, root)[0].micrograph, files.read(0)[0])
    assert path.stat().st_size == SIZE


def test_copies_of_another_user_are_read_and_stay(files, root, monkeypatch, decoded):
    def forbidden(*_, **__):
        raise PermissionError(13, "Operation not permitted")

    for index in (0, 1):
        PixelCache(files, root)[index]
    before, _ = copies(root), decoded.clear()
    monkeypatch.setattr(os, "utime", forbidden)
    monkeypatch.setattr(Path, "unlink", forbidden)
    monkeypatch.setenv(LIMIT_VARIABLE, str(1.2 * SIZE / 1e9))
    assert np.array_equal(PixelCache(files, root)[0].micrograph, read_micrograph(files.images / files.names[0]))
    assert decoded == []
    PixelCache(replace(files, names=files.names[2:]), root)[0]
    assert set(before) <= set(copies(root))


def test_only_the_first_reader_hashes_the_files(files, root, monkeypatch):
    assert len(files.digests) == 4
    monkeypatch.setattr("microseg.network.inputs.file_digest", None)
    for index in range(4):
        PixelCache(copy.deepcopy(files), root)[index]  # as a worker or another process of the run gets them


def test_a_missing_file_is_named(files, root):
    (files.masks / files.names[2]).unlink()
    with pytest.raises(InputError, match=r"masks.IMG_00003\.png: no such image"):
        PixelCache(files, root)[2]


def test_a_limit_that_is_not_a_number_is_refused(files, root, monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "plenty")
    with pytest.raises(InputError, match="MICROSEG_PIXELS_GB is 'plenty'; set it to a number of gigabytes"):
        PixelCache(files, root)
