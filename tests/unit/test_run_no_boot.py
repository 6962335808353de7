"""`pytest --kernel IMAGE` where no guest comes about: one cause for all cases, its exit code, never a traceback."""

import pytest
from fakes import unboxed
from fakes.clone import ROOT, Clone
from kernel_images import bzimage, gzipped, vmlinux


@pytest.fixture
def clone(tmp_path):
    """Cases, an image, a cache with the guests' SSH server, and $FAKE_VNG to say what happens."""
    for name in ("usr/sbin/sshd", "etc"):
        (tmp_path / "cache/ringrig/sshd/debian-test" / name).mkdir(parents=True)
    path = unboxed.programs(tmp_path / "bin")
    clone = Clone(
        tmp_path / "clone", cache=tmp_path / "cache", PATH=path, FAKE_PIDS=str(tmp_path / "pids"), FAKE_VNG="dies",
        PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}",
    )  # fmt: skip
    with (clone.root / "conftest.py").open("a") as conftest:
        conftest.write("from fakes import unboxed\nunboxed.install()\n")
    clone.write(test_it="import pytest\n@pytest.mark.parametrize('n', range(8))\ndef test_it(n): pass\n")
    (tmp_path / "image").write_bytes(bzimage(gzipped(vmlinux())))
    clone.image = str(tmp_path / "image")
    return clone


def one_cause(run, code, words):
    """The exit code, and the message with its next step once; no traceback."""
    assert run.returncode == code, run.stdout
    assert "NO VERDICT: " in run.stdout
    assert words in run.stdout
    assert run.stdout.count("next: ") == 1, run.stdout
    assert "Traceback" not in run.stdout, run.stdout
    assert "INTERNALERROR" not in run.stdout


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "two-workers"])
def test_a_guest_that_dies(clone, workers):
    """Code 15, the console's end, and no second boot."""
    run = clone.pytest("--accel", "tcg", *workers, kernel=clone.image)

    one_cause(run, 15, "virtme-ng-init: hello")
    assert all(line["why"].endswith("The console's end:") for line in clone.results().values())
    assert "[gw0]" not in (clone.latest / "results.jsonl").read_text()
    assert len((clone.root.parent / "pids").read_text().split()) == max(len(workers) * 2, 1)


@pytest.mark.parametrize(
    ("way", "words"), [("garbage", "no session comes about"), ("no-python", "python3: not found")]
)
def test_a_guest_without_an_agent(clone, way, words):
    """Code 19; what paramiko's threads meet is not printed either."""
    clone.environment["FAKE_VNG"] = way

    one_cause(clone.pytest("--accel", "tcg", kernel=clone.image), 19, words)


def test_without_bubblewrap(clone):
    """Code 14, with the package's name."""
    with (clone.root / "conftest.py").open("a") as conftest:
        conftest.write("unboxed.Box.argv = unboxed.BOXED\n")
    clone.environment["PATH"] = clone.environment["PATH"].split(":")[0]

    one_cause(clone.pytest("--accel", "tcg", kernel=clone.image), 14, "bubblewrap")
