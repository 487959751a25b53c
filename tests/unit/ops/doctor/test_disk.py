"""The run directory."""

from dataclasses import replace
from pathlib import Path

import pytest

from pivot.ops.doctor import look
from pivot.ops.doctor.disk import check, checkpoint_bytes, needed_bytes
from pivot.ops.doctor.facts import Disk
from pivot.ops.doctor.row import Row

GIB = 1 << 30
GOOD = Disk("/shared/runs", "nfs4", None, 1000 * GIB, 2.0 * GIB, 0.1)


def rows(disk: Disk, *, needed: int | None = 100 * GIB, checkpoint: int | None = 20 * GIB, nodes: int = 2) -> list[Row]:
    return check(disk, key="run.dir=runs/a", needed=needed, checkpoint=checkpoint, nodes=nodes)


def test_a_good_directory() -> None:
    assert rows(GOOD) == [
        Row.green("disk.write", "/shared/runs (nfs4)"),
        Row.green("disk.space", "1000.0 GiB free; checkpoints need 100.0 GiB"),
        Row.green("disk.speed", "2.0 GiB/s written and fsynced: a checkpoint of 20.0 GiB takes one writer 10.0 s"),
        Row.green("disk.shared", "nfs4"),
        Row.green("disk.clock", "within 2 s of the file system's"),
    ]


@pytest.mark.parametrize(
    ("disk", "index", "row"),
    [
        (replace(GOOD, problem="Disk quota exceeded"), 0, Row.red(
            "disk.write", "run.dir=runs/a: cannot write in /shared/runs (Disk quota exceeded)",
            "choose another run.dir, or free space or quota there")),
        (replace(GOOD, free=99 * GIB), 1, Row.red(
            "disk.space", "99.0 GiB free; checkpoints need 100.0 GiB",
            "another run.dir, or lower train.keep_checkpoints")),
        (replace(GOOD, speed=float(10 << 20)), 2, Row.yellow(
            "disk.speed", "10.0 MiB/s written and fsynced: a checkpoint of 20.0 GiB takes one writer 2048.0 s",
            "a faster run.dir, or a higher train.checkpoint_every")),
        (replace(GOOD, kind="xfs"), 3, Row.red(
            "disk.shared", "/shared/runs is xfs, on this node alone; the job has 2",
            "a run.dir on the shared file system")),
        (replace(GOOD, skew=-3.0), 4, Row.yellow(
            "disk.clock", "the file system's clock is 3.0 s behind this node's",
            "start chrony or ntpd on the node whose clock is wrong (chronyc tracking)")),
        (replace(GOOD, skew=61.0), 4, Row.red(
            "disk.clock", "the file system's clock is 61.0 s ahead of this node's",
            "start chrony or ntpd on the node whose clock is wrong (chronyc tracking)")),
    ],
)  # fmt: skip
def test_one_thing_is_wrong(disk: Disk, index: int, row: Row) -> None:
    assert rows(disk)[index] == row


def test_what_is_unknown_is_grey() -> None:
    found = rows(GOOD, needed=None, checkpoint=None, nodes=1)
    assert found[1] == Row.grey("disk.space", "1000.0 GiB free; the model cannot be read, so what is needed is unknown")
    assert found[2] == Row.grey("disk.speed", "2.0 GiB/s written and fsynced")
    assert found[3] == Row.grey("disk.shared", "not applicable: one node")


def test_bytes_of_checkpoints() -> None:
    assert checkpoint_bytes(10, "float32") == 120
    assert checkpoint_bytes(10, "bfloat16") == 140
    assert needed_bytes(10, "float32", 2, True) == 120 * 4 + 40
    assert needed_bytes(10, "bfloat16", 1, False) == 140 * 2 + 20


def test_a_real_directory_is_written_and_left_clean(tmp_path: Path) -> None:
    found = look.disk(tmp_path / "not" / "there", 1 << 20)
    assert found.directory == str(tmp_path.resolve())
    assert found.problem is None
    assert found.speed > 0
    assert abs(found.skew) < 1
    assert list(tmp_path.iterdir()) == []
    assert look.disk(Path("/proc/nowhere"), 1 << 20).problem is not None


def test_the_kind_of_a_file_system() -> None:
    mounts = "a / ext4 rw 0 0\nb /shared\\040disk nfs4 rw 0 0\nc /shared lustre rw 0 0\n"
    assert look.file_system(Path("/shared disk/runs"), mounts) == "nfs4"
    assert look.file_system(Path("/shared/runs"), mounts) == "lustre"
    assert look.file_system(Path("/srv"), mounts) == "ext4"
