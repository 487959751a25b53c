"""The colocated engine: what it draws, scores and leaves behind, and that a push changes its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.parity.launch import launch
from tests.parity.swap_checkpoint import make_tied_checkpoint

WORK = Path(__file__).with_name("swap_workers.py")


@pytest.fixture(scope="module")
def sampled(checkpoint: Path) -> dict[str, Any]:
    return launch(WORK, "sampling", 1, kind="engine", path=checkpoint)[0]


@pytest.fixture(scope="module")
def swapped(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return launch(WORK, "swapping", 1, kind="engine", path=checkpoint, scratch=tmp_path_factory.mktemp("after"))[0]


@pytest.fixture(scope="module")
def replicas(checkpoint: Path) -> list[dict[str, Any]]:
    return launch(WORK, "replicas", 2, kind="engine", path=checkpoint)


def test_logprobs_are_hugging_faces(sampled: dict[str, Any]) -> None:
    assert sampled["gap"] < 1e-4  # of sampled tokens, at temperature 0.8
    assert sampled["score gap"] < 1e-4  # of given tokens, at temperature 1
    assert set(sampled["score lengths"]) == {-1}  # one a token after the first


def test_a_sample_depends_on_its_seed_alone(sampled: dict[str, Any]) -> None:
    drawn = [[c.token_ids for c in group] for group in sampled["drawn"]]
    assert len({ids for group in drawn for ids in group}) == 24  # all differ
    for other in ("alone", "reversed", "after interruption", "after giving up"):
        assert [[c.token_ids for c in group] for group in sampled[other]] == drawn, other


def test_a_preempted_sample_is_resumed_unchanged(sampled: dict[str, Any]) -> None:
    crowded = sampled["crowded"]
    assert crowded["preempted"] > 0
    small, roomy = ([[c.token_ids for c in group] for group in crowded[k]] for k in ("drawn", "roomy"))
    assert small == roomy


def test_a_cached_prefix_changes_nothing(sampled: dict[str, Any]) -> None:
    cold, warm = sampled["warm"]
    assert [[c.token_ids for c in group] for group in cold] == [[c.token_ids for c in group] for group in warm]


def test_progress_counts_prompts_and_tokens(sampled: dict[str, Any]) -> None:
    assert sampled["calls"] == sorted(sampled["calls"])
    assert sampled["calls"][-1] == (6, sum(len(c.token_ids) for group in sampled["drawn"] for c in group))


def test_prompts_that_do_not_fit(sampled: dict[str, Any]) -> None:
    assert len(sampled["last token"].token_ids) == 1
    assert sampled["last token"].finish_reason in {"length", "stop"}
    assert sampled["too long"] == ("ValueError: prompt 1 has 384 tokens; between 1 and 383 fit (max_model_len 384)")
    assert "sequence 1 has 0 tokens" in sampled["empty"]
    assert sampled["no prompts"] == []


def test_an_interrupted_call_leaves_nothing_running(sampled: dict[str, Any]) -> None:
    assert sampled["interrupted"] == "RuntimeError: interrupted"
    assert sampled["looks"] == 4  # one a step of the engine
    assert [] in sampled["given up"]
    for group, whole in zip(sampled["given up"], sampled["drawn"], strict=True):
        assert [c.token_ids for c in group] in ([], [c.token_ids for c in whole])


def test_a_closed_engine_says_so(sampled: dict[str, Any]) -> None:
    assert sampled["closed"] == "RuntimeError: the engine cannot be used: it is closed"


def test_settings_that_vllm_refuses_are_the_users_to_fix(sampled: dict[str, Any]) -> None:
    for kind, setting in (("too small", "kv_cache_bytes=65536"), ("too far", "max_model_len=4096")):
        assert sampled[kind].startswith("UserError: ")
        assert setting in sampled[kind]
        assert "\n" not in sampled[kind]


def test_the_trainers_process_is_left_alone(sampled: dict[str, Any], replicas: list[dict[str, Any]]) -> None:
    assert sampled["before"] == sampled["after"]
    for rank in replicas:
        assert rank["before"] == rank["after"]


def test_pushed_weights_equal_a_fresh_engine(swapped: dict[str, Any]) -> None:
    for pushed, fresh in zip(swapped["pushed"], swapped["fresh"], strict=True):
        for a, b in zip(pushed, fresh, strict=True):
            assert [c.token_ids for c in a] == [c.token_ids for c in b]
            assert [c.logprobs for c in a] == [pytest.approx(c.logprobs, abs=1e-5) for c in b]
            assert {c.weight_version for c in a} == {"step 2"}
            assert {c.weight_version for c in b} == {"initial"}
    assert swapped["good probe"].max_gap < 1e-4
    assert swapped["good probe"].tokens == sum(20 + i for i in range(6)) - 6


def test_a_push_carries_the_whole_checkpoint(swapped: dict[str, Any]) -> None:
    assert (swapped["stats"].tensors, swapped["stats"].bytes) == swapped["expected"]


def test_a_push_forgets_cached_prefixes(swapped: dict[str, Any]) -> None:
    assert swapped["long gap"] < 1e-4


def test_the_probe_catches_experts_that_were_not_updated(swapped: dict[str, Any]) -> None:
    for kind in ("stale experts", "unpacked experts"):
        assert swapped[kind].startswith("SwapError: after the swap engine and policy disagree: sequence")
    assert swapped["good again"] == "no error"


def test_a_head_tied_to_the_embedding_follows_a_push(checkpoint: Path, tmp_path: Path) -> None:
    make_tied_checkpoint(tmp_path, checkpoint)
    said = launch(WORK, "tied", 1, kind="engine", path=tmp_path)[0]
    assert said["first"] == said["good again"] == "no error"
    assert "engine and policy disagree" in said["stale head"]


def test_end_of_turn_is_kept_in_the_tokens_and_not_in_the_text(swapped: dict[str, Any]) -> None:
    stopped = [c for c in swapped["stop"] if c.finish_reason == "stop"]
    assert len(stopped) >= 5
    for completion in stopped:
        assert completion.token_ids[-1] == 2
        assert 2 not in completion.token_ids[:-1]
        assert len(completion.logprobs) == len(completion.token_ids)
        assert "<|im_end|>" not in completion.text
    for completion in swapped["stop"]:
        assert (completion.finish_reason == "length") == (2 not in completion.token_ids)


def test_an_engine_without_weights_refuses_to_be_used(swapped: dict[str, Any]) -> None:
    assert "call update_weights first" in swapped["unfilled"]


def test_a_push_without_experts_stops_with_their_names(swapped: dict[str, Any]) -> None:
    assert swapped["no experts"].startswith("SwapError: 96 of ")
    assert "model.layers.0.mlp.experts.0.down_proj.weight" in swapped["no experts"]
    for later in ("broken", "broken push"):
        assert swapped[later].endswith("update 'broken' did not complete: build a new engine")
    assert swapped["direct"].startswith("MissingWeights: 8 engine parameters received nothing: model")


def test_replicas_draw_what_one_engine_draws(sampled: dict[str, Any], replicas: list[dict[str, Any]]) -> None:
    alone = [[c.token_ids for c in group] for group in sampled["drawn"]]
    for rank in replicas:
        assert [[c.token_ids for c in group] for group in rank["drawn"]] == alone


def test_the_trainers_groups_survive_the_engines(replicas: list[dict[str, Any]]) -> None:
    for rank in replicas:
        assert rank["during"] == rank["closed"] == (3.0, 3.0)
        assert rank["later"]


def test_the_real_policy_and_its_engines_agree_after_every_push(checkpoint: Path) -> None:
    for rank in launch(WORK, "colocated", 2, kind="engine", path=checkpoint):
        assert max(rank["probes"]) < 1e-4
        assert rank["stale"] > 1e-2  # after a training step without a push
        assert rank["versions"] == [{"0"}, {"1"}, {"2"}]
