"""Devices and FP8 by architecture, from synthetic machines."""

from dataclasses import replace

import pytest

from pivot.ops.doctor import devices
from pivot.ops.doctor.facts import Accelerators, Slurm
from pivot.ops.doctor.row import Row, Status
from pivot.precision import Precision

HOPPER = Accelerators(
    cuda=(12, 9), names=("NVIDIA H100",) * 8, capabilities=((9, 0),) * 8, compiled=("sm_80", "sm_90"), nccl="2.27.5",
    engine=(2, 11), present=8,
)  # fmt: skip
BLACKWELL = replace(HOPPER, names=("NVIDIA B200",) * 8, capabilities=((10, 0),) * 8, compiled=("sm_90", "sm_100"))


def check(seen: Accelerators | None, *, fp8: str | None = None, ranks: int = 8, gpus: int | None = None) -> list[Row]:
    slurm = Slurm(gpus=gpus)
    return devices.check(seen, ranks=ranks, precision=Precision(fp8=fp8), slurm=slurm, variables={})


def test_a_cpu_is_grey() -> None:
    none = "not applicable: no CUDA device"
    assert check(Accelerators()) == [
        Row.grey("devices.count", "no CUDA device: ranks run on the CPU"),
        Row.grey("devices.architecture", none),
        Row.grey("devices.nccl", none),
        Row.grey("devices.transformer-engine", none),
        Row.grey("devices.fp8", "not applicable: precision.fp8 is null, and a CPU has none"),
    ]


def test_without_torch_nothing_is_known() -> None:
    assert {row.status for row in check(None)} == {Status.GREY}
    assert [row.name for row in check(None)] == list(devices.ROWS)


def test_hopper() -> None:
    assert check(HOPPER, fp8="blockwise") == [
        Row.green("devices.count", "8 x NVIDIA H100"),
        Row.green("devices.architecture", "sm_90"),
        Row.green("devices.nccl", "2.27.5"),
        Row.green("devices.transformer-engine", "2.11"),
        Row.green("devices.fp8", "blockwise"),
    ]
    assert check(HOPPER)[4] == Row.grey("devices.fp8", "not asked for; sm_90 has blockwise, delayed, tensorwise here")
    assert check(BLACKWELL)[4] == Row.grey("devices.fp8", "not asked for; sm_100 has mxfp8, delayed, tensorwise here")


@pytest.mark.parametrize(
    ("seen", "fp8", "found", "fix"),
    [
        (Accelerators(), "blockwise", "precision.fp8 is blockwise, but this rank has no CUDA device",
         "set precision.fp8=null to run without FP8"),
        (HOPPER, "mxfp8", "precision.fp8 is mxfp8, but it needs compute capability 10.0 or more and below 12.0, and "
         "this device has 9.0", "set precision.fp8=blockwise or delayed or tensorwise or null"),
        (BLACKWELL, "blockwise", "precision.fp8 is blockwise, but it needs compute capability 9.0 or more and below "
         "10.0, and this device has 10.0", "set precision.fp8=mxfp8 or delayed or tensorwise or null"),
        (replace(HOPPER, cuda=(12, 8)), "blockwise", "precision.fp8 is blockwise, but it needs CUDA 12.9 or later, and "
         "12.8 is installed", "install it, or set precision.fp8=null"),
        (replace(HOPPER, engine=None), "delayed", "precision.fp8 is delayed, but Transformer Engine is not installed",
         "pip install 'pivotrl[cuda]'"),
    ],
)  # fmt: skip
def test_fp8_that_cannot_be_had(seen: Accelerators, fp8: str, found: str, fix: str) -> None:
    assert check(seen, fp8=fp8)[4] == Row.red("devices.fp8", found, fix)


@pytest.mark.parametrize(
    ("seen", "ranks", "gpus", "row"),
    [
        (HOPPER, 16, None, Row.red("devices.count", "8 devices for 16 ranks",
                                   "set parallel.ranks=8, or ask for more GPUs")),
        (HOPPER, 4, None, Row.yellow("devices.count", "8 devices for 4 ranks: the others idle",
                                     "set parallel.ranks=8")),
        (replace(HOPPER, names=("NVIDIA H100",) * 7, capabilities=((9, 0),) * 7), 7, 8,
         Row.red("devices.count", "7 devices are visible; Slurm gave this node 8",
                 "exclude this node (#SBATCH --exclude) and tell its administrators")),
        (Accelerators(present=8), 8, None, Row.red(
            "devices.count", "8 NVIDIA devices, but torch is a build without CUDA",
            "install a CUDA stack: pip install '.[cuda]' in a CUDA container")),
        (Accelerators(cuda=(12, 9), present=8), 8, None, Row.red("devices.count", "8 NVIDIA devices, and torch can use "
         "none of them", "see nvidia-smi (driver) and CUDA_VISIBLE_DEVICES")),
    ],
)  # fmt: skip
def test_devices_and_ranks(seen: Accelerators, ranks: int, gpus: int | None, row: Row) -> None:
    assert check(seen, ranks=ranks, gpus=gpus)[0] == row


def test_architectures() -> None:
    old = replace(HOPPER, compiled=("sm_70", "sm_80"))
    assert check(old)[1] == Row.red("devices.architecture", "torch has code for sm_70, sm_80, not for sm_90",
                                    "install a torch that was built for sm_90")  # fmt: skip
    ada = replace(HOPPER, capabilities=((8, 9),) * 8)  # runs code of 8.0
    assert check(ada)[1] == Row.green("devices.architecture", "sm_89")
    mixed = replace(HOPPER, names=("NVIDIA H100", "NVIDIA A100"), capabilities=((9, 0), (8, 0)))
    assert check(mixed)[1] == Row.yellow(
        "devices.architecture", "devices of several kinds: NVIDIA H100 (sm_90), NVIDIA A100 (sm_80)",
        "use one kind: steps last as long as the slowest",
    )  # fmt: skip
    volta = replace(HOPPER, capabilities=((7, 0),) * 8, compiled=("sm_70",))
    assert check(volta)[1].found == "sm_70 has no bfloat16"


def test_no_nccl_and_no_transformer_engine() -> None:
    rows = check(replace(HOPPER, nccl=None, engine=None))
    assert [row.status for row in rows[2:4]] == [Status.RED, Status.RED]
    assert rows[3].fix == "pip install 'pivotrl[cuda]'"
