"""Sequences of one micro-batch laid end to end (Megatron's ``thd`` form), without padding between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PackedSample:
    """One sequence to score or train on.

    Attributes:
        tokens: [T] int64, prompt and response.
        prompt_length: tokens before the response, at least 1: the first token has no position to be scored
            from. Equal to T for a sample that scores nothing.
    """

    tokens: Tensor
    prompt_length: int

    def __post_init__(self) -> None:
        if self.tokens.dim() != 1 or self.tokens.dtype != torch.int64:
            raise ValueError(f"tokens must be [T] int64, not {list(self.tokens.shape)} {self.tokens.dtype}")
        if not 1 <= self.prompt_length <= self.tokens.numel():
            raise ValueError(f"prompt_length {self.prompt_length} is not in 1..{self.tokens.numel()}")


@dataclass(frozen=True, slots=True)
class Pack:
    """A micro-batch ready for the model.

    Attributes:
        ids: [1, t] int64 input tokens; the last token of each sample is only a target.
        rows: [n] int64, the positions in ``ids`` whose logits score a response token, in sample order.
        targets: [n] int64, the tokens that they score.
        params: where each sequence begins and ends.
    """

    ids: Tensor
    rows: Tensor
    targets: Tensor
    params: PackedSeqParams


def pack(samples: Sequence[PackedSample], multiple: int, vocab: int) -> Pack:
    """Packs ``samples``; token t of a response is scored from position t - 1.

    Args:
        samples: may be empty (a rank without work still takes part in collectives).
        multiple: the pack is padded to a multiple of this, by a sequence of its own that scores nothing.
        vocab: size of the vocabulary.

    Raises:
        ValueError: a token id is outside the vocabulary.
    """
    ids, rows, targets, lengths, offset = [], [], [], [], 0
    for sample in samples:
        if int(sample.tokens.min()) < 0 or int(sample.tokens.max()) >= vocab:
            raise ValueError(f"a token id is outside 0..{vocab - 1}")
        length = sample.tokens.numel() - 1
        if length == 0:
            continue
        ids.append(sample.tokens[:-1])
        rows.append(torch.arange(offset + sample.prompt_length - 1, offset + length))
        targets.append(sample.tokens[sample.prompt_length :])
        lengths.append(length)
        offset += length
    padding = -offset % multiple if offset else multiple
    if padding:
        ids.append(torch.zeros(padding, dtype=torch.int64))
        lengths.append(padding)
    where = torch.cuda.current_device()
    nothing = torch.empty(0, dtype=torch.int64)
    offsets = torch.tensor([0, *lengths]).cumsum(0).to(where, torch.int32)
    params = PackedSeqParams(
        qkv_format="thd",
        cu_seqlens_q=offsets,
        cu_seqlens_kv=offsets,
        max_seqlen_q=max(lengths),
        max_seqlen_kv=max(lengths),
    )
    return Pack(
        ids=torch.cat(ids).unsqueeze(0).to(where),
        rows=torch.cat([nothing, *rows]).to(where),
        targets=torch.cat([nothing, *targets]).to(where),
        params=params,
    )
