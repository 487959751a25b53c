"""What a probe does in a process of its own: import a library, and ask the project's rules that need it.

    python -m pivot.ops.doctor.inside NAME '{"key": value}'

prints what it found as the last line, in JSON. Whatever goes wrong ends it, as it would end a rank; the last line of
stderr is the reason.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pivot.errors import UserError

Said = dict[str, Any]


def torch_(_: Mapping[str, Any]) -> Said:
    """CUDA as torch sees it."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cuda = torch.version.cuda
    nccl = torch.cuda.nccl.version() if cuda and torch.distributed.is_nccl_available() else None
    return {
        "cuda": [int(part) for part in cuda.split(".")[:2]] if cuda else None,
        "names": [torch.cuda.get_device_name(index) for index in range(count)],
        "capabilities": [torch.cuda.get_device_capability(index) for index in range(count)],
        "compiled": torch.cuda.get_arch_list() if count else [],
        "nccl": ".".join(map(str, nccl)) if nccl else None,
    }


def policy(asked: Mapping[str, Any]) -> Said:
    """Megatron, as the policy prepares it, and whether the model can be cut as the layout says."""
    from pivot.layout import Layout
    from pivot.policy import Policy  # noqa: F401  (the whole policy can be imported)
    from pivot.policy.precision import check_model
    from pivot.precision import Precision
    from pivot.shape import FAMILIES, check_layout, read_config, read_shape

    if not (Path(asked["model"]) / "config.json").is_file():
        return {}
    try:
        config = read_config(Path(asked["model"]))
        if config.get("model_type") not in FAMILIES:
            return {"family": f"{config.get('model_type')}: only with Megatron-Bridge, on CUDA (docs/gpu.md)"}
        shape, layout = read_shape(config), Layout(**asked["layout"])
        check_layout(shape, layout)
        check_model(Precision(**asked["precision"]), shape, layout)
    except UserError as error:
        return {"mistake": str(error)}
    return {"fits": f"{shape.layers} layers, {shape.heads} heads, {shape.experts} experts"}


def tokenizer(asked: Mapping[str, Any]) -> Said:
    """transformers, the checkpoint's tokenizer and chat template, and the first rows as prompts."""
    from itertools import islice

    from transformers import AutoTokenizer

    from pivot.prompt import PromptEncoder, PromptError
    from pivot.trajectory.rows import load_candidates

    if not Path(asked["model"]).is_dir():
        return {}
    try:
        own = AutoTokenizer.from_pretrained(asked["model"])
    except (OSError, ValueError) as error:
        return {"mistake": f"{asked['model']}: no tokenizer ({first_line(error)}); copy tokenizer.json and "
                "tokenizer_config.json of the model there"}  # fmt: skip
    if not own.chat_template:
        return {"mistake": f"{asked['model']}: the tokenizer has no chat template; put chat_template.jinja there"}
    said: Said = {"vocabulary": len(own)}
    if asked["data"] is None or not Path(asked["data"]).is_file():
        return said
    longest, rows, lost = 0, 0, dict[str, int]()
    try:
        prompts = PromptEncoder(own, thinking=asked["thinking"], over_long=asked["over_long"])
        room = prompts.room(asked["max_model_len"], asked["max_tokens"])
        for candidate in islice(load_candidates(Path(asked["data"])), asked["rows"]):
            rows += 1
            try:
                longest = max(longest, len(prompts.encode(candidate.messages, candidate.tools, room).tokens))
            except PromptError as error:
                lost[error.reason] = lost.get(error.reason, 0) + 1
    except UserError as error:
        return {**said, "data_mistake": str(error)}
    return {**said, "rows": rows, "longest": longest, "lost": lost}


def engine(asked: Mapping[str, Any]) -> Said:
    """vLLM, its engine class, and the parser that reads tool calls."""
    from pivot.rollout import prepare_environment

    prepare_environment()
    from vllm import LLM  # noqa: F401  (what ranks import)
    from vllm.tool_parsers import ToolParserManager  # noqa: F401

    if not (Path(asked["model"]) / "config.json").is_file():
        return {}
    from transformers import AutoTokenizer

    from pivot.prompt import action_parser

    try:
        action_parser(asked["tool_parser"], AutoTokenizer.from_pretrained(asked["model"]))
    except UserError as error:
        return {"mistake": str(error)}
    except (OSError, ValueError):  # no tokenizer, which that probe reports
        return {}
    return {"parser": asked["tool_parser"]}


def loop(_: Mapping[str, Any]) -> Said:
    """Lightning and NeMo's exp_manager, prepared as every program does."""
    import pivot.program  # noqa: F401

    # isort: split
    import lightning.pytorch  # noqa: F401
    from nemo.utils.exp_manager import exp_manager  # noqa: F401

    return {}


def transformer_engine(_: Mapping[str, Any]) -> Said:
    """Transformer Engine, which needs a CUDA device to be imported."""
    from importlib.metadata import version

    import transformer_engine.pytorch  # noqa: F401

    return {"engine": [int(part) for part in version("transformer-engine").split(".")[:2]]}


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


PROBES: Mapping[str, Callable[[Mapping[str, Any]], Said]] = {
    "torch": torch_,
    "policy": policy,
    "tokenizer": tokenizer,
    "engine": engine,
    "loop": loop,
    "transformer-engine": transformer_engine,
}


if __name__ == "__main__":
    print("\n" + json.dumps(PROBES[sys.argv[1]](json.loads(sys.argv[2]))), flush=True)
