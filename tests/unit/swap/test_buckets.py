"""The swap by bucket in one process: what reaches the engine, and what is refused. Ranks are in tests/parity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
import torch
from torch import Tensor

from pivot.region import Region
from pivot.swap import BucketSwap, EngineShape, Gathered, Manifest, SwapError, SwapSettings, blame, marks, open_swap
from pivot.swap.formats import FORMATS
from pivot.swap.fp8 import quantise
from pivot.swap.held import Held
from pivot.swap.keep import WireSettings, quantization_config
from pivot.swap.transfer import Buffers, Transfer
from tests.unit.swap.sink import Sink

FUSED = torch.randn(512, 256, generator=torch.Generator().manual_seed(0))
NORM = torch.arange(256.0)
GATE, UP, LAST = "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight"
MANIFEST = Manifest({GATE: (256, 256), UP: (256, 256), LAST: (256,)}, {})
HALF, WHOLE = Region(((0, 256), (0, 128))), Region.whole((256, 256))


class Source:
    """A policy with gate above up in one parameter; up is known in two halves."""

    def __init__(self) -> None:
        self.hf_config = {"num_attention_heads": 4}
        other = Region(((0, 256), (128, 256)))
        self.parts: list[tuple[str, Region, Tensor]] | None = [
            (GATE, WHOLE, FUSED[:256]),
            (UP, HALF, FUSED[256:, :128]),
            (UP, other, FUSED[256:, 128:]),
            (LAST, Region.whole((256,)), NORM),
        ]

    def shards(self) -> Iterator[tuple[str, Region, Tensor]] | None:
        return None if self.parts is None else iter(self.parts)

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((GATE, FUSED[:256]), (UP, FUSED[256:]), (LAST, NORM))


def swap_of(source: Source, **settings: object) -> BucketSwap:
    return BucketSwap(source, MANIFEST, EngineShape(), 0, SwapSettings(**settings))  # type: ignore[arg-type]


def test_what_is_held_whole_goes_over_as_it_is_and_the_rest_is_put_together() -> None:
    sink = Sink()
    stats = swap_of(Source()).push(sink, "7")
    assert sink.version == "7"
    assert sink.got[GATE].data_ptr() == FUSED.data_ptr()
    assert torch.equal(sink.got[UP], FUSED[256:])
    assert torch.equal(sink.got[LAST], NORM)
    assert (stats.tensors, stats.bytes, stats.sent, stats.wire_ratio) == (3, FUSED.nbytes + 1024, 0, 1.0)
    assert stats.checks == 0  # the halves did not travel
    assert stats.extra_bytes == 256 * 256 * 4
    assert stats.metrics()["swap/bytes"] == FUSED.nbytes + 1024
    assert "swap/seconds_engine" in stats.metrics()


def test_updates_are_followed() -> None:
    source, sink = Source(), Sink()
    swap = swap_of(source)
    swap.push(sink, "1")
    FUSED.add_(1)
    swap.push(sink, "2")
    assert torch.equal(sink.got[UP], FUSED[256:])
    FUSED.sub_(1)


def test_an_engine_that_computes_in_fp8_is_given_values_and_scales() -> None:
    source, sink = Source(), Sink()
    settings = SwapSettings(wire=WireSettings(FORMATS["block"]))
    expects = quantization_config(MANIFEST.shapes.items(), settings.wire)
    swap = open_swap(source, MANIFEST, settings, quantization=expects)
    stats = swap.push(sink, "1")
    assert [*sink.got] == [GATE, f"{GATE}_scale_inv", UP, f"{UP}_scale_inv", LAST]
    for name, full in (GATE, FUSED[:256]), (UP, FUSED[256:]):
        made = quantise(full, FORMATS["block"])
        assert torch.equal(sink.got[name].view(torch.uint8), made.payload.view(torch.uint8))
        assert torch.equal(sink.got[f"{name}_scale_inv"], made.scales)
    assert (stats.tensors, stats.bytes) == (3, 2 * (256 * 256 + 16) + 1024)
    assert blame(source, marks(sink.got.items()), swap, MANIFEST.shapes).startswith("every tensor is delivered")


def test_an_engine_that_expects_something_else_is_refused_before_a_swap() -> None:
    expects = quantization_config(MANIFEST.shapes.items(), WireSettings(FORMATS["block"]))
    with pytest.raises(SwapError, match=f"tensor {GATE} is sent as it is, but the engine expects it in FP8 blocks"):
        open_swap(Source(), MANIFEST, SwapSettings(), quantization=expects)
    gathered = Source()
    gathered.parts = None
    with pytest.raises(SwapError, match=f"tensor {GATE} is sent as it is"):
        open_swap(gathered, MANIFEST, SwapSettings(wire=WireSettings(FORMATS["block"])), quantization=expects)


def test_an_engine_alone_is_given_what_fp8_makes_of_the_weights() -> None:
    source, sink = Source(), Sink()
    swap = swap_of(source, wire=WireSettings(FORMATS["block"]))
    swap.push(sink, "1")
    for name, full in source.hf_weights():
        assert torch.equal(sink.got[name], swap.expected(name, full))
    assert not torch.equal(sink.got[GATE], FUSED[:256])
    assert (sink.got[GATE] - FUSED[:256]).abs().max() < 0.07 * FUSED.abs().max()
    assert torch.equal(sink.got[LAST], NORM)


def test_fingerprints_are_taken_of_a_share() -> None:
    plan = swap_of(Source()).plan
    held, buffers = Held(Source().shards() or ()), Buffers(plan, torch.device("cpu"))

    def checked(share: float) -> set[bool]:
        transfers = (
            Transfer(plan, MANIFEST.shapes, held, buffers, version=str(version), verified=share)
            for version in range(20)
        )
        return {transfer._checked(UP) for transfer in transfers}

    assert checked(0.0) == {False}
    assert checked(0.5) == {False, True}  # this tensor's turn comes, and passes
    assert checked(1.0) == {True}


def test_an_engine_that_stops_reading_is_noticed() -> None:
    with pytest.raises(SwapError, match="rank 0: the engine stopped reading 2 tensors before the end"):
        swap_of(Source()).push(Sink(limit=1), "1")


def test_an_error_of_the_engine_is_the_error() -> None:
    class Broken(Sink):
        def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
            next(iter(weights))
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        swap_of(Source()).push(Broken(), "1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda parts: parts[:3], r"1 of 3 tensors are missing: model\.norm\.weight"),
        (lambda parts: [*parts, ("model.extra", WHOLE, FUSED)], r"unexpected tensor model\.extra"),
        (lambda parts: [*parts[1:], (GATE, Region(((0, 512), (0, 256))), FUSED)], r"the policy holds \[0:512, 0:256\]"),
        (lambda parts: [*parts[1:], (GATE, WHOLE, FUSED)], r"part \[0:256, 0:256\] has shape \[512, 256\]"),
        (lambda parts: [*parts[1:], (GATE, Region(((0, 9),)), NORM)], r"the policy holds \[0:9\]"),
        (lambda parts: [parts[0], *parts[2:]], rf"tensor {UP}: no rank holds \[0:256, 0:128\]"),
    ],
)
def test_shards_that_do_not_make_the_checkpoint_are_refused(change: object, said: str) -> None:
    source = Source()
    source.parts = change(source.parts)  # type: ignore[operator]
    with pytest.raises(SwapError, match=said):
        swap_of(source)


def test_shards_that_have_changed_since_planning_are_refused() -> None:
    source = Source()
    swap, sink = swap_of(source), Sink()
    assert source.parts is not None
    source.parts = source.parts[1:]
    with pytest.raises(SwapError, match=rf"{GATE}: planned with \[0:256, 0:256\] in torch.float32 of it, .* nothing"):
        swap.push(sink, "1")
    source.parts = [(GATE, WHOLE, FUSED[:256].bfloat16()), *source.parts]
    with pytest.raises(SwapError, match=r"the policy now holds \[0:256, 0:256\] in torch.bfloat16"):
        swap.push(sink, "1")
    assert sink.version == ""


def test_a_policy_without_shards_is_gathered() -> None:
    source, sink = Source(), Sink()
    assert isinstance(open_swap(source, MANIFEST, SwapSettings()), BucketSwap)
    source.parts = None
    swap = open_swap(source, MANIFEST, SwapSettings())
    assert isinstance(swap, Gathered)
    assert swap.push(sink, "1").tensors == 3
    assert torch.equal(sink.got[UP], FUSED[256:])


def test_tensors_to_blame_are_named() -> None:
    source = Source()
    assert source.parts is not None
    good = swap_of(source)
    loaded = marks(source.hf_weights())
    assert blame(source, loaded, good, MANIFEST.shapes).startswith("every tensor is delivered as the policy exports it")
    wrong = marks((name, tensor + (name == LAST)) for name, tensor in source.hf_weights())
    assert blame(source, wrong, good, MANIFEST.shapes) == (
        f"the engine holds other values than the policy exports of {LAST}"
    )
    source.parts[0] = (GATE, WHOLE, FUSED[256:])
    assert blame(source, {}, swap_of(source), MANIFEST.shapes) == (
        f"the swap delivers other values than the policy exports of {GATE}"
    )
