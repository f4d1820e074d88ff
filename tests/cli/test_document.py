# SPDX-License-Identifier: GPL-2.0-only
"""Files are written whole or not at all, and trying leaves no trace."""

import os
import stat
from pathlib import Path

import pytest

from cli.document import check_directory, check_writable, write_whole
from workers.refusal import BadInput


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with file.open("rb") as reader:
        write_whole(file, b"new")
        assert reader.read() == b"old", "whoever reads the old file goes on reading it"
    assert file.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    file = tmp_path / "file"
    file.write_bytes(b"old")
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"new")
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_device_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_writable(pipe, "--json")
        write_whole(pipe, b"document")
        assert os.read(reader, 100) == b"document"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_checks_leave_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "file", "--json")
    check_directory(tmp_path / "a" / "b", "--out")
    assert list(tmp_path.iterdir()) == []


def test_checks_refuse(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for check, path in [
        (check_writable, tmp_path),
        (check_writable, tmp_path / "missing" / "file"),
        (check_writable, tmp_path / "file" / "below"),
        (check_directory, tmp_path / "file"),
        (check_directory, tmp_path / "file" / "below"),
    ]:
        with pytest.raises(BadInput):
            check(path, "--option")
