"""Groups of one micro-batch laid end to end: every history once, with all its actions behind it, without padding.

[history | a_1 | … | a_G | history | a_1 | …]: positions restart after each history for each of its actions, and the
first token of every action is scored from the history's last hidden state. A group of one action is an ordinary
sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch import Tensor

from pivot.policy import kernels
from pivot.policy.attention import PackParams
from pivot.policy.replay import MISSING
from pivot.policy.segments import Segment, blocks, zigzag


@dataclass(frozen=True, slots=True)
class PackedGroup:
    """A history and the actions that answer it.

    Attributes:
        history: [P] int64, at least one token: the first action token is scored from its last.
        actions: [R_i] int64 each, at least one of at least one token; all of their tokens are scored.
        routes: [rows, layers, topk] int16, the experts to choose for each input token (history, then the actions
            without their last tokens), `replay.MISSING` where they are not known; None: the policy chooses them all.
    """

    history: Tensor
    actions: tuple[Tensor, ...]
    routes: Tensor | None = None

    def __post_init__(self) -> None:
        for name, tokens in (("history", self.history), *((f"action {i}", a) for i, a in enumerate(self.actions))):
            if tokens.dim() != 1 or tokens.dtype != torch.int64:
                raise ValueError(f"{name} must be [n] int64, not {list(tokens.shape)} {tokens.dtype}")
            if not tokens.numel():
                raise ValueError(f"{name} is empty: there is nothing to score it from, or nothing to score")
        if not self.actions:
            raise ValueError("a group needs an action")
        if self.routes is not None and (self.routes.dim() != 3 or self.routes.dtype != torch.int16):
            raise ValueError(
                f"routes must be [n, layers, topk] int16, not {list(self.routes.shape)} {self.routes.dtype}"
            )
        if self.routes is not None and len(self.routes) != self.rows:
            raise ValueError(f"routes of {len(self.routes)} tokens in a group of {self.rows} input tokens")

    @classmethod
    def sequence(cls, tokens: Tensor, history_length: int) -> PackedGroup:
        """One sequence [T] whose first ``history_length`` tokens (1 <= … < T) are not scored."""
        return cls(tokens[:history_length], (tokens[history_length:],))

    def replicated(self) -> list[PackedGroup]:
        """The same actions, each with a history of its own: what everybody else trains on."""
        routes: list[Tensor | None] = [None] * len(self.actions)
        if self.routes is not None:
            history, *parts = self.routes.split([self.history.numel(), *(a.numel() - 1 for a in self.actions)])
            routes = [torch.cat([history, part]) for part in parts]
        return [PackedGroup(self.history, (a,), mine) for a, mine in zip(self.actions, routes, strict=True)]

    @property
    def rows(self) -> int:
        """Input tokens: each action's last token is only a target."""
        return self.history.numel() + sum(action.numel() - 1 for action in self.actions)

    @property
    def scored(self) -> int:
        """Tokens that are scored."""
        return sum(action.numel() for action in self.actions)


@dataclass(frozen=True, slots=True)
class Pack:
    """What a rank puts into the model for a micro-batch.

    Attributes:
        ids: [1, t] int64, this rank's input tokens.
        rows: [m] int64, the rows of ``ids`` whose logits score a token.
        targets: [m] int64, the tokens that they score.
        places: [m] int64, where these stand among all scored tokens of the micro-batch (groups in order, actions in
            order); None when they are all of them in order.
        scored: n, how many there are over all context-parallel ranks.
        params: positions and attention.
        padding: [1, t] bool, the rows of ``ids`` that belong to no group.
    """

    ids: Tensor
    rows: Tensor
    targets: Tensor
    places: Tensor | None
    scored: int
    params: PackParams
    padding: Tensor


def pack(groups: Sequence[PackedGroup], multiple: int, vocab: int) -> Pack:
    """Packs groups for this rank; collective only in that context-parallel ranks must pack the same.

    Args:
        groups: may be empty (a rank without work still takes part in collectives).
        multiple: every context-parallel slice of the pack is padded to a multiple of this; the padding is a segment of
            its own that scores nothing.
        vocab: size of the vocabulary.

    Raises:
        ValueError: a token id is outside the vocabulary.
    """
    for group in groups:
        check_ids(group, vocab)
    ids = [tokens for group in groups for tokens in (group.history, *(action[:-1] for action in group.actions))]
    positions = [place for group in groups for place in _positions(group)]
    segments = list(_segments(groups))
    used = segments[-1].stop if segments else 0
    size = parallel_state.get_context_parallel_world_size()
    unit = multiple * (2 * size if size > 1 else 1)
    padding = -used % unit if used else unit
    if padding:
        segments.append(Segment(used, used + padding))
        ids.append(torch.zeros(padding, dtype=torch.int64))
        positions.append(torch.arange(padding))
    scored_rows = torch.cat([torch.empty(0, dtype=torch.int64), *rows_to_score(groups)])
    targets = torch.cat([torch.empty(0, dtype=torch.int64), *(a for group in groups for a in group.actions)])
    return _share(
        torch.cat(ids), torch.cat(positions), segments, used, scored_rows, targets, _routes(groups, used + padding)
    )


