"""Families that ``hf.py`` has no table for, through Megatron-Bridge: DeepSeek-V3, Nemotron-H and what else it knows.

Megatron-Bridge says how Megatron's configuration follows from a Hugging Face one and which weight becomes which; what
this project sets is how the model is spread and that nothing but the caller's loss trains it. The layers are Megatron's
with Transformer Engine, hence packs are in its ``thd`` form: a history is repeated with each of its actions.

Not run yet, for want of a GPU: tests hold what is called here against Megatron-Bridge's sources.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer import TransformerConfig
from torch import Tensor

from pivot.errors import UserError
from pivot.policy.head import ScoringHead
from pivot.policy.model import mark_parameters, recompute_options
from pivot.policy.packing import Pack, PackedGroup, check_ids, rows_to_score
from pivot.shape import FAMILIES

if TYPE_CHECKING:
    from pivot.policy.family import Setup

INSTALL = "pip install megatron-bridge==0.3.1"
ON_CPU = (
    "Megatron-Bridge needs a CUDA device and Transformer Engine: of the local layers that Megatron has on a CPU it "
    "maps no norm before attention, exports no experts, and imports wrong weights without saying so under tensor and "
    "expert parallelism"
)


def refuse(family: object, *, cuda: bool, installed: bool) -> str | None:
    """Why a family that is not ours cannot be used; None if it can be tried."""
    ours = f"config.json: model_type {family!r} is not supported by this project itself, only {', '.join(FAMILIES)}"
    if not cuda:
        return f"{ours}; {ON_CPU}"
    if not installed:
        return f"{ours}; others go through Megatron-Bridge, which is not installed: {INSTALL}"
    return None


def open_bridge(path: Path, hf_config: Mapping[str, Any]) -> Bridged:
    """The model in the checkpoint directory ``path``, through Megatron-Bridge.

    Raises:
        UserError: no CUDA device, no Megatron-Bridge, or a family that it does not know either.
    """
    family = hf_config.get("model_type")
    installed = importlib.util.find_spec("megatron.bridge") is not None
    if (reason := refuse(family, cuda=torch.cuda.is_available(), installed=installed)) is not None:
        raise UserError(reason)
    from megatron.bridge import AutoBridge

    try:
        return Bridged(path, dict(hf_config), AutoBridge.from_hf_pretrained(path))
    except ValueError as error:
        raise UserError(f"Megatron-Bridge does not take model_type {family!r}: {str(error).strip()}") from error


def settings(setup: Setup, moe: bool) -> dict[str, Any]:
    """Fields of Megatron's configuration that this project decides, whatever the family's recipe has.

    Raises:
        UserError: something of ``setup`` that a family of Megatron-Bridge does not get here.
    """
    layout = setup.layout
    for key, asked in (
        ("parallel.context", layout.context > 1),
        ("precision.fp8", setup.precision.fp8 is not None),
        ("model.router_aux_loss", setup.balance.coefficient > 0),
        ("grpo.router_replay", setup.router_replay),
    ):
        if asked:
            raise UserError(
                f"{key} is set, but not for a family of Megatron-Bridge: it works with {', '.join(FAMILIES)}"
            )
    fields: dict[str, Any] = {
        "tensor_model_parallel_size": layout.tensor,
        "pipeline_model_parallel_size": layout.pipeline,
        "virtual_pipeline_model_parallel_size": layout.virtual_pipeline,
        "expert_model_parallel_size": layout.expert,
        "expert_tensor_parallel_size": layout.expert_tensor,
        "sequence_parallel": layout.sequence_parallel(moe=moe),
        "params_dtype": setup.dtype,
        "pipeline_dtype": setup.dtype,
        "bf16": setup.dtype is torch.bfloat16,
        "fp16": False,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "gradient_accumulation_fusion": False,
        "variable_seq_lengths": True,
        "batch_p2p_comm": False,
        "moe_token_dispatcher_type": "alltoall",
        "calculate_per_token_loss": True,
        "mtp_num_layers": None,
        **recompute_options(setup.recompute),
    }
    if moe:
        # expert biases are part of the weights; their updates outside the gradient would be a loss of their own
        fields |= {
            "moe_router_load_balancing_type": "none",
            "moe_aux_loss_coeff": 0.0,
            "moe_router_bias_update_rate": 0.0,
            "moe_router_dtype": "fp32",
        }
    return fields


@dataclass(frozen=True, slots=True)
class Bridged:
    """A family of Megatron-Bridge; implements ``family.Family``."""

    path: Path
    hf_config: dict[str, Any]
    auto: Any

    @property
    def pair_cost(self) -> float:
        """As in a dense transformer, whose layers have 12 h^2 weights and attention over h features."""
        return float(1 / (6 * self.hf_config["hidden_size"]))

    def build(self, setup: Setup) -> tuple[TransformerConfig, list[GPTModel], ScoringHead]:
        """This rank's chunks.

        Raises:
            UserError: a layer without packs, or a setting that is refused here.
        """
        provider = self.auto.to_megatron_provider(load_weights=False)
        for name, value in settings(setup, moe=bool(provider.num_moe_experts)).items():
            setattr(provider, name, value)
        provider.finalize()
        chunks = provider.provide_distributed_model(wrap_with_ddp=False, mixed_precision_wrapper=None)
        head = ScoringHead(provider.sequence_parallel)
        for chunk in chunks:
            check_packs(chunk)
            if chunk.post_process:
                head.install(chunk)
            mark_parameters(chunk, setup.freeze_router)
        return provider, chunks, head

    def load(self, chunks: list[GPTModel]) -> None:
        """Fills this rank's parameters; UserError when Megatron-Bridge finds that they do not fit."""
        try:
            self.auto.load_hf_weights(chunks, hf_path=self.path)
        except (ValueError, AttributeError, KeyError) as error:
            raise UserError(f"{self.path}: Megatron-Bridge cannot load it: {error}") from error

    def export(
        self, chunks: list[GPTModel], dtype: torch.dtype, *, gradients: bool = False
    ) -> Iterator[tuple[str, Tensor]]:
        """Every full tensor under its Hugging Face name, on every rank, each in memory of its own; collective."""
        if gradients:
            raise ValueError("Megatron-Bridge exports weights, not gradients")
        for name, tensor in self.auto.export_hf_weights(chunks, cpu=False, show_progress=False):
            yield name, tensor.detach().to(dtype, copy=True).contiguous()

    def shards(self, chunks: list[GPTModel]) -> None:
        """Megatron-Bridge says what a full tensor is, not where its parts lie."""

    def pack(self, groups: Sequence[PackedGroup], multiple: int) -> Pack:
        """Sequences end to end in ``thd`` form, every action with its history before it."""
        return thd_pack(groups, multiple, self.hf_config["vocab_size"])


