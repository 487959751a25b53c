"""What pivot/policy/cpu.py rewrites exists in the installed Megatron, and a change in it is loud."""

from __future__ import annotations

import subprocess
import sys

import megatron.core
import pytest
import torch

from pivot.policy import cpu
from tests.parity.launch import ROOT

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is rewritten where CUDA is available")
LITERALS = [(module, name) for module, names in cpu.LITERALS.items() for name in names]
REPLACED = [(module, name) for module, names in cpu.REPLACED.items() for name in names]


@pytest.mark.parametrize(("module", "name"), LITERALS + REPLACED)
def test_what_is_rewritten_exists(module: str, name: str) -> None:
    cpu.resolve(module, name)


def test_version_is_the_one_that_was_read() -> None:
    assert megatron.core.__version__ == cpu.VERSION


def test_a_function_without_its_literal_is_an_error() -> None:
    """They were rewritten when the package was imported, so now none has the literal any more."""
    with pytest.raises(cpu.ContractError, match=r"no CUDA literal in megatron\.core\.utils\.local_multi_tensor"):
        cpu.rewrite_literals()


def test_a_function_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cpu.LITERALS, "utils", ("no_such_function",))
    with pytest.raises(cpu.ContractError, match=r"megatron\.core\.utils\.no_such_function does not exist"):
        cpu.rewrite_literals()


def test_another_version_is_an_error() -> None:
    program = "import megatron.core; megatron.core.__version__ = '0.17.0'; import pivot.policy"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "pivot/policy/cpu.py is written for megatron-core 0.16.1, not 0.17.0" in done.stderr


def test_replaced_functions_are_in_place() -> None:
    import megatron.core.optimizer as optimizer
    import megatron.core.tensor_parallel.random as random

    assert optimizer.Adam is cpu.FusedAdam
    assert torch.equal(random._get_cuda_rng_state(), torch.get_rng_state())
    assert random.CheckpointWithoutOutput(fp8=False).fp8 is False


def test_fused_adam_steps_like_adamw() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(5, 3), torch.randn(4, 5, 3)
    results = []
    for kind in (cpu.FusedAdam, torch.optim.AdamW):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = kind([parameter], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        results.append(parameter.detach())
    assert (results[0] - results[1]).abs().max() < 1e-6
    assert (results[0] - start).abs().max() > 1e-2
