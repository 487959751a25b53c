"""What runs on the ranks of the parking tests: real policies whose memory goes away and comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from pivot.layout import Layout
from pivot.policy import Policy
from pivot.policy.parking import PolicyMemory
from pivot.policy.storages import total_bytes
from tests.parity.optimizer_workers import LR, make, weights
from tests.parity.workers import Samples, gradient


def parked(cases: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """`compare` of every case."""
    return {name: compare(**options) for name, options in cases.items()}


def compare(path: Path, samples: Samples, layout: Layout, **options: Any) -> dict[str, Any]:
    """Three steps of a policy that never goes away, and of one that goes away between them and before the first."""
    stays = after(make(path, layout, **options), samples)
    policy = make(path, layout, **options)
    reference = Policy.from_hf(path, layout, dtype=policy.dtype, optimizer=None)
    memory = PolicyMemory([policy, reference])
    objects = identity(policy)
    trips = [trip(memory, policy, reference)]
    found = after(policy, samples, lambda: trips.append(trip(memory, policy, reference)))
    return {
        "stays": stays,
        "went": found,
        "trips": trips,
        "rebound": [name for name, one, other in zip(*pairs(objects, identity(policy)), strict=True) if one != other],
        "reference": [name for name, tensor in weights(reference).items() if not tensor.equal(stays["start"][name])],
        "twice": refusal(memory.parameters_on) + refusal(lambda: (memory.parameters_off(), memory.parameters_off())),
    }


def after(policy: Policy, samples: Samples, between: Any = lambda: None) -> dict[str, Any]:
    """Weights at the start; weights, gradient norms and optimizer state of three steps."""
    result: dict[str, Any] = {"start": weights(policy), "norms": []}
    for _ in range(3):
        gradient(policy, samples)
        result["norms"].append((policy.norms(), policy.optimizer_step(LR)))
        between()
    return result | {"weights": weights(policy), "state": state(policy)}


def state(policy: Policy) -> list[Tensor]:
    """Every tensor of the optimizer: moments, and parameters as it has them."""
    found = []
    assert policy._optimizer is not None
    for part in policy._optimizer.chained_optimizers:
        for group in part.optimizer.param_groups:
            found += [parameter.detach().clone() for parameter in group["params"]]
        for values in part.optimizer.state.values():
            found += [value.clone() for value in values.values() if isinstance(value, Tensor)]
    return found


def trip(memory: PolicyMemory, policy: Policy, reference: Policy) -> dict[str, Any]:
    """Away and back; the bytes that were told, and those that the storages have."""

    def held() -> tuple[int, ...]:
        found, other = policy.storages(), reference.storages()
        sizes = [total_bytes(each) for each in (found.parameters, found.gradients, found.optimizer)]
        return (*sizes, total_bytes(other.parameters))

    before = held()
    optimizer = memory.optimizer_off()
    middle = held()
    parameters = memory.parameters_off()
    away = held()
    back = memory.parameters_on(), memory.optimizer_on()
    zero = all(not buffer.grad_data.any() for chunk in policy._wrapped for buffer in
               (*chunk.buffers, *chunk.expert_parallel_buffers))  # fmt: skip
    return {"before": before, "middle": middle, "away": away, "after": held(), "off": (optimizer, parameters),
            "on": back, "gradients are zero": zero}  # fmt: skip


def identity(policy: Policy) -> dict[str, int]:
    """The objects whose rebinding would fragment memory or leave views behind."""
    found = {}
    for chunk in policy._wrapped:
        for name, parameter in chunk.module.named_parameters():
            found[name] = id(parameter)
            if parameter.requires_grad:
                found[f"{name} main_grad"] = parameter.main_grad.untyped_storage()._cdata
            found[f"{name} storage"] = parameter.data.untyped_storage()._cdata
    return found


def pairs(one: dict[str, int], other: dict[str, int]) -> tuple[list[str], list[int], list[int]]:
    assert list(one) == list(other)
    return list(one), list(one.values()), list(other.values())


def refusal(call: Any) -> str:
    try:
        call()
    except RuntimeError as error:
        return f"{error}. "
    return ""
