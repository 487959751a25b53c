"""Every family of models: in and out bit for bit in several layouts, scored as Hugging Face does, never held whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.parity.cases import FAMILIES, Case
from tests.parity.conftest import Reference
from tests.parity.test_layouts import RELATIVE, check_scores, relative

Results = dict[tuple[str, str], list[dict[str, Any]]]
every_family = pytest.mark.parametrize(("name", "case"), FAMILIES, ids=str)


@every_family
def test_logprobs_and_gradients_equal_hugging_face(
    parity: Results, others: dict[str, Reference], name: str, case: Case
) -> None:
    # Hugging Face holds the experts of a layer in two tensors, and calls Mixtral's block otherwise than its files do
    theirs = {
        key.replace(".mlp.gate.", ".block_sparse_moe.gate.") if name == "mixtral" else key: value
        for key, value in others[name].gradients.items()
        if ".experts." not in key
    }
    for result in parity[name, str(case)]:
        check_scores(result, others[name])
        assert result["mismatches"] == []
        ours = {key: value for key, value in result["gradients"].items() if ".experts." not in key}
        worst = relative(ours, theirs)
        assert max(worst.values()) < RELATIVE, max(worst, key=worst.__getitem__)


@every_family
def test_a_round_trip_is_bit_exact(parity: Results, others: dict[str, Reference], name: str, case: Case) -> None:
    files = load_file(others[name].path / "model.safetensors")
    assert ("lm_head.weight" in files) == (name not in ("llama", "qwen2"))
    for result in parity[name, str(case)]:
        assert result["weights"].keys() == files.keys()
        assert all(torch.equal(result["weights"][key], files[key]) for key in files)
