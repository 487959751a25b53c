"""The run directory: can it be written, is there room for checkpoints, is it fast, shared, and on our time."""

from pivot.ops.doctor.facts import Disk
from pivot.ops.doctor.machine import size
from pivot.ops.doctor.row import Row

LOCAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "ramfs", "overlay", "zfs", "f2fs")
SLOW_SECONDS = 300.0  # for a checkpoint
SKEW_YELLOW, SKEW_RED = 2.0, 10.0  # seconds; locks take a heartbeat of 60 s for stale, mtimes order checkpoints


def checkpoint_bytes(parameters: int, dtype: str) -> int:
    """A training checkpoint: weights, and Adam's two moments with the weights they update, in fp32.

    In fp32 the weights are those that Adam updates: 4 + 8 bytes a parameter; in bf16 2 + 4 + 8.
    """
    return parameters * (12 if dtype == "float32" else 14)


def needed_bytes(parameters: int, dtype: str, keep: int, best: bool) -> int:
    """What a run writes at most: kept checkpoints, the best, the one being written, and the exported weights."""
    return checkpoint_bytes(parameters, dtype) * (keep + best + 1) + parameters * (4 if dtype == "float32" else 2)


def check(disk: Disk, *, key: str, needed: int | None, checkpoint: int | None, nodes: int) -> list[Row]:
    """Judge the directory.

    Args:
        disk: as probed.
        key: of the configuration, with its value.
        needed: bytes that the run writes; None: unknown, as the model cannot be read.
        checkpoint: bytes of one checkpoint.
        nodes: of the job.
    """
    if disk.problem:
        fix = f"choose another {key.split('=')[0]}, or free space or quota there"
        return [Row.red("disk.write", f"{key}: cannot write in {disk.directory} ({disk.problem})", fix)]
    return [
        Row.green("disk.write", f"{disk.directory} ({disk.kind})"),
        check_space(disk, needed),
        check_speed(disk, checkpoint),
        check_shared(disk, nodes),
        check_clock(disk),
    ]


def check_space(disk: Disk, needed: int | None) -> Row:
    """Room for the run's checkpoints."""
    name = "disk.space"
    if needed is None:
        return Row.grey(name, f"{size(disk.free)} free; the model cannot be read, so what is needed is unknown")
    if disk.free < needed:
        return Row.red(name, f"{size(disk.free)} free; checkpoints need {size(needed)}",
                       "another run.dir, or lower train.keep_checkpoints")  # fmt: skip
    return Row.green(name, f"{size(disk.free)} free; checkpoints need {size(needed)}")


def check_speed(disk: Disk, checkpoint: int | None) -> Row:
    """How long one writer takes for a checkpoint; with more ranks it is less."""
    name, found = "disk.speed", f"{size(disk.speed)}/s written and fsynced"
    if checkpoint is None:
        return Row.grey(name, found)
    seconds = checkpoint / disk.speed
    found += f": a checkpoint of {size(checkpoint)} takes one writer {seconds:.1f} s"
    if seconds > SLOW_SECONDS:
        return Row.yellow(name, found, "a faster run.dir, or a higher train.checkpoint_every")
    return Row.green(name, found)


def check_shared(disk: Disk, nodes: int) -> Row:
    """With several nodes the directory has to be one for all."""
    name = "disk.shared"
    if nodes == 1:
        return Row.grey(name, "not applicable: one node")
    if disk.kind in LOCAL:
        return Row.red(name, f"{disk.directory} is {disk.kind}, on this node alone; the job has {nodes}",
                       "a run.dir on the shared file system")  # fmt: skip
    return Row.green(name, disk.kind)


def check_clock(disk: Disk) -> Row:
    """This node's clock against that of the file system, which is one for all nodes."""
    name, ahead = "disk.clock", abs(disk.skew)
    found = f"the file system's clock is {ahead:.1f} s {'ahead of' if disk.skew > 0 else 'behind'} this node's"
    if ahead < SKEW_YELLOW:
        return Row.green(name, f"within {SKEW_YELLOW:.0f} s of the file system's")
    judge = Row.red if ahead >= SKEW_RED else Row.yellow
    return judge(name, found, "start chrony or ntpd on the node whose clock is wrong (chronyc tracking)")
