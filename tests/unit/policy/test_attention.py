"""Merged blocks against attention with a dense mask, forward and backward; the CUDA kernel's calls by signature."""

import pytest
import torch
from torch import Tensor

import pivot.policy  # noqa: F401  (prepares Megatron)
from pivot.policy import kernels
from pivot.policy.attention import PackParams, PackRotary, _BlockAttention
from pivot.policy.segments import Segment, blocks, zigzag
from tests.unit.policy.test_segments import allowed, segments_of

GROUPS = [
    [(7, [3, 1, 4])],
    [(1, [1])],
    [(5, [])],
    [(16, [5] * 16), (3, [2, 7]), (9, [1] * 3)],
]


def inputs(rows: int, heads: int, groups: int, size: int) -> list[Tensor]:
    torch.manual_seed(rows)
    return [torch.randn(rows, n, size).requires_grad_() for n in (heads, groups, groups)]


def dense(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None) -> Tensor:
    repeat = query.size(1) // key.size(1)
    key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
    scores = torch.einsum("qhd,khd->hqk", query, key) * (query.size(-1) ** -0.5 if scale is None else scale)
    weights = scores.masked_fill(mask == 0, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, value)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("pack", GROUPS)
def test_blocks_equal_dense_attention(
    pack: list[tuple[int, list[int]]], heads: int, groups: int, scale: float | None
) -> None:
    segments = segments_of(pack)
    rows = segments[-1].stop
    ours, theirs = inputs(rows, heads, groups, 16), inputs(rows, heads, groups, 16)
    calls = kernels.plan(blocks(segments, [(0, rows)]), torch.device("cpu"))
    out = _BlockAttention.apply(*ours, calls, scale)
    expected = dense(*theirs, allowed(segments), scale)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    assert (out - expected).abs().max() < 2e-6
    for mine, wanted in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert wanted.grad is not None
        assert (mine.grad - wanted.grad).abs().max() < 1e-5


def test_the_shares_of_context_parallel_ranks_make_up_the_whole() -> None:
    segments = [*segments_of([(9, [3, 4, 1]), (6, [2, 2])]), Segment(27, 32)]
    key_value = inputs(32, 2, 2, 8)[1:]
    whole = inputs(32, 2, 2, 8)
    expected = _BlockAttention.apply(*whole, kernels.plan(blocks(segments, [(0, 32)]), torch.device("cpu")), None)
    weight = torch.randn_like(expected)
    (expected * weight).sum().backward()
    for rank in range(4):
        slices = zigzag(32, rank, 4)
        mine = torch.cat([torch.arange(*part) for part in slices])
        query = whole[0].detach()[mine].requires_grad_()
        calls = kernels.plan(blocks(segments, slices), torch.device("cpu"))
        out = _BlockAttention.apply(query, *key_value, calls, None)
        assert (out - expected[mine]).abs().max() < 1e-6
        (out * weight[mine]).sum().backward()
        assert whole[0].grad is not None
        assert (query.grad - whole[0].grad[mine]).abs().max() < 1e-5
    for mine, wanted in zip(key_value, whole[1:], strict=True):
        assert (mine.grad - wanted.grad).abs().max() < 1e-5


def test_bfloat16_stays_near_float32() -> None:
    segments = segments_of(GROUPS[-1])
    rows = segments[-1].stop
    exact = inputs(rows, 4, 2, 16)
    rough = [x.detach().bfloat16().requires_grad_() for x in exact]
    calls = kernels.plan(blocks(segments, [(0, rows)]), torch.device("cpu"))
    results = [_BlockAttention.apply(*x, calls, None) for x in (exact, rough)]
    assert results[1].dtype is torch.bfloat16
    assert (results[0] - results[1].float()).abs().max() < 0.04
    for result in results:
        result.float().square().sum().backward()
    for one, other in zip(exact, rough, strict=True):
        assert (one.grad - other.grad.float()).abs().max() < 0.06 * one.grad.abs().max()


def test_positions_restart_and_angles_are_those_of_a_plain_sequence() -> None:
    from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding

    options = {"rotary_percent": 1.0, "rotary_base": 10_000, "use_cpu_initialization": True}
    plain, ours = RotaryEmbedding(16, **options), PackRotary(16, **options)
    positions = torch.tensor([0, 1, 2, 3, 2, 3, 0])
    params = PackParams(positions=positions)
    assert ours.get_rotary_seq_len(None, None, None, None, params) is positions
    assert torch.equal(ours(positions, packed_seq=False), plain.get_emb(4)[positions])


