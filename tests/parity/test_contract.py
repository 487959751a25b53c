"""What pivot/policy/cpu.py changes is in the installed Megatron where the table says, and a change in it is loud."""

from __future__ import annotations

import ast
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import megatron.core
import pytest
import torch

from pivot.policy import cpu
from pivot.policy.patches import LITERALS, RELEASES, REPLACED, STUBS, TRITON, UNBOUND, ContractError, Patch
from tests.parity.launch import ROOT

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is changed where CUDA is available")
RELEASE = megatron.core.__version__
SOURCES = Path(megatron.core.__file__).parent
CHANGED = (*LITERALS, *REPLACED, *UNBOUND)
PATCHES = (*CHANGED, *TRITON, *STUBS)


def found_in(patch: Patch, root: Path = SOURCES) -> tuple[int, ...]:
    """The lines that hold the text of a patch; of a literal, those with a CUDA literal in its function."""
    if not (root / patch.file).exists():
        return ()
    source = (root / patch.file).read_text()
    if patch not in LITERALS:
        return tuple(number for number, line in enumerate(source.splitlines(), 1) if patch.text in line)
    node: ast.AST = ast.parse(source)
    for part in patch.name.split("."):
        kinds = (ast.FunctionDef, ast.ClassDef)
        inside = (child for child in ast.walk(node) if isinstance(child, kinds) and child.name == part)
        if (child := next(inside, None)) is None:
            return ()
        node = child
    constants = (each for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str))
    return tuple(sorted({each.lineno for each in constants if each.value == "cuda" or "torch.cuda." in each.value}))


@pytest.mark.parametrize("patch", LITERALS, ids=str)
def test_cuda_literals_are_where_the_table_says_and_nowhere_else(patch: Patch) -> None:
    assert found_in(patch) == patch.lines.get(RELEASE, ())


@pytest.mark.parametrize("patch", [*REPLACED, *UNBOUND, *TRITON, *STUBS], ids=str)
def test_what_makes_a_patch_necessary_is_where_the_table_says(patch: Patch) -> None:
    assert set(patch.lines.get(RELEASE, ())) <= set(found_in(patch))


@pytest.mark.parametrize("patch", [each for each in CHANGED if RELEASE in each.lines], ids=str)
def test_what_is_changed_exists(patch: Patch) -> None:
    owner, name = cpu.owner_of(patch)
    assert name in vars(owner)


def test_the_table_knows_the_installed_release_and_no_other_than_it_says() -> None:
    assert RELEASE in RELEASES
    for patch in PATCHES:
        assert patch.lines
        assert patch.lines.keys() <= set(RELEASES)
        assert patch.why


def test_every_row_has_what_takes_its_place() -> None:
    assert {patch.name for patch in REPLACED} == cpu.REPLACEMENTS.keys()
    for patch in STUBS:
        owner = torch.Tensor if patch.name.startswith("Tensor.") else torch.cuda
        assert vars(owner)[patch.name.removeprefix("Tensor.")].__module__ == cpu.__name__


def test_a_function_without_its_literal_is_an_error() -> None:
    """They were rewritten when the package was imported, so now none has the literal any more."""
    with pytest.raises(ContractError, match=r"local_multi_tensor_l2_norm of megatron/core/utils\.py has no CUDA lit"):
        cpu.rewrite_literals(RELEASE)


def test_a_function_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = dataclasses.replace(LITERALS[0], name="no_such_function")
    monkeypatch.setattr(cpu, "LITERALS", (gone,))
    with pytest.raises(ContractError, match=r"no_such_function of megatron/core/utils\.py does not exist"):
        cpu.rewrite_literals(RELEASE)


def test_a_patch_that_is_no_longer_needed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    mended = dataclasses.replace(REPLACED[0], text="fixed_upstream(")
    monkeypatch.setattr(cpu, "REPLACED", (mended,))
    with pytest.raises(ContractError, match=r"_get_cuda_rng_state of .*random\.py: 'fixed_upstream\(' is not there"):
        cpu.replace_names(RELEASE)


def test_another_release_is_refused_and_the_message_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "megatron" / "core").mkdir(parents=True)
    (tmp_path / "megatron" / "core" / "__init__.py").write_text("__version__ = '0.17.0'\n")
    done = subprocess.run(
        [sys.executable, "-c", "import pivot.policy"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "pivot/policy/patches.py knows megatron-core 0.16.1 and 0.19.2, not 0.17.0: pip install" in done.stderr
    assert "megatron-core==0.16.1 (Python 3.11) or megatron-core==0.19.2 (Python 3.12)" in done.stderr


def test_replaced_functions_are_in_place() -> None:
    import megatron.core.optimizer as optimizer
    import megatron.core.tensor_parallel.random as random

    assert optimizer.Adam is cpu.FusedAdam
    assert torch.equal(random._get_cuda_rng_state(), torch.get_rng_state())


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
