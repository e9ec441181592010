"""Archives from a real HTTP server on loopback, which also misbehaves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import AcquireReturnProxy, FileLock

from src.data.archives import ensure_archives
from src.runtime.errors import UserError
from tests.conftest import ROOT, Clone
from tests.idx_files import archives, source
from tests.server import serve

FILES = archives("MNIST")
NAMES = sorted(FILES)


def ensure(folder: Path, *mirrors: str, timeout: float = 5) -> None:
    listed = source("MNIST", FILES, *mirrors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("src.data.archives.TIMEOUT_SECONDS", timeout)
        ensure_archives("MNIST", listed.archives, listed.mirrors, folder)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".download.lock"}


def test_downloads_what_is_missing_and_only_that(tmp_path: Path) -> None:
    (tmp_path / NAMES[0]).write_bytes(FILES[NAMES[0]])
    with serve(FILES) as mirror:
        ensure(tmp_path, mirror.url)
        assert sorted(mirror.asked) == NAMES[1:]
        ensure(tmp_path, mirror.url)
        assert len(mirror.asked) == 3
    assert content(tmp_path) == FILES


@pytest.mark.parametrize("fault", ["404", "cut", "wrong", "silent", "stall"])
def test_a_mirror_that_fails_is_followed_by_the_next(tmp_path: Path, fault: str) -> None:
    broken = {} if fault == "404" else FILES
    with serve(broken, fault) as bad, serve(FILES) as good:
        ensure(tmp_path, bad.url, good.url, timeout=0.15)
        assert sorted(bad.asked) == sorted(good.asked) == NAMES
    assert content(tmp_path) == FILES


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("404", "HTTP Error 404"),
        ("cut", "the connection ended after|IncompleteRead"),
        ("wrong", "another MD5"),
        ("silent", "timed out"),
        ("stall", "timed out"),
        ("loop", r"ubyte\.gz: HTTP Error 302: .*\nPut these files"),
    ],
)
def test_when_every_mirror_fails_one_message_says_what_to_do(tmp_path: Path, fault: str, said: str) -> None:
    folder = tmp_path / "MNIST" / "raw"
    files = {} if fault == "404" else FILES
    with serve(files, fault) as mirror, pytest.raises(UserError, match=said) as refusal:
        ensure(folder, mirror.url, timeout=0.15)
    message = str(refusal.value)
    for part in ("MNIST", str(folder), *NAMES, mirror.url, "LENET_DATA_ROOT", "dataset: Digits"):
        assert part in message
    assert content(folder) == {}


@pytest.mark.parametrize("fault", ["silent", "stall"])
def test_a_server_that_says_no_more_is_given_up_and_has_one_line(tmp_path: Path, fault: str) -> None:
    with serve(FILES, fault) as mirror, pytest.raises(UserError) as refusal:
        ensure(tmp_path, mirror.url, timeout=0.15)
    first, *files = FILES
    assert mirror.asked == [first], "no other file is waited for"
    assert str(refusal.value).splitlines() == [
        "MNIST: 4 of its 4 files are missing and could not be downloaded:",
        f"  {mirror.url}{first}: timed out",
        f"Put these files into {tmp_path}",
        *(f"  {name}" for name in (first, *files)),
        "or name another data folder in LENET_DATA_ROOT; "
        "or use the embedded dataset, which needs no download: dataset: Digits",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["silent", "stall"])
def test_the_stage_ends_with_a_server_that_says_no_more(clone: Clone, tmp_path: Path, fault: str) -> None:
    """Every mirror is behind a proxy that accepts connections; the time-out is the one that users have."""
    clone.set_params(dataset="MNIST")
    with serve(FILES, fault) as proxy:
        proxies = dict.fromkeys(("http_proxy", "https_proxy"), proxy.url)
        result = clone.run(
            *(sys.executable, "-m", "stages.prepare"), check=False, LENET_DATA_ROOT=str(tmp_path), **proxies
        )
    assert result.returncode == 1
    assert "error: MNIST: 4 of its 4 files are missing" in result.stderr
    assert "timed out" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_a_network_nothing_hangs(tmp_path: Path) -> None:
    with serve(FILES) as mirror:
        gone = mirror.url
    started = time.monotonic()
    with pytest.raises(UserError, match="refused"):
        ensure(tmp_path, gone)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("damage", [b"", b"another file", FILES[NAMES[0]][:-1]])
def test_a_damaged_file_is_named_never_used_and_never_touched(tmp_path: Path, damage: bytes) -> None:
    with serve(FILES) as mirror:
        ensure(tmp_path, mirror.url)
        (tmp_path / NAMES[0]).write_bytes(damage)
        with pytest.raises(UserError) as refusal:
            ensure(tmp_path, mirror.url)
    assert str(tmp_path / NAMES[0]) in str(refusal.value)
    assert "MD5" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert (tmp_path / NAMES[0]).read_bytes() == damage


def test_a_complete_folder_is_only_read(tmp_path: Path) -> None:
    for name, archive in FILES.items():
        (tmp_path / name).write_bytes(archive)
    os.utime(tmp_path, ns=(1, 1))
    ensure(tmp_path, "http://127.0.0.1:1/")
    assert tmp_path.stat().st_mtime_ns == 1, "something was written to the folder"


def test_what_another_process_downloads_meanwhile_is_not_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = FileLock.acquire

    def wait(lock: FileLock) -> AcquireReturnProxy:
        for name, archive in FILES.items():
            (tmp_path / name).write_bytes(archive)
        return acquire(lock)

    monkeypatch.setattr(FileLock, "acquire", wait)
    with serve(FILES) as mirror:
        ensure(tmp_path, mirror.url)
    assert mirror.asked == []


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with serve(FILES) as mirror, pytest.raises(UserError, match="cannot be written to") as refusal:
        ensure(tmp_path / "file" / "raw", mirror.url)
    assert str(tmp_path / "file" / "raw") in str(refusal.value)


LARGE = {"train-images-idx3-ubyte.gz": random.Random(0).randbytes(1 << 20)}


def downloading(folder: Path, url: str) -> list[str]:
    """A command that downloads `LARGE`."""
    program = (
        "import sys; from pathlib import Path; from src.data.archives import Archive, ensure_archives;"
        "from src.runtime.errors import run; folder, url, name, md5 = sys.argv[1:];"
        "run(lambda: ensure_archives('MNIST', [Archive(name, md5)], [url], Path(folder)))"
    )
    (archive,) = source("MNIST", LARGE).archives
    return [sys.executable, "-c", program, str(folder), url, archive.name, archive.md5]


def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    limited = ["sh", "-c", 'ulimit -f 100 && exec "$@"', "sh"]
    with serve(LARGE) as mirror:
        command = [*limited, *downloading(tmp_path, mirror.url)]
        # The limit is for all files: Python must write no bytecode in it.
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    _, error = result.stderr.splitlines()
    path = tmp_path / "train-images-idx3-ubyte.gz"
    assert (result.returncode, error) == (1, f"error: {path}: cannot be written: File too large")
    assert content(tmp_path) == {}


def test_killed_half_way_the_next_run_is_clean(tmp_path: Path) -> None:
    with serve(LARGE, "stall") as mirror:
        process = subprocess.Popen(downloading(tmp_path, mirror.url), cwd=ROOT)
        until = time.monotonic() + 30
        while not any(path.stat().st_size for path in tmp_path.glob(".*.part.gz")):
            assert time.monotonic() < until, "the download did not start"
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not list(tmp_path.glob("[!.]*.gz"))
        mirror.fault = "none"
        ensure_archives("MNIST", source("MNIST", LARGE).archives, [mirror.url], tmp_path)
    assert content(tmp_path) == LARGE


def test_a_log_gets_plain_lines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serve(FILES) as mirror:
        ensure(tmp_path, mirror.url)
    lines = capfd.readouterr().err.splitlines()
    assert [line.rpartition("/")[2] for line in lines] == list(FILES)
    assert all(line.startswith("downloading http://") for line in lines)
