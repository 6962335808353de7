"""The cache folder: entries are whole or absent, held while in use, listed and cleared."""

import errno
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from ringrig import cache
from ringrig.errors import NoSpace


def quiet(_line):
    pass


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "_held", {})
    return tmp_path / "ringrig"


def in_another_process(function, *arguments):
    """What the function returns in a process that holds no locks of ours."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(function, arguments)


def clear_all():
    return {item.name: cache.clear(item) for item in cache.entries()}


def fill(folder):
    (folder / "file").write_bytes(b"x" * 10000)


def test_an_entry_is_made_once(folder):
    """The second asker finds it."""
    made = []

    for _ in range(2):
        place = cache.entry("kernels", "a~b:c", make=made.append, say=quiet)

    assert len(made) == 1
    assert place == folder / "kernels" / "a_b_c"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_is_half_made_is_not_there(folder, error):
    """An interrupted download neither counts nor stays."""

    def make(part):
        fill(part)
        raise error

    with pytest.raises(error):
        cache.entry("kernels", "a", make=make, say=quiet)

    assert list((folder / "kernels").iterdir()) == []


def test_what_a_killed_process_left_is_removed(folder):
    """kill -9 in the middle of a download."""
    left = folder / "kernels" / ".part-a"
    left.mkdir(parents=True)
    fill(left)

    place = cache.entry("kernels", "a", make=lambda part: None, say=quiet)

    assert list(place.iterdir()) == []
    assert not left.exists()


def test_two_processes_make_an_entry_once(folder):
    """The second waits for the first, and says so."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        told = list(pool.map(make_slowly, range(2)))

    assert sorted(made for made, _ in told) == [False, True]
    assert any(said for made, said in told if not made)


def make_slowly(_number):
    made, said = [], []

    def make(part):
        made.append(part)
        time.sleep(0.7)

    cache.entry("kernels", "a", make=make, say=said.append)
    return bool(made), bool(said)


def test_an_entry_in_use_is_not_cleared(folder):
    """Neither by this process nor by another."""
    place = cache.entry("kernels", "used", make=fill, say=quiet)

    assert in_another_process(clear_all)["kernels/used"] is False
    assert clear_all()["kernels/used"] is False
    assert place.exists()


def test_an_entry_out_of_use_is_cleared(folder):
    """Its maker has ended."""
    in_another_process(make_slowly, 0)

    assert clear_all()["kernels/a"] is True
    assert cache.entries() == []


def test_what_a_run_under_way_lives_on_is_not_cleared(folder):
    """Its folder is named after its process; what a killed run left goes."""
    mine, left = folder / f"live/{os.getpid()}-x", folder / "live/999999999-x"
    mine.mkdir(parents=True)
    left.mkdir()

    clear_all()

    assert mine.exists()
    assert not left.exists()


def test_everything_is_listed_with_its_size(folder):
    """Directories, folders of small files as one, single files; not the locks."""
    cache.entry("kernels", "a", make=fill, say=quiet)
    (folder / "build-ids").mkdir()
    (folder / "build-ids" / "1234").write_text("x")
    (folder / "accel.json").write_text("{}")

    found = {item.name: item.size for item in cache.entries()}

    assert set(found) == {"kernels/a", "build-ids", "accel.json"}
    assert found["kernels/a"] >= 10000


def test_pruning_keeps_the_newest_and_what_is_in_use(folder):
    """Snapshots of trees would pile up otherwise."""
    for number in range(4):
        place = folder / "images" / f"k{number}"
        place.mkdir(parents=True)
        os.utime(place, (number, number))
    used = cache.entry("images", "k0", make=fill, say=quiet)
    os.utime(used, (0, 0))

    cache.prune("images", keep=2)

    assert sorted(place.name for place in (folder / "images").iterdir()) == ["k0", "k2", "k3"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_a_full_or_unwritable_disk_is_a_clear_error(number):
    """The next step is to free space or to go elsewhere."""

    def make(_part):
        raise OSError(number, os.strerror(number), "/some/file")

    with pytest.raises(NoSpace) as caught:
        cache.entry("kernels", "a", make=make, say=quiet)

    assert "/some/file" in caught.value.what


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_what_is_not_written_into_the_cache_is_not_said_of_it(tmp_path, folder, number):
    """The error of a write names no file: then it is the folder that the writer was told, and no advice for the cache."""
    with pytest.raises(NoSpace) as caught, cache.writing("the report", tmp_path / "runs/x"):
        raise OSError(number, os.strerror(number))

    assert f"({tmp_path}/runs/x)" in caught.value.what
    assert str(folder) not in str(caught.value)
    assert "rig cache" not in caught.value.next_step and "XDG" not in caught.value.next_step


def test_of_a_copy_the_file_that_is_written_is_named(tmp_path):
    """Python names both."""
    with pytest.raises(NoSpace, match="/runs/x"), cache.writing("the run folder", tmp_path):
        raise OSError(errno.ENOSPC, "full", "/cache/x", None, "/runs/x")


def test_a_file_in_the_folders_place_is_a_clear_error(tmp_path):
    """A cache folder that cannot be made."""
    (tmp_path / "ringrig").write_text("in the way")

    with pytest.raises(NoSpace):
        cache.entry("kernels", "a", make=fill, say=quiet)


def test_a_relative_xdg_folder_is_ignored(monkeypatch, tmp_path):
    """As the XDG specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert cache.folder() == tmp_path / ".cache" / "ringrig"


def test_two_cache_folders_have_nothing_to_do_with_each_other(folder, tmp_path, monkeypatch):
    """An entry held in one is neither there nor in use in the other, which this process may move to (a test's own)."""
    held = cache.entry("kernels", "a", make=fill, say=quiet)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))

    assert in_another_process(make_slowly, 0) == (True, False)
    assert clear_all() == {"kernels/a": True}

    other = cache.entry("kernels", "a", make=fill, say=quiet)
    assert other != held
