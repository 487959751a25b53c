"""What a profile depends on: another fingerprint makes it stale."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pivot.prompt
from pivot.errors import UserError
from pivot.mine.adaptive import Plan
from pivot.rollout.types import Sampling
from pivot.verify import Verifiers

WHOLE = 1 << 30
BLOCK = 1 << 20


def weights_sha(checkpoint: Path) -> str:
    """16 hex digits over the safetensors files of a checkpoint.

    Files up to 1 GiB are read whole. Of larger ones the size and a 1 MiB block in every GiB, first and last included:
    training changes every block, and a 60 GB checkpoint is told from another in seconds.

    Raises:
        UserError: no safetensors file there.
    """
    files = sorted(checkpoint.glob("*.safetensors"))
    if not files:
        raise UserError(f"{checkpoint}: no *.safetensors file here; model.path must be a Hugging Face checkpoint")
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            if size <= WHOLE:
                while block := file.read(BLOCK):
                    digest.update(block)
                continue
            for start in [*range(0, size - BLOCK, WHOLE), size - BLOCK]:
                file.seek(start)
                digest.update(file.read(BLOCK))
    return digest.hexdigest()[:16]


def prompt_sha(identity: str, tool_parser: str) -> str:
    """16 hex digits of how histories become prompts and texts become actions: the settings and the rules' source.

    Args:
        identity: `PromptEncoder.identity`.
        tool_parser: Name of vLLM's parser.
    """
    digest = hashlib.sha256(f"{tool_parser}\n{identity}".encode())
    for path in sorted(Path(pivot.prompt.__path__[0]).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def fingerprint(
    checkpoint: Path,
    chat_template: str,
    prompts: str,
    verifiers: Verifiers,
    sampling: Sampling,
    plan: Plan,
    *,
    max_model_len: int,
    dtype: str,
    seed: int,
) -> dict[str, Any]:
    """Everything that decides a candidate's rewards besides the candidate itself.

    `prompts` is `prompt_sha`'s. The selection rule is part of it only where it decides when sampling stops;
    profiles with all G samples can be selected from by any rule.
    """
    return {
        "weights_sha": weights_sha(checkpoint),
        "template_sha": hashlib.sha256(chat_template.encode()).hexdigest()[:16],
        "prompt_sha": prompts,
        "verifier_sha": verifiers.sha,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "group_size": plan.group_size,
        "adaptive": asdict(plan) if len(plan.waves) > 1 else None,
        "max_model_len": max_model_len,
        "dtype": dtype,
        "seed": seed,
    }