class FlashByHand:
    """torch's CUDA operators as their schemas declare them, computed with dense masks on the CPU."""

    @staticmethod
    def check(name: str, positional: tuple[object, ...], keywords: dict[str, object]) -> None:
        arguments = getattr(torch.ops.aten, name).default._schema.arguments
        assert len(positional) == sum(not argument.kwarg_only for argument in arguments)
        assert keywords.keys() <= {argument.name for argument in arguments if argument.kwarg_only}

    @staticmethod
    def mask(cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int, causal: bool) -> Tensor:
        assert cu_q.dtype == cu_k.dtype == torch.int32
        assert int(cu_q.diff().max()) == max_q
        assert int(cu_k.diff().max()) == max_k
        found = torch.zeros(int(cu_q[-1]), int(cu_k[-1]))
        for q, q_end, k, k_end in zip(cu_q, cu_q[1:], cu_k, cu_k[1:], strict=False):
            block = torch.ones(int(q_end - q), int(k_end - k))
            found[q:q_end, k:k_end] = block.tril() if causal else block
        return found

    @classmethod
    def scores(cls, q: Tensor, k: Tensor, mask: Tensor, scale: float | None) -> Tensor:
        repeated = k.repeat_interleave(q.size(1) // k.size(1), 1)
        factor = q.size(-1) ** -0.5 if scale is None else scale
        return (torch.einsum("qhd,khd->hqk", q, repeated) * factor).masked_fill(mask == 0, float("-inf"))

    @classmethod
    def _flash_attention_forward(cls, *args: object, **keywords: object) -> tuple[object, ...]:
        cls.check("_flash_attention_forward", args, keywords)
        q, k, v, cu_q, cu_k, max_q, max_k, dropout, causal, debug = args
        assert (dropout, debug) == (0.0, False)
        scores = cls.scores(q, k, cls.mask(cu_q, cu_k, max_q, max_k, causal), keywords["scale"])
        out = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v.repeat_interleave(q.size(1) // v.size(1), 1))
        return out, scores.logsumexp(-1), "rng state", "unused", None

    @classmethod
    def _flash_attention_backward(cls, *args: object, **keywords: object) -> tuple[Tensor, ...]:
        """With the log-sum-exp and output that it is given, as the real one: not with those of its own blocks."""
        cls.check("_flash_attention_backward", args, keywords)
        grad, q, k, v, out, lse, cu_q, cu_k, max_q, max_k, _, causal, rng, unused = args
        assert (rng, unused) == ("rng state", "unused")
        assert lse.shape == (q.size(1), q.size(0))
        with torch.enable_grad():
            q, k = q.detach().requires_grad_(), k.detach().requires_grad_()
            scores = cls.scores(q, k, cls.mask(cu_q, cu_k, max_q, max_k, causal), keywords["scale"])
        repeat = q.size(1) // k.size(1)
        weights = (scores.detach() - lse.unsqueeze(-1)).exp()
        value_grad = torch.einsum("hqk,qhd->khd", weights, grad)
        delta = (grad * out).sum(-1).T.unsqueeze(-1)
        score_grad = weights * (torch.einsum("qhd,khd->hqk", grad, v.repeat_interleave(repeat, 1)) - delta)
        grads = torch.autograd.grad(scores, (q, k), score_grad)
        return *grads, value_grad.view(k.size(0), k.size(1), repeat, -1).sum(2)


@pytest.mark.parametrize("pack", GROUPS)
def test_the_cuda_calls_are_right_if_the_operators_do_what_they_declare(
    pack: list[tuple[int, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has not run on a GPU is held to the operators' schemas, and its arithmetic to dense attention."""
    monkeypatch.setattr(kernels, "OPERATORS", FlashByHand)
    segments = segments_of(pack)
    rows = segments[-1].stop
    found = blocks(segments, [(0, rows)])
    kinds = [[block for block in found if block.causal is causal] for causal in (True, False)]
    calls = [kernels.CudaCall.of(kind, torch.device("cpu")) for kind in kinds if kind]
    assert [call.causal for call in calls] == [True, False][: len(calls)]
    ours, theirs = inputs(rows, 4, 2, 8), inputs(rows, 4, 2, 8)
    out, expected = _BlockAttention.apply(*ours, calls, None), dense(*theirs, allowed(segments), None)
    assert (out - expected).abs().max() < 2e-6
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    for mine, wanted in zip(ours, theirs, strict=True):
        assert (mine.grad - wanted.grad).abs().max() < 1e-5
