"""Families of Megatron-Bridge: what is refused and why, what is called, and packs without shared prefixes."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import json
import os
from pathlib import Path
from typing import Any

import megatron.core
import pytest
import torch
from megatron.core.transformer import TransformerConfig

from pivot.errors import UserError
from pivot.layout import Layout
from pivot.policy import PackedGroup, bridge, initialize
from pivot.policy.balance import Balance
from pivot.policy.family import Setup, open_family
from pivot.precision import Precision
from tests.unit.policy.bridge_signatures import AUTO, extract

SIGNATURES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("bridge_signatures.json").read_text())
SETUP = Setup(Layout(tensor=2, expert=2), torch.bfloat16, "full", Precision(), True, Balance(0.0))


@pytest.mark.parametrize(
    ("cuda", "installed", "said"),
    [
        (False, True, "needs a CUDA device and Transformer Engine"),
        (True, False, r"which is not installed: pip install megatron-bridge==0\.3\.1"),
    ],
)
def test_what_is_missing_is_said(cuda: bool, installed: bool, said: str) -> None:
    reason = bridge.refuse("deepseek_v3", cuda=cuda, installed=installed)
    assert reason is not None
    assert reason.startswith("config.json: model_type 'deepseek_v3' is not supported by this project itself")
    assert said.replace("\\", "") in reason
    assert bridge.refuse("deepseek_v3", cuda=True, installed=True) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a CUDA device the family is tried")
def test_on_a_cpu_other_families_are_refused_when_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'nemotron_h' is not supported by this project itself.* wrong weights"):
        open_family(tmp_path, {"model_type": "nemotron_h"})


@pytest.mark.parametrize("moe", [True, False])
def test_every_setting_is_a_field_of_megatrons_configuration(moe: bool) -> None:
    fields = {field.name for field in dataclasses.fields(TransformerConfig)}
    chosen = bridge.settings(SETUP if moe else dataclasses.replace(SETUP, layout=Layout()), moe=moe)
    assert chosen.keys() <= fields
    assert (chosen["sequence_parallel"], chosen["bf16"], chosen["recompute_granularity"]) == (moe, True, "full")
    assert ("moe_aux_loss_coeff" in chosen) == moe


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"layout": Layout(context=2)}, "parallel.context"),
        ({"precision": Precision(fp8="delayed")}, "precision.fp8"),
        ({"balance": Balance(0.1)}, "model.router_aux_loss"),
        ({"router_replay": True}, "grpo.router_replay"),
    ],
)
def test_what_these_families_do_not_get_is_refused(change: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=f"{key} is set, but not for a family of Megatron-Bridge"):
        bridge.settings(dataclasses.replace(SETUP, **change), moe=True)


def calls() -> dict[str, set[str]]:
    """Method -> keywords that bridge.py passes, for the methods whose signatures are recorded."""
    known = {name.split(".")[1] for entry in SIGNATURES.values() for name in entry["methods"]}
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(inspect.getsource(bridge))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in known:
            found[node.func.attr] = {str(keyword.arg) for keyword in node.keywords}
    return found


@pytest.mark.parametrize("version", SIGNATURES)
def test_what_is_called_exists_in_the_recorded_version(version: str) -> None:
    recorded = {name.split(".")[1]: arguments for name, arguments in SIGNATURES[version]["methods"].items()}
    used = calls()
    assert len(used) == 6
    for name, keywords in used.items():
        assert keywords <= set(recorded[name]), name
    assert SIGNATURES[version]["deferred"], "fields set on a provider would be ignored"
    assert {"deepseek_v3", "nemotron_h"} <= set(SIGNATURES[version]["families"])
    assert f"megatron-bridge=={version}" in bridge.INSTALL


def sources() -> Path | None:
    """Where Megatron-Bridge's sources are: PIVOT_BRIDGE_SOURCES, or where it is installed."""
    if "PIVOT_BRIDGE_SOURCES" in os.environ:
        return Path(os.environ["PIVOT_BRIDGE_SOURCES"])
    found = importlib.util.find_spec("megatron.bridge")
    return Path(found.origin).parents[2] if found is not None and found.origin else None


