"""What a parameter of a Megatron model is: its name in the whole model and the kind of layer it belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from megatron.core.models.gpt import GPTModel
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset
from torch.nn import Parameter

# first match decides; Transformer Engine keeps a norm inside the linear layer after it, as `layer_norm_weight`
_TABLE = (
    ("norm", r"layer_?norm"),
    ("embedding", r"^embedding\."),
    ("head", r"^output_layer\."),
    ("router", r"\.router\."),
    ("experts", r"\.experts\."),
    ("mlp", r"\.mlp\."),
    ("attention", r"\.(self|cross)_attention\."),
)
KINDS = (*(kind for kind, _ in _TABLE), "other")
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _TABLE)
_LAYER = re.compile(r"^decoder\.layers\.(\d+)\.")
_EXPERT = re.compile(r"\.experts\.(?:local_experts\.\d+\.)?(.+?)\d*$")


def kind_of(name: str) -> str:
    """One of ``KINDS``, from a name in the whole model."""
    return next((kind for kind, pattern in _PATTERNS if pattern.search(name)), "other")


def whole_name(name: str, offset: int, tied: bool) -> str:
    """A parameter's name in the whole model, the same in every layout and on every device.

    Layers are numbered through, the experts of a layer share one name, and the copy of a tied embedding on the last
    stage is the embedding.

    Args:
        name: in the model chunk of this rank.
        offset: layers before this chunk.
        tied: the output layer uses the embedding's weight.
    """
    if tied and name == "output_layer.weight":
        return "embedding.word_embeddings.weight"
    name = _LAYER.sub(lambda match: f"decoder.layers.{int(match[1]) + offset}.", name)
    return _EXPERT.sub(r".experts.\1", name)


def named(chunks: Iterable[GPTModel]) -> Iterator[tuple[str, Parameter]]:
    """(name in the whole model, parameter) of this rank's unwrapped model chunks."""
    for model in chunks:
        offset = get_transformer_layer_offset(model.config, vp_stage=model.vp_stage)
        for name, parameter in model.named_parameters():
            yield whole_name(name, offset, model.share_embeddings_and_output_weights), parameter
