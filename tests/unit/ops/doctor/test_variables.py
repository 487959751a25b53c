"""Environment variables that hurt."""

import re
from pathlib import Path

import pytest

from pivot.ops.doctor.row import Row, Status
from pivot.ops.doctor.variables import HARMS, check, searched_first


def rows(variables: dict[str, str], *, cuda: bool = False, nodes: int = 1, sharded: bool = False,
         path: tuple[str, ...] = ()) -> list[Row]:  # fmt: skip
    return check(variables, cuda=cuda, nodes=nodes, interfaces=("lo", "eth0"), threads=2, sharded=sharded, path=path)


NONE = [Row.green("environment.none", "no variable that is known to hurt")]


def test_nothing_hurts() -> None:
    assert rows({}) == NONE
    assert rows({"NCCL_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1", "VLLM_PLUGINS": "", "NCCL_DEBUG": "WARN"},
                cuda=True) == NONE  # fmt: skip
    # of a CPU only, of CUDA only, and a list of what not to take
    assert rows({"VLLM_CPU_KVCACHE_SPACE": "4"}, cuda=True) == NONE
    assert rows({"NCCL_IB_DISABLE": "1", "NCCL_DEBUG": "INFO"}) == NONE
    assert rows({"NCCL_SOCKET_IFNAME": "^docker0,lo"}, cuda=True) == NONE


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.name)
def test_every_entry_of_the_table(harm) -> None:
    value = next(v for v in ("0", "1", "DETAIL", "INFO") if re.fullmatch(harm.value, v))
    (row,) = rows({harm.name: value}, cuda=harm.where == "cuda")
    fix = harm.fix or f"unset {harm.name}"
    assert row == Row(f"environment.{harm.name}", harm.status, f"{harm.name}={value}: {harm.why}", fix)


def test_the_kv_cache_of_cpus() -> None:
    assert rows({"VLLM_CPU_KVCACHE_SPACE": "4"}) == [
        Row.yellow("environment.VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_KVCACHE_SPACE=4: overrides rollout.kv_cache_mb",
                   "unset VLLM_CPU_KVCACHE_SPACE")
    ]  # fmt: skip


def test_interfaces() -> None:
    assert rows({"GLOO_SOCKET_IFNAME": "ib0"}) == [
        Row.red("environment.GLOO_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME=ib0: this node has lo, eth0",
                "unset GLOO_SOCKET_IFNAME, or name one of them")
    ]  # fmt: skip
    assert rows({"GLOO_SOCKET_IFNAME": "eth"})[0].status is Status.RED  # gloo takes names
    assert rows({"NCCL_SOCKET_IFNAME": "eth"}) == NONE  # NCCL takes beginnings
    assert rows({"NCCL_SOCKET_IFNAME": "=eth"})[0].status is Status.RED
    assert rows({"NCCL_SOCKET_IFNAME": "lo"}) == NONE
    assert rows({"NCCL_SOCKET_IFNAME": "lo"}, nodes=2) == [
        Row.red("environment.NCCL_SOCKET_IFNAME",
                "NCCL_SOCKET_IFNAME=lo: the loopback interface, which other nodes cannot reach",
                "unset NCCL_SOCKET_IFNAME, or name the cluster's interface")
    ]  # fmt: skip


def test_threads_and_connections() -> None:
    assert rows({"OMP_NUM_THREADS": "8"}) == [
        Row.yellow("environment.OMP_NUM_THREADS", "OMP_NUM_THREADS=8: there are 2 cores for each rank",
                   "export OMP_NUM_THREADS=1")
    ]  # fmt: skip
    assert rows({}, cuda=True, sharded=True)[0].fix == "export CUDA_DEVICE_MAX_CONNECTIONS=1"
    assert rows({"CUDA_DEVICE_MAX_CONNECTIONS": "1"}, cuda=True, sharded=True) == NONE


def test_a_path_that_shadows(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "numpy.py").touch()
    (tmp_path / "mine").mkdir()
    assert rows({}, path=(str(tmp_path),)) == [
        Row.red("environment.PYTHONPATH", f"{tmp_path} comes before the installed packages and has torch, numpy",
                "take it out of PYTHONPATH")
    ]  # fmt: skip
    assert rows({}, path=(str(tmp_path / "mine"),)) == NONE
    assert searched_first({"PYTHONPATH": "a::b"}) == ["a", "b"]
