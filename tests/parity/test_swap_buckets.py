"""The swap by bucket on real ranks: from any layout of the policy to what each engine needs, bit for bit."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from pivot.layout import Layout
from pivot.swap import EngineShape
from tests.parity.launch import launch
from tests.parity.swap_checkpoint import make_large_checkpoint

WORK = Path(__file__).with_name("bucket_workers.py")
TWO = [Layout(tensor=2), Layout(pipeline=2), Layout(expert=2), Layout(tensor=2, expert=2)]
FOUR = [Layout(pipeline=2, expert=2), Layout(tensor=2, pipeline=2, expert=2), Layout(tensor=2, expert=2)]
WHOLE = EngineShape(1, False, 2, 8)
PAIRS = [
    (Layout(tensor=2), WHOLE),
    (Layout(pipeline=2), EngineShape(2, False, 2, 8)),
    (Layout(expert=2), EngineShape(2, True, 2, 8)),
    (Layout(tensor=2, expert_tensor=2), EngineShape(2, True, 2, 8)),
]
PAIRS_OF_FOUR = [
    (Layout(tensor=2, pipeline=2, expert=2), WHOLE),
    (Layout(tensor=2, pipeline=2, expert=2), EngineShape(4, False, 2, 8)),
    (Layout(pipeline=2, expert=2), EngineShape(2, True, 2, 8)),
    (Layout(expert=4), EngineShape(2, False, 2, 8)),
]
QUANTISED = [(Layout(expert=2), WHOLE), (Layout(tensor=2, expert_tensor=2), WHOLE), (Layout(pipeline=2), WHOLE)]


@pytest.fixture(scope="module")
def larger(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """29 MB, of which experts are 256 x 128."""
    path = tmp_path_factory.mktemp("larger")
    make_large_checkpoint(path, checkpoint)
    return path


@pytest.fixture(scope="module")
def two(checkpoint: Path, larger: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    scratch = tmp_path_factory.mktemp("two")
    asked = {"layouts": TWO[:1], "pairs": PAIRS, "quantised": QUANTISED}
    return launch(
        WORK, "two_ranks", 2, kind="engine", timeout=600, path=checkpoint, scratch=scratch, large=larger, **asked
    )


@pytest.fixture(scope="module")
def one(checkpoint: Path, larger: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scratch = tmp_path_factory.mktemp("one")
    return launch(
        WORK, "one_rank", 1, kind="engine", timeout=600, path=checkpoint, scratch=scratch, large=larger, swaps=20
    )[0]


def check_engines(found: list[list[dict[str, Any]]], layouts: list[Layout]) -> None:
    for rank in found:
        for number, (layout, seen) in enumerate(zip(layouts, rank, strict=True)):
            assert seen["tokens"] == seen["fresh tokens"], layout
            assert seen["gap"] < 1e-5, layout
            assert seen["probe"].max_gap < 1e-4, layout
            assert seen["versions"] == {f"{number}.2"}


def check_delivered(found: list[list[dict[str, Any]]]) -> None:
    for rank in found:
        assert max(seen["buckets"] for seen in rank) > 3
        for seen in rank:
            assert (seen["wrong"], seen["extra"]) == ([], [])
            assert seen["stats"].tensors == seen["needed"]


def test_engines_are_left_as_fresh_ones_of_the_exported_weights(one: dict[str, Any], two: list[dict[str, Any]]) -> None:
    check_engines([one["engines"]], [Layout()])
    check_engines([rank["engines"] for rank in two], TWO[:1])


def test_an_engine_over_two_ranks_is_left_as_a_fresh_one(checkpoint: Path, tmp_path: Path) -> None:
    asked = {"path": checkpoint, "scratch": tmp_path, "layouts": [TWO[1]], "tensor": 2, "expert_parallel": True}
    check_engines(launch(WORK, "engines", 2, kind="engine", timeout=600, **asked), [TWO[1]])


def test_each_engine_rank_gets_its_part_exactly(two: list[dict[str, Any]]) -> None:
    check_delivered([rank["delivered"] for rank in two])


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "tensor", "layouts"), [(2, 1, TWO[2:]), (4, 1, FOUR), (4, 2, FOUR)])
def test_more_layouts(checkpoint: Path, tmp_path: Path, ranks: int, tensor: int, layouts: list[Layout]) -> None:
    asked = {"path": checkpoint, "scratch": tmp_path, "layouts": layouts, "tensor": tensor}
    check_engines(launch(WORK, "engines", ranks, kind="engine", timeout=600, **asked), layouts)


@pytest.mark.slow
def test_each_of_four_ranks_gets_its_part_exactly(checkpoint: Path) -> None:
    check_delivered(launch(WORK, "delivered", 4, kind="engine", timeout=600, path=checkpoint, layouts=PAIRS_OF_FOUR))


def test_a_rank_alone_sends_nothing_and_copies_little(one: dict[str, Any]) -> None:
    stats = one["engines"][0]["stats"]
    assert (stats.sent, stats.received, stats.wire_ratio) == (0, 0, 1.0)
    assert stats.bytes == 4 * 559_936


def test_owners_quantise_before_the_wire(two: list[dict[str, Any]]) -> None:
    check_delivered([rank["quantised"] for rank in two])
    for rank in two:
        by_experts, by_rows, by_stages = (seen["stats"] for seen in rank["quantised"])
        # float32 here: a byte and a bit for four
        assert 0.25 < by_experts.wire_ratio < 0.27
        # keys and values of 64 rows a head: a parameter has them one by one, and a block is 128
        assert (by_experts.late, by_rows.late, by_stages.late) == (8, 8, 8)
        assert by_stages.wire_ratio < 0.6  # embedding and head stay as they are


def test_a_swap_needs_two_buckets_and_a_tensor(two: list[dict[str, Any]]) -> None:
    for rank in two:
        for seen in rank["memory"]:
            assert seen["buckets"] > 5
            assert seen["buffers"] <= 512 << 10
            assert seen["most"] <= seen["buffers"] + seen["largest"] + (600 << 10)  # and what fingerprints need
            assert seen["stats"].extra_bytes <= seen["buffers"] + seen["largest"]


def test_needs_are_what_the_engines_loaders_read(one: dict[str, Any]) -> None:
    found = one["loaders"]
    assert (found["outside"], found["experts"]) == ([], [])
    assert found["loaded"] == 15 * 9


def test_every_fault_is_noticed_before_a_sample_is_used(two: list[dict[str, Any]]) -> None:
    rows = [
        (fault, guard, [rank["faults"][i][2] for rank in two]) for i, (fault, guard, _) in enumerate(two[0]["faults"])
    ]
    width = max(len(fault) for fault, _, _ in rows)
    print()
    for fault, guard, said in rows:
        print(f"{fault:{width}}  {guard:12}  {said[0][:150]}")
    for fault, guard, said in rows:
        for message in said:
            assert SAID[fault] in message, fault
            assert (message == "no error") == (guard == "none")
    assert {fault for fault, _, _ in rows} == SAID.keys()


EXPERT = "model.layers.1.mlp.experts"
SAID = {
    "one expert not in the policy": f"1 of 135 tensors are missing: {EXPERT}.5.gate_proj.weight",
    "one expert gone after planning": f"rank 1: tensor {EXPERT}.5.gate_proj.weight: planned with [0:64, 0:64]",
    "a matrix transposed, not square": "model.layers.0.self_attn.o_proj.weight: the policy's part [0:64, 0:128]",
    "one expert not sent": f"rank 0: tensor {EXPERT}.5.gate_proj.weight: [0:64, 0:64] did not come",
    "a byte of a bucket changed": "is not what its owner sent",
    "a square matrix transposed on arrival": f"{EXPERT}.5.gate_proj.weight: [0:64, 0:64] is not what its owner sent",
    "a rank sends an older version": "of rank 1 is version 'old', this is the swap to 'new'",
    "scales twice too large, at the owner": "was quantised to something else",
    "a scale twice too large, on the way": f"{EXPERT}.5.gate_proj.weight: [0:64, 0:64] is not what its owner sent",
    "two experts exchanged at the source": f"the policy exports of {EXPERT}.0.gate_proj.weight, {EXPERT}.1.gate",
    "a square matrix transposed at the source": f"the policy exports of {EXPERT}.0.gate_proj.weight, {EXPERT}.4.gate",
    "nothing": "no error",
    "samples of older weights": "drawn with weights of version '1', the policy is at '2'",
    "a swap left out": "the engine holds other values than the policy exports of model.embed_tokens.weight",
    "an engine used after a swap that failed": "did not complete: build a new engine",
    "a tensor rank left out": "did not come",
}


def flat(found: dict[str, list[float]], skip: int) -> tuple[float, float]:
    """Of the second half of the swaps against the first: more megabytes, and times as long."""
    resident, seconds = found["resident"][skip:], found["seconds"][skip:]
    half = len(resident) // 2
    grown = statistics.median(resident[half:]) - statistics.median(resident[:half])
    return grown, statistics.median(seconds[half:]) / statistics.median(seconds[:half])


def test_twenty_swaps_leave_nothing_behind(one: dict[str, Any]) -> None:
    grown, _ = flat(one["many"], skip=4)
    assert len(one["many"]["seconds"]) == 20
    assert grown < 4.0, one["many"]["resident"]  # a swap moves 29 MB


@pytest.mark.slow
def test_two_hundred_swaps_leave_nothing_behind(larger: Path) -> None:
    for found in launch(WORK, "many", 2, kind="engine", timeout=1200, path=larger, swaps=200):
        grown, slower = flat(found, skip=20)
        print(json.dumps({"grown_mb": round(grown, 2), "slower": round(slower, 3)}))
        assert grown < 4.0
        assert slower < 1.5
