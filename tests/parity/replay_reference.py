"""A Hugging Face Qwen3-MoE whose experts are chosen from outside, and its own choices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

MISSING = -1
Sequences = list[tuple[Tensor, Tensor, Tensor | None]]
"""(history, action, routes [input tokens, layers, topk] or None)."""


@contextmanager
def routed(model: Any, routes: Tensor | None) -> Iterator[None]:
    """While it lasts, every layer takes the experts of ``routes`` [rows, layers, topk] where they are not MISSING."""
    gates = [layer.mlp.gate for layer in model.model.layers]

    def choosing(gate: Any, rows: Tensor) -> Any:
        def forward(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            logits = hidden.reshape(-1, gate.hidden_dim) @ gate.weight.t()
            probs = logits.float().softmax(-1)
            own = probs.topk(gate.top_k, -1).indices
            chosen = torch.where((rows >= 0).all(-1, keepdim=True), rows.long(), own)
            picked = probs.gather(-1, chosen)
            return logits, (picked / picked.sum(-1, keepdim=True)).to(logits.dtype), chosen

        return forward

    if routes is not None:
        for number, gate in enumerate(gates):
            gate.forward = choosing(gate, routes[:, number])
    try:
        yield
    finally:
        if routes is not None:
            for gate in gates:
                del gate.forward


@torch.no_grad()
def own_routes(model: Any, tokens: Tensor) -> Tensor:
    """[tokens, layers, topk] int16: what the model's own routers choose."""
    seen: list[Tensor] = []
    hooks = [
        layer.mlp.gate.register_forward_hook(lambda gate, inputs, output: seen.append(output[2]))
        for layer in model.model.layers
    ]
    model(tokens[None])
    for hook in hooks:
        hook.remove()
    return torch.stack(seen, 1).to(torch.int16)


def score(model: Any, sequences: Sequences, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logprobs and entropies of all action tokens, with gradient."""
    logprobs, entropies = [], []
    for history, action, routes in sequences:
        with routed(model, routes):
            logits = model(torch.cat([history, action])[None, :-1]).logits[0, history.numel() - 1 :]
        log = torch.log_softmax(logits / temperature, -1)
        logprobs.append(log.gather(-1, action[:, None])[:, 0])
        entropies.append(-(log.exp() * log).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)


def file_gradients(model: Any) -> dict[str, Tensor]:
    """The gradients under the names of a checkpoint file, where experts are matrices of their own."""
    found = {}
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        prefix, _, last = name.rpartition(".")
        if last == "gate_up_proj":
            for expert, fused in enumerate(gradient):
                gate, up = fused.chunk(2)
                found[f"{prefix}.{expert}.gate_proj.weight"] = gate
                found[f"{prefix}.{expert}.up_proj.weight"] = up
        elif last == "down_proj":
            found |= {f"{prefix}.{expert}.down_proj.weight": down for expert, down in enumerate(gradient)}
        else:
            found[name] = gradient.clone()
    return found
