"""Packing, logprobs, reading of configurations and files: exact values and errors, in this process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pivot.errors import UserError
from pivot.layout import Layout
from pivot.policy import hf, initialize
from pivot.policy.hf_write import ShardWriter
from pivot.policy.logprobs import vocab_parallel_logprobs
from pivot.policy.packing import PackedGroup, pack
from pivot.policy.segments import Block
from pivot.shape import check_layout, read_config, read_shape
from tests.parity.conftest import Reference

CONFIG: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 510,
    "moe_intermediate_size": 64,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
}


def sequence(tokens: list[int], history: int) -> PackedGroup:
    return PackedGroup.sequence(torch.tensor(tokens), history)


@pytest.fixture
def one_rank() -> None:
    initialize(Layout(), seed=0)


@pytest.mark.usefixtures("one_rank")
def test_pack_scores_a_token_from_the_position_before_it() -> None:
    packed = pack([sequence([5, 6, 7, 8], 2), sequence([1, 2, 3], 1)], multiple=4, vocab=10)
    assert packed.ids.tolist() == [[5, 6, 7, 1, 2, 0, 0, 0]]
    assert packed.params.positions.tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert packed.padding.tolist() == [[False] * 5 + [True] * 3]
    assert packed.rows.tolist() == [1, 2, 3, 4]
    assert packed.targets.tolist() == [7, 8, 2, 3]
    assert (packed.scored, packed.places) == (4, None)
    assert [call.block for call in packed.params.calls] == [
        Block(0, 3, 0, 3, True), Block(3, 5, 3, 5, True), Block(5, 8, 5, 8, True)
    ]  # fmt: skip


@pytest.mark.usefixtures("one_rank")
def test_a_history_is_there_once_and_scores_the_first_token_of_every_action() -> None:
    actions = tuple(map(torch.tensor, ([7, 8], [9], [7, 9, 8])))
    packed = pack([PackedGroup(torch.tensor([5, 6]), actions)], multiple=1, vocab=10)
    assert packed.ids.tolist() == [[5, 6, 7, 7, 9]]
    assert packed.params.positions.tolist() == [0, 1, 2, 2, 3]
    assert packed.rows.tolist() == [1, 2, 1, 1, 3, 4]
    assert packed.targets.tolist() == [7, 8, 9, 7, 9, 8]
    assert [call.block for call in packed.params.calls] == [
        Block(0, 2, 0, 2, True), Block(2, 3, 2, 3, True), Block(3, 5, 3, 5, True), Block(2, 5, 0, 2, False)
    ]  # fmt: skip


@pytest.mark.usefixtures("one_rank")
def test_pack_of_nothing_still_has_a_token_for_each_tensor_rank() -> None:
    packed = pack([], multiple=2, vocab=10)
    assert packed.ids.tolist() == [[0, 0]]
    assert packed.rows.numel() == packed.scored == 0


@pytest.mark.parametrize(
    ("history", "actions", "said"),
    [
        ([], [[1]], "history is empty"),
        ([1], [[2], []], "action 1 is empty"),
        ([1], [], "a group needs an action"),
    ],
)
def test_a_group_without_tokens_is_refused(history: list[int], actions: list[list[int]], said: str) -> None:
    tensors = [torch.tensor(tokens, dtype=torch.int64) for tokens in (history, *actions)]
    with pytest.raises(ValueError, match=said):
        PackedGroup(tensors[0], tuple(tensors[1:]))
    with pytest.raises(ValueError, match=r"history must be \[n\] int64"):
        PackedGroup(torch.ones(2), ())


@pytest.mark.usefixtures("one_rank")
def test_token_outside_the_vocabulary() -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.9"):
        pack([sequence([1, 10], 1)], multiple=1, vocab=10)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_logprob_and_entropy_gradients_equal_autograd(temperature: float) -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(7, 11)).requires_grad_()
    targets, weights = torch.randint(0, 11, (7,)), torch.randn(2, 7)
    before = logits.detach().clone()
    logprob, entropy = vocab_parallel_logprobs(logits, targets, temperature=temperature)
    (weights[0] * logprob + weights[1] * entropy).sum().backward()
    assert torch.equal(logits.detach(), before)
    ours, logits.grad = logits.grad, None
    log = torch.log_softmax(logits / temperature, -1)
    expected = log.gather(-1, targets[:, None])[:, 0], -(log.exp() * log).sum(-1)
    (weights[0] * expected[0] + weights[1] * expected[1]).sum().backward()
    assert (logprob - expected[0]).abs().max() < 1e-5
    assert (entropy - expected[1]).abs().max() < 1e-5
    assert ours is not None
    assert logits.grad is not None
    assert (ours - logits.grad).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("world", "layout", "message"),
    [
        (3, Layout(tensor=2), "3 ranks do not divide by tensor 2 x pipeline 1 = 2"),
        (
            4,
            Layout(tensor=2, pipeline=2, expert=4),
            "4 ranks do not divide by expert_tensor 1 x expert 4 x pipeline 2 = 8",
        ),
        (2, Layout(tensor=0), "parallel.tensor is 0"),
        (2, Layout(virtual_pipeline=2), "at least 2 chunks and 2 stages"),
        (2, Layout(sequence=True), "parallel.sequence is true with tensor 1: sequence parallelism needs tensor > 1"),
        (4, Layout(tensor=2, context=4), "4 ranks do not divide by tensor 2 x pipeline 1 x context 4 = 8"),
    ],
)
def test_layout_that_does_not_fit_the_world(world: int, layout: Layout, message: str) -> None:
    with pytest.raises(UserError, match=message):
        layout.check(world)


@pytest.mark.parametrize(
    ("layout", "spare"),
    [
        (Layout(pipeline=2), [0, 0, 0, 0, 0]),
        (Layout(pipeline=2, virtual_pipeline=2), [3, 2, 1, 0, 1]),
        (Layout(pipeline=3, virtual_pipeline=2), [5, 4, 3, 2, 1]),
    ],
)
def test_interleaving_gets_multiples_of_its_stages_and_twice_as_many_at_least(layout: Layout, spare: list[int]) -> None:
    assert [layout.spare_micro_batches(count) for count in (1, 2, 3, 4, 5)] == spare


def test_sequence_parallelism_follows_the_layout() -> None:
    assert Layout(tensor=2).sequence_parallel(moe=True)
    assert not Layout(tensor=2).sequence_parallel(moe=False)
    assert Layout(tensor=2, sequence=True).sequence_parallel(moe=False)
    with pytest.raises(UserError, match="needs it"):
        Layout(tensor=2, sequence=False).sequence_parallel(moe=True)
    with pytest.raises(UserError, match="tensor > 1"):
        Layout(sequence=True).sequence_parallel(moe=True)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Layout(tensor=4), "2 key/value heads do not divide by parallel.tensor = 4"),
        (Layout(tensor=3), "4 attention heads do not divide by parallel.tensor = 3"),
        (Layout(pipeline=3), "4 layers do not divide by parallel.pipeline = 3"),
        (
            Layout(pipeline=2, virtual_pipeline=4),
            "4 layers do not divide by parallel.pipeline 2 x virtual_pipeline 4 = 8",
        ),
        (Layout(expert=3), "8 experts do not divide by parallel.expert = 3"),
        (Layout(expert_tensor=3), "64 inner features do not divide by parallel.expert_tensor = 3"),
    ],
)
def test_layout_that_does_not_fit_the_model(layout: Layout, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_layout(read_shape(CONFIG), layout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not supported"),
        ({"attention_bias": True}, "attention_bias = True is not supported"),
        ({"mlp_only_layers": [1]}, r"mlp_only_layers = \[1\] is not supported"),
        ({"model_type": "mixtral", "sliding_window": 4096}, "sliding_window = 4096 is not supported, only None"),
        ({"model_type": "qwen2_moe", "qkv_bias": False}, "qkv_bias = False is not supported, only True"),
        ({"router_jitter_noise": 0.1}, r"router_jitter_noise = 0\.1 is not supported"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type 'yarn' is not supported"),
        ({"hidden_size": None}, None),
    ],
)
def test_unsupported_configuration(change: dict[str, Any], message: str | None) -> None:
    config = {**CONFIG, **change}
    if message is None:
        del config["hidden_size"]
        message = "key 'hidden_size' is missing"
    with pytest.raises(UserError, match=message):
        read_shape(config)


def test_a_window_that_qwen_switches_off_is_no_window() -> None:
    assert read_shape({**CONFIG, "use_sliding_window": False, "sliding_window": 4096}) == read_shape(CONFIG)


def test_both_forms_of_rope_and_experts_are_read() -> None:
    new = {**CONFIG, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "num_local_experts": 8}
    del new["rope_theta"], new["num_experts"]
    assert read_shape(new) == read_shape(CONFIG)


@pytest.mark.parametrize(
    ("limit", "files"),
    [
        (1000, ["model.safetensors"]),
        (48, [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]),
    ],
)
def test_tensors_are_written_in_files_of_a_limited_size(tmp_path: Path, limit: int, files: list[str]) -> None:
    (tmp_path / "model-00001-of-00009.safetensors").write_text("of an older export")
    tensors = {name: torch.full((size,), float(size)) for name, size in (("a", 5), ("b", 7), ("c", 20), ("d", 1))}
    writer = ShardWriter(tmp_path, limit)
    for name, tensor in tensors.items():
        writer.add(name, tensor)
    with pytest.raises(ValueError, match="tensor b came twice"):
        writer.add("b", tensors["b"])
    writer.close()
    assert sorted(file.name for file in tmp_path.glob("*.safetensors*") if "index" not in file.name) == files
    found = {name: tensor for file in files for name, tensor in load_file(tmp_path / file).items()}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    if len(files) > 1:
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert index["metadata"] == {"total_size": 132}
        assert [files.index(index["weight_map"][name]) for name in "abcd"] == [0, 0, 1, 2]


def test_config_that_is_absent_or_broken(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: name a Hugging Face checkpoint"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text('{\n"a": }')
    with pytest.raises(UserError, match=r"config\.json:2: not JSON"):
        read_config(tmp_path)


@pytest.mark.parametrize("kind", ["missing", "extra", "misshapen", "good", "sharded", "no file"])
def test_tensors_that_do_not_fit_the_configuration(moe: Reference, tmp_path: Path, kind: str) -> None:
    from contextlib import ExitStack

    tensors = load_file(moe.path / "model.safetensors")
    shutil.copyfile(moe.path / "config.json", tmp_path / "config.json")
    name = "model.layers.2.mlp.experts.5.up_proj.weight"
    if kind == "missing":
        del tensors[name]
    elif kind == "extra":
        tensors["model.layers.9.mlp.gate.weight"] = torch.zeros(1)
    elif kind == "misshapen":
        tensors[name] = tensors[name][:-1].contiguous()
    if kind == "sharded":
        names = sorted(tensors)
        parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
        for file, chosen in parts.items():
            save_file({n: tensors[n] for n in chosen}, tmp_path / file)
        index = {"weight_map": {n: file for file, chosen in parts.items() for n in chosen}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    elif kind != "no file":
        save_file(tensors, tmp_path / "model.safetensors")
    message = {
        "missing": f"tensor {name} is missing",
        "extra": r"tensor model\.layers\.9\.mlp\.gate\.weight is not part of a qwen3_moe model",
        "misshapen": rf"tensor {name} has shape \(63, 64\), config.json says \(64, 64\)",
        "no file": "holds neither model.safetensors nor",
    }.get(kind)
    with ExitStack() as stack:
        if message is not None:
            with pytest.raises(UserError, match=message):
                hf.Checkpoint(tmp_path, stack).check(read_shape(read_config(tmp_path)))
            return
        source = hf.Checkpoint(tmp_path, stack)
        source.check(read_shape(read_config(tmp_path)))
        assert torch.equal(source.rows(name, 1, 2), tensors[name][32:])
        assert torch.equal(source.columns(name, 0, 4), tensors[name][:, :16])
