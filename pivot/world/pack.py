"""The stored tiny MoE: a pre-trained checkpoint in bfloat16 with where it came from, and the check of a remade one."""

import json
import shutil
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen3MoeForCausalLM

from pivot.errors import UserError
from pivot.mine.fingerprint import weights_sha
from pivot.world.corpus import WARM_UP, documents

WEIGHTS = "model.safetensors"
HELD_OUT_SEED, HELD_OUT_DOCUMENTS = 9_999, 64
TOLERANCE = 0.03


def pack(checkpoint: Path, out: Path) -> None:
    """Store a checkpoint in bfloat16 (half the size) with `provenance.json` beside it."""
    out.mkdir(parents=True, exist_ok=True)
    for path in checkpoint.iterdir():
        if path.suffix in (".json", ".jinja"):
            shutil.copy(path, out / path.name)
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(checkpoint / WEIGHTS).items()}
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    provenance = {
        "command": "make pretrain",
        "seed": 0,
        "weights_sha": weights_sha(out),
        "held_out_loss": round(held_out_loss(out), 4),
    }
    (out / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
    print(f"{out}: {sum(path.stat().st_size for path in out.iterdir()) / 1e6:.1f} MB, {provenance}")


def compare(checkpoint: Path, stored: Path) -> None:
    """Say whether a remade checkpoint matches the stored one.

    Training is bit-reproducible on one machine; another processor rounds differently, and after thousands of steps
    weights are then equal in what they do, not bit by bit. So the held-out loss decides.

    Raises:
        UserError: it does not match.
    """
    ours, theirs = load_file(checkpoint / WEIGHTS), load_file(stored / WEIGHTS)
    if {name: tensor.shape for name, tensor in ours.items()} != {name: tensor.shape for name, tensor in theirs.items()}:
        raise UserError(f"{checkpoint}: other tensors than {stored}")
    gap = max(float((ours[name].to(torch.bfloat16).float() - theirs[name].float()).abs().max()) for name in ours)
    loss, wanted = held_out_loss(checkpoint), held_out_loss(stored)
    print(f"largest weight difference {gap:.2e}; held-out loss {loss:.4f}, stored {wanted:.4f}")
    if abs(loss - wanted) > TOLERANCE * wanted:
        raise UserError(f"{checkpoint}: held-out loss {loss:.4f} is not within {TOLERANCE:.0%} of {wanted:.4f}")
    print(f"{checkpoint} matches {stored}" + (" bit for bit" if gap == 0 else f" within {TOLERANCE:.0%}"))


@torch.no_grad()
def held_out_loss(checkpoint: Path) -> float:
    """Mean negative logprob of the assistant's tokens on documents of another seed (nats a token)."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = Qwen3MoeForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    total = count = 0.0
    for document in islice(documents(tokenizer, HELD_OUT_SEED), WARM_UP, WARM_UP + HELD_OUT_DOCUMENTS):
        tokens = torch.tensor(document.tokens)
        mask = torch.tensor(document.loss_weights[1:]) == 1.0
        logprobs = torch.log_softmax(model(tokens[None]).logits[0, :-1], -1)
        total -= float((logprobs.gather(-1, tokens[1:, None])[:, 0] * mask).sum())
        count += float(mask.sum())
    return total / count
