"""A model by layers: how many parameters of which kind, and how wide what flows through it is. All in elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pivot.config import CONF_DIR
from pivot.errors import UserError
from pivot.shape import FAMILIES, Shape, read_config, read_json, read_shape

MODELS = CONF_DIR / "models"
"""Public numbers of models, each a part of its ``config.json``, for planning without the checkpoint."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; a hybrid model calls attention, Mamba and experts layers of their own.

    Attributes:
        cut: parameters that tensor ranks share.
        whole: parameters that each of them holds, without the router.
        router: of an MoE, held by each.
        experts: parameters of all its experts.
        topk: experts that a token meets, of ``count``.
        count: experts.
        query: features of all query heads; 0: no attention here.
        kv: features of all key heads, and as many of value heads.
        kv_weights: those of ``cut`` that make keys and values: engines repeat them where heads are few.
        inner: features inside a dense MLP or a shared expert.
        expert_width: features of what an expert takes (the hidden ones, unless it is latent).
        expert_inner: features inside one expert.
        gated: whether MLPs have a gate beside ``inner`` (else one matrix up, one down).
        mamba: features of a Mamba layer's input projection, its inner ones beside.
        state: elements of recurrent state that an engine keeps of a sequence.
    """

    cut: int
    whole: int
    router: int = 0
    experts: int = 0
    topk: int = 0
    count: int = 0
    query: int = 0
    kv: int = 0
    kv_weights: int = 0
    inner: int = 0
    expert_width: int = 0
    expert_inner: int = 0
    gated: bool = True
    mamba: tuple[int, int] = (0, 0)
    state: int = 0

    @property
    def total(self) -> int:
        return self.cut + self.whole + self.router + self.experts

    @property
    def active_experts(self) -> int:
        """Parameters of the experts that one token meets."""
        return self.experts // self.count * self.topk if self.count else 0


@dataclass(frozen=True, slots=True)
class Model:
    """The whole.

    Attributes:
        name: of the checkpoint.
        family: ``model_type``.
        layers: from the first to the last.
        hidden: features between layers.
        heads: of queries.
        groups: of keys and values.
        vocab: entries.
        embedding: parameters of the embedding, cut over tensor ranks.
        head: those of the output matrix; 0: it is the embedding.
        norm: those of the last norm.
        qk_norm: whether queries and keys are normalised.
        shape: what the project's own policy reads; None: through Megatron-Bridge.
    """

    name: str
    family: str
    layers: tuple[Layer, ...]
    hidden: int
    heads: int
    groups: int
    vocab: int
    embedding: int
    head: int
    norm: int
    qk_norm: bool
    shape: Shape | None

    @property
    def total(self) -> int:
        """All parameters, as a checkpoint holds them."""
        return sum(layer.total for layer in self.layers) + self.embedding + self.head + self.norm

    @property
    def active(self) -> int:
        """Parameters that a token meets, with the embedding of all tokens, as model cards count."""
        return self.total - sum(layer.experts - layer.active_experts for layer in self.layers)

    @property
    def experts(self) -> int:
        """Experts of a layer; 0: a dense model."""
        return max(layer.count for layer in self.layers)


def find(path: str) -> Model:
    """The model of a checkpoint directory, or else the public numbers under its last name.

    Raises:
        UserError: neither is there, or a family that nobody here can count.
    """
    directory = Path(path)
    known = MODELS / f"{directory.name}.json"
    if (directory / "config.json").is_file():
        return model(directory.name, read_config(directory))
    if known.is_file():
        return model(directory.name, read_json(known))
    names = ", ".join(sorted(file.stem for file in MODELS.glob("*.json")))
    raise UserError(
        f"model.path={path}: no checkpoint is there, and conf/models does not know it: set model.path to a Hugging "
        f"Face checkpoint, or end it with one of {names}"
    )


def model(name: str, config: Mapping[str, Any]) -> Model:
    """What a ``config.json`` says.

    Raises:
        UserError: an unsupported family or feature, or a missing key, by name.
    """
    if config.get("model_type") == "nemotron_h":
        try:
            return _nemotron(name, config)
        except KeyError as error:
            raise UserError(f"config.json of {name}: key {error.args[0]!r} is missing") from error
    if config.get("model_type") in FAMILIES:
        return _ours(name, read_shape(config))
    raise UserError(
        f"config.json of {name}: model_type {config.get('model_type')!r} cannot be planned, only "
        f"{', '.join((*FAMILIES, 'nemotron_h'))}"
    )


def _ours(name: str, shape: Shape) -> Model:
    h, q, kv = shape.hidden, shape.heads * shape.head, shape.groups * shape.head
    bias = shape.qkv_bias
    kv_weights = 2 * kv * (h + bias)
    attention = q * (h + bias) + kv_weights + q * h
    norms = 2 * h + 2 * shape.head * shape.qk_norm
    dense = shape.shared if shape.experts else shape.inner
    layer = Layer(cut=attention + 3 * h * dense, whole=norms, query=q, kv=kv, kv_weights=kv_weights, inner=dense)
    if shape.experts:
        layer = replace(
            layer,
            whole=norms + (h if shape.shared else 0),  # the shared expert's gate
            router=h * shape.experts,
            experts=3 * h * shape.inner * shape.experts,
            topk=shape.topk,
            count=shape.experts,
            expert_width=h,
            expert_inner=shape.inner,
        )
    return Model(
        name=name,
        family=shape.family,
        layers=(layer,) * shape.layers,
        hidden=h,
        heads=shape.heads,
        groups=shape.groups,
        vocab=shape.vocab,
        embedding=shape.vocab * h,
        head=0 if shape.tied else shape.vocab * h,
        norm=h,
        qk_norm=shape.qk_norm,
        shape=shape,
    )


def _nemotron(name: str, config: Mapping[str, Any]) -> Model:
    """Nemotron-H: Mamba-2 (M), attention (*), experts in a latent space (E) and plain MLPs (-), a layer each."""
    h = config["hidden_size"]
    kinds = {"M": _mamba, "*": _attention, "E": _latent, "-": _plain}
    pattern = config["hybrid_override_pattern"]
    if unknown := set(pattern) - set(kinds):
        raise UserError(f"config.json of {name}: hybrid_override_pattern has unknown layers {sorted(unknown)}")
    vocabulary = config["vocab_size"] * h
    return Model(
        name=name,
        family="nemotron_h",
        layers=tuple(kinds[kind](config) for kind in pattern),
        hidden=h,
        heads=config["num_attention_heads"],
        groups=config["num_key_value_heads"],
        vocab=config["vocab_size"],
        embedding=vocabulary,
        head=0 if config.get("tie_word_embeddings") else vocabulary,
        norm=h,
        qk_norm=False,
        shape=None,
    )


def _mamba(config: Mapping[str, Any]) -> Layer:
    h, heads = config["hidden_size"], config["mamba_num_heads"]
    inner, wide = heads * config["mamba_head_dim"], config["n_groups"] * config["ssm_state_size"]
    mixed = inner + 2 * wide  # what the convolution sees
    projected = inner + mixed + heads
    convolution = mixed * (config["conv_kernel"] + bool(config.get("use_conv_bias", True)))
    return Layer(
        cut=h * projected + inner * h + convolution + 3 * heads + inner,
        whole=h,
        mamba=(projected, inner),
        state=inner * config["ssm_state_size"] + mixed * config["conv_kernel"],
    )


def _attention(config: Mapping[str, Any]) -> Layer:
    h, head = config["hidden_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return Layer(cut=2 * h * q + 2 * h * kv, whole=h, query=q, kv=kv, kv_weights=2 * h * kv)


def _latent(config: Mapping[str, Any]) -> Layer:
    h, count, inner = config["hidden_size"], config["n_routed_experts"], config["moe_intermediate_size"]
    shared = config["moe_shared_expert_intermediate_size"] * config.get("n_shared_experts", 1)
    latent = config.get("moe_latent_size")
    width = latent or h
    return Layer(
        cut=2 * h * shared,
        whole=h + (2 * h * latent if latent else 0),
        router=(h + 1) * count,
        experts=2 * width * inner * count,
        topk=config["num_experts_per_tok"],
        count=count,
        inner=shared,
        expert_width=width,
        expert_inner=inner,
        gated=False,
    )


def _plain(config: Mapping[str, Any]) -> Layer:
    h, inner = config["hidden_size"], config["intermediate_size"]
    return Layer(cut=2 * h * inner, whole=h, inner=inner, gated=False)