class _Placed(torch.autograd.Function):
    """Scores of this context-parallel rank, among those of all; backward hands it the gradient of its own."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, places: Tensor, scored: int) -> Tensor:
        ctx.save_for_backward(places)
        everything = local.new_zeros(scored).index_copy(0, places, local)
        dist.all_reduce(everything, group=parallel_state.get_context_parallel_group())
        return everything

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        # every rank has the same loss of all scores; each carries the gradient of its own ones alone
        return grad.index_select(0, places), None, None


def everywhere(local: Tensor, batch: Pack) -> Tensor:
    """[m] scores of this rank's rows -> [n] scores of the micro-batch, the same on all context-parallel ranks."""
    if batch.places is None:
        return local
    placed: Tensor = _Placed.apply(local, batch.places, batch.scored)
    return placed


def _routes(groups: Sequence[PackedGroup], rows: int) -> Tensor | None:
    """[layers, rows, topk] int16 of a pack of so many rows, `MISSING` in groups without; None if none has any."""
    known = next((group.routes for group in groups if group.routes is not None), None)
    if known is None:
        return None
    routes = torch.full((rows, *known.shape[1:]), MISSING, dtype=torch.int16)
    start = 0
    for group in groups:
        if group.routes is not None:
            routes[start : start + group.rows] = group.routes
        start += group.rows
    return routes.transpose(0, 1).contiguous()


def _share(
    ids: Tensor,
    positions: Tensor,
    segments: list[Segment],
    used: int,
    scored_rows: Tensor,
    targets: Tensor,
    routes: Tensor | None,
) -> Pack:
    """This context-parallel rank's share of a pack of which ``used`` rows are no padding, on its device."""
    size, rank = parallel_state.get_context_parallel_world_size(), parallel_state.get_context_parallel_rank()
    slices = zigzag(ids.numel(), rank, size)
    where = torch.device(torch.cuda.current_device())
    places = order = None
    padding = _arange(slices) >= used
    scored = targets.numel()
    if size > 1:
        mine = _arange(slices)
        everyone = torch.cat([_arange(zigzag(ids.numel(), other, size)) for other in range(size)])
        order = everyone.argsort().to(where)
        local = torch.full((ids.numel(),), -1).index_copy(0, mine, torch.arange(mine.numel()))[scored_rows]
        places = (local >= 0).nonzero().flatten()
        scored_rows, targets = local[places], targets[places]
        ids, positions, places = ids[mine], positions[mine], places.to(where)
        routes = None if routes is None else routes[:, mine]
    params = PackParams(
        qkv_format="sbhd",
        max_seqlen_q=ids.numel(),
        max_seqlen_kv=ids.numel(),
        positions=positions.to(where),
        calls=kernels.plan(blocks(segments, slices), where),
        order=order,
        routes=None if routes is None else routes.to(where),
    )
    rows, targets = scored_rows.to(where), targets.to(where)
    return Pack(ids[None].to(where), rows, targets, places, scored, params, padding[None].to(where))


def _arange(spans: Iterable[tuple[int, int]]) -> Tensor:
    return torch.cat([torch.arange(start, stop) for start, stop in spans])


def check_ids(group: PackedGroup, vocab: int) -> None:
    for tokens in (group.history, *group.actions):
        if int(tokens.min()) < 0 or int(tokens.max()) >= vocab:
            raise ValueError(f"a token id is outside 0..{vocab - 1}")


def _segments(groups: Sequence[PackedGroup]) -> Iterator[Segment]:
    offset = 0
    for group in groups:
        if len(group.actions) == 1:  # an ordinary sequence: attention in one piece
            yield Segment(offset, offset + group.rows)
            offset += group.rows
            continue
        history = (offset, offset + group.history.numel())
        yield Segment(*history)
        offset = history[1]
        for action in group.actions:
            if action.numel() > 1:
                yield Segment(offset, offset + action.numel() - 1, prefix=history)
                offset += action.numel() - 1


def _positions(group: PackedGroup) -> Iterator[Tensor]:
    length = group.history.numel()
    yield torch.arange(length)
    for action in group.actions:
        yield torch.arange(length, length + action.numel() - 1)


def rows_to_score(groups: Sequence[PackedGroup]) -> Iterator[Tensor]:
    offset = 0
    for group in groups:
        last = offset + group.history.numel() - 1
        offset = last + 1
        for action in group.actions:
            yield torch.tensor([last])
            yield torch.arange(offset, offset + action.numel() - 1)
            offset += action.numel() - 1
