"""The round: from what probes said to what checks are asked."""

from dataclasses import replace

import pytest

from pivot.config import Config
from pivot.ops.doctor import look
from pivot.ops.doctor.examine import accelerators, by_area, check_smoke, ranks, values
from pivot.ops.doctor.facts import Accelerators, Import, Slurm
from pivot.ops.doctor.row import Row
from pivot.precision import Precision

SAID = {"cuda": [12, 9], "names": ["NVIDIA H100"] * 2, "capabilities": [[9, 0], [9, 0]], "compiled": ["sm_90"],
        "nccl": "2.27.5"}  # fmt: skip


@pytest.fixture(autouse=True)
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "nvidia_devices", lambda: 2)


def test_what_torch_said_becomes_facts() -> None:
    torch = Import("torch", 1.0, None, SAID)
    seen = Accelerators((12, 9), ("NVIDIA H100",) * 2, ((9, 0),) * 2, ("sm_90",), "2.27.5", None, 2)
    assert accelerators({"torch": torch}) == seen
    engine = Import("transformer-engine", 1.0, None, {"engine": [2, 11]})
    assert accelerators({"torch": torch, "transformer-engine": engine}) == replace(seen, engine=(2, 11))
    assert accelerators({"torch": torch, "transformer-engine": Import("transformer-engine", 1.0, "no")}) == seen
    assert accelerators({"torch": Import("torch", 1.0, "No module named 'torch'")}) is None
    none = {"cuda": None, "names": [], "capabilities": [], "compiled": [], "nccl": None}
    assert accelerators({"torch": Import("torch", 1.0, None, none)}) == Accelerators(present=2)


def test_what_known_bad_pairs_are_asked_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    seen = accelerators({"torch": Import("torch", 1.0, None, SAID)})
    config = replace(Config(), precision=Precision(fp8="blockwise"))
    assert values({"torch": "2.13.0"}, config, seen) == {
        "torch": "2.13.0", "rollout.sleep_level": "1", "precision.fp8": "blockwise", "device": "cuda", "cuda": "12.9",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    }  # fmt: skip
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF")
    assert values({}, Config(), None) == {"rollout.sleep_level": "1"}
    assert values({}, Config(), Accelerators())["device"] == "cpu"


def test_ranks_of_node_and_job() -> None:
    assert ranks(2, Slurm()) == (2, 2)
    assert ranks(2, Slurm("7", 4)) == (2, 8)
    assert ranks(2, Slurm("7", 16, 8)) == (8, 128)


def test_rows_of_an_area_stand_together() -> None:
    a, b, c = Row.green("a.x", ""), Row.green("b.x", ""), Row.green("a.y", "")
    assert by_area([a, b, c]) == [a, c, b]


def test_no_smoke_without_libraries() -> None:
    rows = [Row.red("import.engine", "vllm: no", "make install"), Row.green("import.torch", "")]
    assert check_smoke(Config(), rows, 0) == Row.grey("smoke.train", "not run: import.engine failed")
