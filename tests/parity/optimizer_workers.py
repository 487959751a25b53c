"""What runs on the ranks of the optimizer's tests. Every function returns plain tensors and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pivot.errors import UserError
from pivot.layout import Layout
from pivot.policy import OptimizerSettings, Policy
from pivot.policy.norms import norms
from pivot.policy.optimizer import Rule
from tests.parity.workers import Samples, build, gradient

LR = 1e-3


def make(path: Path, layout: Layout, rules: list[dict[str, Any]] | None = None, **settings: Any) -> Policy:
    """A policy whose router is trained; ``settings`` are those of the optimizer, two of them for the policy."""
    policy = {key: settings.pop(key) for key in ("dtype", "freeze_router") if key in settings}
    optimizer = OptimizerSettings(rules=tuple(Rule(**rule) for rule in rules or []), **settings)
    return build(path, layout, optimizer=optimizer, **{"freeze_router": False, **policy})


def weights(policy: Policy) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in policy.hf_weights()}


def one_step(path: Path, samples: Samples, layout: Layout, steps: int = 1, **options: Any) -> dict[str, Any]:
    """Norms by kind, the global norm, weights before and after."""
    policy = make(path, layout, **options)
    result: dict[str, Any] = {"before": weights(policy)}
    for _ in range(steps):
        gradient(policy, samples)
        assert policy._optimizer is not None
        found = norms(policy._models, policy._optimizer)
        result.setdefault("norms", found)
        result.setdefault("gradients", {name: tensor.clone() for name, tensor in policy.hf_gradients()})
        result.setdefault("norm", policy.optimizer_step(LR))
    result["moment"] = first_moment_norm(policy)
    result["after"] = weights(policy)
    return result


def first_moment_norm(policy: Policy) -> float:
    """Norm of Adam's first moments on this rank."""
    assert policy._optimizer is not None
    moments = [state["exp_avg"] for _, state in policy._optimizer.state.items() if "exp_avg" in state]
    return float(torch.stack([moment.double().square().sum() for moment in moments]).sum().sqrt())


def resume(
    path: Path, samples: Samples, layouts: list[Layout], folder: Path, **options: Any
) -> dict[str, list[dict[str, Tensor]]]:
    """Weights after two steps in the first layout, then after the second of them in each, from a checkpoint."""
    policy = make(path, layouts[0], **options)
    gradient(policy, samples)
    policy.optimizer_step(LR)
    policy.save(folder / "one", {})
    gradient(policy, samples)
    policy.optimizer_step(LR)
    results = [weights(policy)]
    for layout in layouts:
        policy = make(path, layout, **options)
        policy.load(folder / "one")
        gradient(policy, samples)
        policy.optimizer_step(LR)
        results.append(weights(policy))
    return {"resumed": results}


def many(cases: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """``resume`` of the cases with a folder, ``one_step`` of the others; the message where options are refused."""
    results: dict[str, dict[str, Any]] = {}
    for name, options in cases.items():
        try:
            results[name] = resume(**options) if "folder" in options else one_step(**options)
        except UserError as error:
            results[name] = {"error": str(error)}
    return results