def check_packs(chunk: Any) -> None:
    """Refuses layers that would run on from one sequence of a pack into the next.

    Raises:
        UserError: naming the layer.
    """
    for module in chunk.modules():
        kind = type(module)
        if kind.__name__.endswith("Mixer") and "packed_seq_params" not in inspect.signature(kind.forward).parameters:
            raise UserError(
                f"{kind.__name__} of the installed megatron-core takes no packed sequences: its state would run on "
                "from one into the next; 0.16.1 has mixers that take packed_seq_params"
            )


def thd_pack(groups: Sequence[PackedGroup], multiple: int, vocab: int) -> Pack:
    """``packing.pack`` for attention that knows sequences but no shared prefixes.

    Args:
        groups: may be empty.
        multiple: the pack is padded to a multiple of this, by a sequence of its own that scores nothing.
        vocab: size of the vocabulary.
    """
    single = [one for group in groups for one in group.replicated()]
    for one in single:
        check_ids(one, vocab)
    lengths = [one.rows for one in single]
    used = sum(lengths)
    padding = -used % multiple if used else multiple
    nothing = torch.empty(0, dtype=torch.int64)
    ids = [torch.cat([one.history, *one.actions])[:-1] for one in single] + [torch.zeros(padding, dtype=torch.int64)]
    where = torch.device(torch.cuda.current_device())
    offsets = torch.tensor([0, *lengths, *([padding] if padding else [])]).cumsum(0).to(where, torch.int32)
    longest = max([*lengths, padding])
    params = PackedSeqParams(
        qkv_format="thd", cu_seqlens_q=offsets, cu_seqlens_kv=offsets, max_seqlen_q=longest, max_seqlen_kv=longest
    )
    targets = torch.cat([nothing, *(one.actions[0] for one in single)]).to(where)
    rows = torch.cat([nothing, *rows_to_score(single)]).to(where)
    mask = torch.arange(used + padding) >= used
    return Pack(torch.cat(ids)[None].to(where), rows, targets, None, targets.numel(), params, mask[None].to(where))
