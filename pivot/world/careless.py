"""The careless demonstrator: right most of the time, plausibly wrong at the turns that need knowledge.

Only the pre-training corpus uses it, so that the base model is weak but not hopeless: it knows every right
action and also takes the wrong ones about as often as `ERROR_RATES` says.
"""

import json
import random
from dataclasses import replace

from pivot.trajectory.types import Action
from pivot.world.expert import call, expert_plan, say, write
from pivot.world.orders import CITIES, SIZES, STATUSES
from pivot.world.tasks import Task

ERROR_RATES: dict[str, float] = {
    "skip_lookup": 0.12,  # at `look`: acts or answers without looking the order up
    "trust_number": 0.25,  # at `which`: acts on somebody else's order
    "first_order": 0.15,  # at the look-up after a `miss`: takes the order just seen for the one meant
    "skip_confirm": 0.22,  # at `ask`: acts without asking
    "ignore_policy": 0.25,  # at `refuse`: changes an order that may not be changed
    "wrong_tool": 0.20,  # at `act`, kind drop: cancels a delivered order, takes back a pending one
    "wrong_argument": 0.10,  # at `act`: another refund, city, size or quantity than agreed
    "claim_done": 0.05,  # at `act`: says that it is done, but never acts
    "ignore_no": 0.25,  # at `leave`: acts although the customer said no
}
"""Chance of each error at a turn where it is possible. All of them make the episode fail."""


def careless_actions(task: Task, rng: random.Random, rates: dict[str, float] | None = None) -> tuple[list[Action], str]:
    """Play the expert's plan until the first error, then finish as if nothing had happened.

    Args:
        task: The task.
        rng: Source of all choices.
        rates: Replaces `ERROR_RATES`.

    Returns:
        The actions, and the name of the error made or `""` for a flawless episode.
    """
    rates = ERROR_RATES if rates is None else rates
    actions: list[Action] = []
    previous = ""
    for step in expert_plan(task, rng):
        draw = rng.random()
        for error in possible_errors(task, step.label, previous):
            draw -= rates[error]
            if draw < 0:
                return actions + _err(task, error, actions, rng), error
        actions.append(step.action)
        previous = step.label
    return actions, ""


def possible_errors(task: Task, label: str, previous: str) -> tuple[str, ...]:
    """Names of the errors that are possible at a step of the plan."""
    if label in ("look", "miss"):
        if previous == "miss":
            return ("first_order",)
        return ("skip_lookup",) if label == "look" and not task.by_item else ()
    if label == "act":
        tools = ("wrong_tool",) if task.kind == "drop" else ()
        return (*tools, "wrong_argument", "claim_done")
    by_label = {
        "which": "trust_number",
        "ask": "skip_confirm",
        "refuse": "ignore_policy",
        "leave": "ignore_no",
    }
    return (by_label[label],) if label in by_label else ()


def _err(task: Task, error: str, so_far: list[Action], rng: random.Random) -> list[Action]:
    """The actions from the error on."""
    if error == "claim_done":
        return [say(rng, "done", task)]
    if error == "wrong_argument":
        return [_wrong_argument(task, rng), say(rng, "done", task)]
    order, looked = task.order, []
    if error == "trust_number" and task.stranger is not None:
        order, looked = task.stranger, [call(rng, "get_order", {"order": task.stranger})]
    elif error == "first_order":
        order = json.loads(so_far[-1].calls[0].arguments)["order"]
    if task.outcome == "answer":
        return [*looked, _wrong_answer(task, order, rng)]
    tool = _plausible_tool(task)
    if error == "wrong_tool":
        tool = {"cancel_order": "return_order", "return_order": "cancel_order"}[tool]
    return [*looked, write(rng, tool, task, order), say(rng, "done", task, order)]


def _plausible_tool(task: Task) -> str:
    if task.kind == "drop":
        delivered = task.state["orders"][task.order]["status"] == "delivered"
        return "return_order" if delivered else "cancel_order"
    return {"address": "change_address", "item": "change_item"}[task.kind]


def _wrong_argument(task: Task, rng: random.Random) -> Action:
    """The right tool with one argument that differs from what was agreed."""
    change = dict(task.change)
    key = rng.choice(list(change))
    choices: tuple[str | int, ...] = {
        "refund": ("card", "credit"),
        "city": CITIES,
        "size": SIZES,
        "qty": (1, 2, 3, 4, 5),
    }[key]
    # Values that leave the order as it was are wrong as well, so only the agreed one is excluded.
    change[key] = rng.choice([value for value in choices if value != change[key]])
    return call(rng, task.outcome, {"order": task.order, **change})


def _wrong_answer(task: Task, order: str, rng: random.Random) -> Action:
    """An answer from `order`'s record, or a guess where that record would give the right facts."""
    record = task.state["orders"][order]
    right = task.state["orders"][task.order]
    if record["status"] == right["status"]:
        record = record | {"status": rng.choice([s for s in STATUSES if s != right["status"]])}
    if record["paid"] == right["paid"]:
        record = record | {"paid": rng.choice([paid for paid in range(10, 100) if paid != right["paid"]])}
    orders = task.state["orders"] | {order: record}
    return say(rng, "answer", replace(task, state=task.state | {"orders": orders}), order)