@pytest.mark.skipif(sources() is None, reason="no sources of Megatron-Bridge: install it or set PIVOT_BRIDGE_SOURCES")
def test_the_recorded_signatures_are_those_of_the_sources() -> None:
    root = sources()
    assert root is not None
    assert (root / AUTO).is_file()
    assert extract(root) in SIGNATURES.values(), "record this version with bridge_signatures.py, then run this again"


class Auto:
    """Stands in for megatron.bridge.AutoBridge."""

    def __init__(self, fail: bool = False) -> None:
        self.fail = fail
        self.loaded: list[Any] = []
        self.weight = torch.ones(2, 2)

    def load_hf_weights(self, model: list[Any], hf_path: Path) -> None:
        if self.fail:
            raise ValueError("shape mismatch for lm_head.weight")
        self.loaded = [model, hf_path]

    def export_hf_weights(self, model: list[Any], cpu: bool, show_progress: bool) -> list[tuple[str, torch.Tensor]]:
        assert not cpu
        assert not show_progress
        return [("a", self.weight), ("b", self.weight.bfloat16())]


def test_weights_go_in_and_come_out_in_memory_of_their_own() -> None:
    auto = Auto()
    model = bridge.Bridged(Path("somewhere"), {"vocab_size": 9, "hidden_size": 4}, auto)
    model.load(["chunk"])  # type: ignore[list-item]
    assert auto.loaded == [["chunk"], Path("somewhere")]
    exported = dict(model.export([], torch.float32))
    assert [tensor.dtype for tensor in exported.values()] == [torch.float32] * 2
    exported["a"].zero_()
    assert auto.weight.sum() == 4
    with pytest.raises(ValueError, match="not gradients"):
        dict(model.export([], torch.float32, gradients=True))
    with pytest.raises(UserError, match=r"somewhere: .* cannot load it: shape mismatch for lm_head\.weight"):
        bridge.Bridged(Path("somewhere"), {}, Auto(fail=True)).load([])


class MambaMixer(torch.nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


class PackedMixer(torch.nn.Module):
    def forward(self, hidden: torch.Tensor, packed_seq_params: Any) -> torch.Tensor:
        return hidden


def test_a_layer_whose_state_would_run_on_is_refused() -> None:
    bridge.check_packs(torch.nn.Sequential(PackedMixer(), torch.nn.Linear(2, 2)))
    with pytest.raises(UserError, match="MambaMixer of the installed megatron-core takes no packed sequences"):
        bridge.check_packs(torch.nn.Sequential(MambaMixer()))


def test_megatrons_mixer_has_the_name_that_is_looked_for_and_takes_packs() -> None:
    """Read from its source: it cannot be imported without Triton."""
    source = Path(megatron.core.__file__).parent / "ssm" / "mamba_mixer.py"
    classes = {node.name: node for node in ast.parse(source.read_text()).body if isinstance(node, ast.ClassDef)}
    methods = {node.name: node for node in classes["MambaMixer"].body if isinstance(node, ast.FunctionDef)}
    forward = methods["forward"]
    assert "packed_seq_params" in [argument.arg for argument in [*forward.args.args, *forward.args.kwonlyargs]]


def test_a_thd_pack_repeats_the_history_with_each_action() -> None:
    initialize(Layout(), seed=0)
    history, actions = torch.tensor([1, 2, 3]), (torch.tensor([4, 5]), torch.tensor([6]))
    model = bridge.Bridged(Path("somewhere"), {"vocab_size": 9, "hidden_size": 4}, Auto())
    packed = model.pack([PackedGroup(history, actions)], multiple=4)
    assert packed.ids.tolist() == [[1, 2, 3, 4, 1, 2, 3, 0]]
    assert packed.rows.tolist() == [2, 3, 6]
    assert packed.targets.tolist() == [4, 5, 6]
    assert packed.padding.tolist() == [[False] * 7 + [True]]
    assert packed.params.qkv_format == "thd"
    assert packed.params.cu_seqlens_q.tolist() == [0, 4, 7, 8]
    assert (packed.params.max_seqlen_q, packed.scored, packed.places) == (4, 3, None)
    empty = model.pack([], multiple=2)
    assert (empty.ids.tolist(), empty.scored, empty.params.cu_seqlens_q.tolist()) == ([[0, 0]], 0, [0, 2])
    with pytest.raises(ValueError, match=r"outside 0\.\.8"):
        model.pack([PackedGroup(torch.tensor([9]), actions)], multiple=1)
