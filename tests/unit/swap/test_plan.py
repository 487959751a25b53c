"""Plans: every rank gets all that its engine needs, once, from ranks that hold it, in buckets of a limited size."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise

import pytest
import torch

from benchmarks.swap_layouts import DENSE, QWEN3_30B, holding, shape
from pivot.layout import Layout
from pivot.policy.hf import hf_shapes
from pivot.region import Region, missing
from pivot.shape import Shape
from pivot.swap import SwapError
from pivot.swap.formats import FORMATS
from pivot.swap.held import Holding
from pivot.swap.keep import WireSettings
from pivot.swap.needs import EngineShape
from pivot.swap.parts import choose_wires, holders_of, needs_of
from pivot.swap.plan import Plan, make_plan
from pivot.swap.routes import module_of
from pivot.swap.wire import Wire

PLAIN = WireSettings()
BLOCKS = WireSettings(FORMATS["block"])


@dataclass(frozen=True)
class World:
    """A model, the trainer's layout and the engines'."""

    shape: Shape
    layout: Layout
    ranks: int
    engine: EngineShape
    settings: WireSettings = PLAIN
    dtype: torch.dtype = torch.float32

    def plans(self, bucket: int, per_node: int = 8, only: int | None = None) -> list[Plan]:
        shapes = hf_shapes(self.shape)
        holdings = [holding(self.shape, self.layout, self.ranks, rank, self.dtype) for rank in range(self.ranks)]
        holders = holders_of(holdings)
        places = [(self.engine, rank % self.engine.tensor) for rank in range(self.ranks)]
        needs = needs_of(shapes, places)
        wires = choose_wires(shapes, dict.fromkeys(shapes, self.dtype), holders, needs, self.settings)
        return [
            make_plan(
                shapes, holders, needs, wires, rank=rank, world=self.ranks, bucket_bytes=bucket, per_node=per_node
            )
            for rank in (range(self.ranks) if only is None else [only])
        ]


WORLDS = {
    "alone": World(shape(), Layout(), 1, EngineShape()),
    "tp2": World(shape(), Layout(tensor=2), 2, EngineShape()),
    "pp2": World(shape(), Layout(pipeline=2), 2, EngineShape()),
    "ep2": World(shape(), Layout(expert=2), 2, EngineShape()),
    "dp2": World(shape(), Layout(), 2, EngineShape()),
    "tied pp2": World(shape(tie_word_embeddings=True), Layout(pipeline=2), 2, EngineShape()),
    "tp2 etp2": World(shape(), Layout(tensor=2, expert_tensor=2), 2, EngineShape()),
    "tp2 pp2 ep2": World(shape(), Layout(tensor=2, pipeline=2, expert=2), 4, EngineShape()),
    "tp4 to tp2": World(shape(), Layout(tensor=4), 4, EngineShape(2, False, 4, 8)),
    "ep4 to tp4": World(shape(), Layout(expert=4), 4, EngineShape(4, False, 4, 8)),
    "ep4 to ep4": World(shape(), Layout(expert=4), 4, EngineShape(4, True, 4, 8)),
    "pp2 ep4 to tp8": World(shape(), Layout(pipeline=2, expert=4), 8, EngineShape(8, False, 4, 8)),
    "pp4 tp2 to tp4 ep": World(shape(), Layout(pipeline=4, tensor=2, expert=2), 16, EngineShape(4, True, 4, 8)),
    "dense tp2": World(shape(DENSE), Layout(tensor=2), 4, EngineShape(2, False, 4)),
}


@pytest.mark.parametrize("bucket", [8192, 1 << 16, 1 << 22])
@pytest.mark.parametrize("name", WORLDS)
def test_every_rank_gets_what_it_needs_once_from_ranks_that_hold_it(name: str, bucket: int) -> None:
    world = WORLDS[name]
    plans = world.plans(bucket, per_node=4)
    held = [holding(world.shape, world.layout, world.ranks, rank) for rank in range(world.ranks)]
    assert len({plan.digest for plan in plans}) == 1
    for plan in plans:
        came: dict[str, list[Region]] = {}
        finished = []
        for step in (step for bucket_ in plan.buckets for step in bucket_.steps):
            for copy in step.takes:
                assert step.name == copy.name
                assert not missing(copy.region, held[copy.peer][copy.name][0])
                assert all(not copy.region.intersect(other) for other in came.get(copy.name, []))
                came.setdefault(copy.name, []).append(copy.region)
            finished += [step.name] if step.last else []
        assert sorted(finished) == sorted(hf_shapes(world.shape))
        assert came.keys() == plan.needs.keys()
        for tensor, region in plan.needs.items():
            assert not missing(region, came[tensor])
            assert sum(part.numel for part in came[tensor]) == region.numel  # and nothing beyond


@pytest.mark.parametrize("name", WORLDS)
def test_both_ends_of_a_copy_agree_where_it_lies(name: str) -> None:
    plans = WORLDS[name].plans(1 << 15, per_node=4)
    for bucket in zip(*(plan.buckets for plan in plans), strict=True):
        for rank, mine in enumerate(bucket):
            for peer, theirs in enumerate(bucket):
                sent = [copy for step in mine.steps for copy in step.sends if copy.peer == peer]
                taken = [copy for step in theirs.steps for copy in step.takes if copy.peer == rank != peer]
                assert [(c.name, c.region) for c in sent] == [(c.name, c.region) for c in taken]
                assert mine.sent[peer] == theirs.received[rank]
                start, begin = sum(mine.sent[:peer]), sum(theirs.received[:rank])
                assert [(c.offset - start, c.slot - start) for c in sent] == [
                    (c.offset - begin, c.slot - begin) for c in taken
                ]


@pytest.mark.parametrize("bucket", [8192, 1 << 18])
@pytest.mark.parametrize("name", WORLDS)
def test_no_rank_sends_or_receives_more_than_a_bucket(name: str, bucket: int) -> None:
    plans = WORLDS[name].plans(bucket, per_node=4)
    assert all(sum(part) <= bucket for plan in plans for b in plan.buckets for part in (b.sent, b.received))
    assert all(max(plan.capacity) <= bucket for plan in plans)
    if bucket > 8192:
        busiest = max(max(plan.sent, plan.received) for plan in plans)
        assert len(plans[0].buckets) <= 2 * busiest / bucket + 2  # and buckets are used


def test_copies_do_not_overlap_in_a_buffer() -> None:
    for plan in WORLDS["tp2 pp2 ep2"].plans(1 << 15):
        for bucket in plan.buckets:
            for copies in ([c for s in bucket.steps for c in s.sends], [c for s in bucket.steps for c in s.takes]):
                away = [copy for copy in copies if copy.peer != plan.rank]
                spans = [(c.offset, c.offset + plan.wires[c.name].nbytes(c.region)) for c in away]
                spans += [(c.slot, c.slot + 8) for c in away]
                ordered = sorted(spans)
                assert all(stop <= start for (_, stop), (start, _) in pairwise(ordered))


def test_nothing_that_stays_on_a_rank_crosses_the_wire() -> None:
    [alone] = WORLDS["alone"].plans(8192)
    assert (alone.sent, alone.received, len(alone.buckets)) == (0, 0, 1)
    assert all(plan.received == 0 for plan in WORLDS["dp2"].plans(8192))
    [first, second] = WORLDS["ep2"].plans(1 << 20)
    experts = 4 * 3 * 32 * 64 * 4 * 4  # layers, matrices, elements, experts of the other rank, bytes
    assert first.plain == second.plain == experts


def test_ranks_that_hold_the_same_take_turns() -> None:
    """Eight ranks, experts on two halves of them, engines everywhere: nobody sends much more than another."""
    plans = World(shape(), Layout(expert=2), 8, EngineShape()).plans(1 << 20)
    sent = [plan.sent for plan in plans]
    assert max(sent) <= 1.1 * sum(sent) / len(sent)


def test_a_source_on_the_same_node_is_preferred() -> None:
    world = World(shape(), Layout(expert=2), 8, EngineShape())
    for plan in world.plans(1 << 20, per_node=2):
        peers = {copy.peer for bucket in plan.buckets for step in bucket.steps for copy in step.takes}
        assert peers == {plan.rank // 2 * 2, plan.rank // 2 * 2 + 1}


def test_a_module_of_the_engine_comes_in_one_go_and_stages_take_turns() -> None:
    [plan, _] = WORLDS["pp2"].plans(1 << 24)
    modules = [module_of(step.name) for bucket in plan.buckets for step in bucket.steps]
    seen = list(dict.fromkeys(modules))
    assert [module for module, _ in groupby(modules)] == seen  # never taken up again
    senders = [int(name.split(".")[2]) // 2 for name in seen if ".layers." in name]
    assert senders[:6] in ([0, 1] * 3, [1, 0] * 3)


def test_a_part_that_nobody_holds_is_named() -> None:
    world = WORLDS["tp2"]
    shapes = hf_shapes(world.shape)
    needs, wires = needs_of(shapes, [(world.engine, 0)] * 2), dict.fromkeys(shapes, Wire(torch.float32))
    one, two = (dict(holding(world.shape, world.layout, 2, rank)) for rank in range(2))
    name = "model.layers.1.mlp.experts.3.up_proj.weight"
    key = "model.layers.2.self_attn.o_proj.weight"

    def planned(*holdings: Holding) -> Plan:
        holders = holders_of(holdings)
        return make_plan(shapes, holders, needs, wires, rank=0, world=2, bucket_bytes=1 << 20, per_node=2)

    planned(one, two)
    with pytest.raises(SwapError, match=rf"tensor {key}: no rank holds \[0:64, 128:256\]"):
        planned(one, {n: held for n, held in two.items() if n != key})
    with pytest.raises(SwapError, match=rf"tensor {name}: no rank holds \[0:32, 0:64\] of it"):
        planned(*({n: held for n, held in each.items() if n != name} for each in (one, two)))


def test_a_bucket_too_small_for_a_row_is_refused() -> None:
    with pytest.raises(SwapError, match=r"1 of its rows are \d+ bytes for a rank, a bucket takes .*swap\.bucket_mb"):
        WORLDS["tp2"].plans(256)


def test_other_settings_make_another_digest() -> None:
    [one, two] = (WORLDS["tp2"].plans(size, only=0)[0].digest for size in (1 << 16, 1 << 17))
    assert one != two


def test_a_tensor_is_quantised_by_its_owners_where_they_hold_whole_blocks() -> None:
    wide = shape(hidden_size=256, moe_intermediate_size=256, num_attention_heads=8, num_key_value_heads=2, head_dim=64)
    gate, key = "model.layers.0.mlp.experts.0.gate_proj.weight", "model.layers.0.self_attn.k_proj.weight"
    plan = World(wide, Layout(tensor=2), 2, EngineShape(), BLOCKS, torch.bfloat16).plans(1 << 20)[0]
    assert plan.wires[gate] == Wire(torch.bfloat16, format=FORMATS["block"])
    assert plan.wires[key] == Wire(torch.bfloat16, late=FORMATS["block"])  # 64 rows a rank
    assert plan.wires["model.embed_tokens.weight"] == Wire(torch.bfloat16)
    for bucket in plan.buckets:
        for copy in (copy for step in bucket.steps for copy in (*step.sends, *step.takes) if copy.name == gate):
            assert all(edge % 128 == 0 for bounds in copy.region.bounds for edge in bounds)
    with pytest.raises(SwapError, match=r"an engine needs \[0:64, 0:256\] of it, which cuts through block blocks"):
        World(wide, Layout(), 2, EngineShape(2, False, 2, 8), BLOCKS, torch.bfloat16).plans(1 << 20)


@pytest.mark.parametrize(
    ("ranks", "layout", "engine"),
    [
        (8, Layout(expert=8), EngineShape(1, False, 4, 128)),
        (8, Layout(tensor=2, pipeline=2, expert=4), EngineShape(4, True, 4, 128)),
        (128, Layout(tensor=4, pipeline=4, expert=8), EngineShape(8, True, 4, 128)),
    ],
)
def test_the_real_model_is_planned(
    ranks: int, layout: Layout, engine: EngineShape, record_property: Callable[..., None]
) -> None:
    world = World(shape(QWEN3_30B), layout, ranks, engine, BLOCKS, torch.bfloat16)
    started = time.perf_counter()
    [plan] = world.plans(256 << 20, only=ranks - 1)
    record_property("planning_seconds", time.perf_counter() - started)
    assert len(plan.wires) == 18867
    assert max(plan.capacity) <= 256 << 20
    needed = sum(plan.wires[name].nbytes(region) for name, region in plan.needs.items())
    assert plan.received < needed
    ratio = plan.received / plan.plain
    assert ratio < 0.53, f"{ratio:.4f} of the bytes in bfloat16"
