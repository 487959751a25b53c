"""Seeded tasks for the orders desk: what the customer wants, what the shop allows, which end is right."""

import copy
import random
from dataclasses import dataclass

from pivot.trajectory.types import ToolCall
from pivot.world.orders import (
    CITIES,
    ITEMS,
    MAIL_HOSTS,
    NAMES,
    ORDER_LETTERS,
    SIZES,
    STATUSES,
    State,
    execute,
)

SPLITS = ("pretrain", "train", "validation", "evaluation")
_SPLIT_SIZE = 10**9
_SEED_STRIDE = 10**5

KINDS = {"drop": 0.4, "address": 0.15, "item": 0.15, "status": 0.15, "paid": 0.15}
"""Task kinds and how often each is drawn. `drop` is any wish to be rid of an order."""


@dataclass(frozen=True, slots=True)
class Task:
    """One customer with one wish.

    Attributes:
        seed: The task's own seed; tasks of different splits never share one.
        kind: A key of `KINDS`.
        outcome: What a right agent ends with: a writing tool's name, `refuse`, `leave` or `answer`.
        name: Customer's name.
        email: Customer's e-mail.
        known: Which of `name` and `email` the customer tells.
        order: The order that is meant.
        listed: All orders of the customer, as `find_customer` lists them.
        by_item: Whether the customer names the item and not the order's number.
        stranger: Somebody else's order that the customer names first by mistake, or None.
        change: Arguments of the right writing call besides the order (defaults included).
        request: First user message.
        replies: The user's answers to the agent's questions, in order.
        facts: Words that the last message must hold.
        state: State at the start.
        goal: State at the end of a successful episode.
    """

    seed: int
    kind: str
    outcome: str
    name: str
    email: str
    known: tuple[str, ...]
    order: str
    listed: tuple[str, ...]
    by_item: bool
    stranger: str | None
    change: tuple[tuple[str, str | int], ...]
    request: str
    replies: tuple[str, ...]
    facts: tuple[str, ...]
    state: State
    goal: State


def task_seeds(n: int, seed: int, split: str) -> range:
    """Seeds of `n` tasks; ranges of different splits, or of different seeds of one split, are disjoint.

    Raises:
        ValueError: if `split` is unknown or `n` or `seed` leaves the split's range.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")
    if not 0 <= n <= _SEED_STRIDE or not 0 <= seed < _SPLIT_SIZE // _SEED_STRIDE:
        raise ValueError(f"n={n} must be at most {_SEED_STRIDE} and seed={seed} below {_SPLIT_SIZE // _SEED_STRIDE}")
    start = SPLITS.index(split) * _SPLIT_SIZE + seed * _SEED_STRIDE
    return range(start, start + n)


def make_tasks(n: int, seed: int, split: str = "evaluation") -> list[Task]:
    """Make `n` tasks of a split."""
    return [make_task(task_seed) for task_seed in task_seeds(n, seed, split)]


def make_task(seed: int) -> Task:
    """Make the task of one seed."""
    rng = random.Random(seed)
    kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
    state, name, listed, strange = _make_state(rng)
    order = rng.choice(listed)
    record = state["orders"][order]
    record["status"] = _draw_status(rng, kind)
    by_item = rng.random() < 0.3
    stranger = strange if not by_item and rng.random() < 0.2 else None
    outcome, change, replies = _resolve(rng, kind, record)
    if stranger is not None:
        replies = (f"Sorry, order {order}.", *replies)
    goal = copy.deepcopy(state)
    if outcome in ("cancel_order", "return_order", "change_address", "change_item"):
        execute(goal, ToolCall(outcome, _json_arguments({"order": order, **change})))
    known = rng.choice([("name",), ("email",), ("name", "email")])
    email = state["customers"][name]["email"]
    subject = f"the {record['item']}" if by_item else f"order {stranger or order}"
    facts = {"status": (record["status"], record["city"]), "paid": (str(record["paid"]),)}.get(kind, ())
    if outcome == "refuse":
        facts = (record["status"],)
    return Task(
        seed=seed, kind=kind, outcome=outcome, name=name, email=email, known=known, order=order,
        listed=tuple(listed), by_item=by_item, stranger=stranger, change=tuple(change.items()),
        request=f"{_introduction(rng, name, email, known)} {_wish(rng, kind, subject, change)}",
        replies=replies, facts=facts, state=state, goal=goal,
    )  # fmt: skip


def _json_arguments(arguments: dict[str, str | int]) -> str:
    inner = ", ".join(f'"{k}": {v}' if isinstance(v, int) else f'"{k}": "{v}"' for k, v in arguments.items())
    return "{" + inner + "}"


def _make_state(rng: random.Random) -> tuple[State, str, list[str], str]:
    """Two customers with orders; returns state, main customer, their orders, and an order of the other."""
    names = rng.sample(NAMES, 2)
    # Five different letters: one token tells the orders of a task apart.
    numbers = [letter + str(rng.randrange(10)) for letter in rng.sample(ORDER_LETTERS, 5)]
    counts = (rng.choice((1, 2, 2, 3)), rng.choice((1, 2)))
    state: State = {"customers": {}, "orders": {}}
    owned: list[list[str]] = []
    for name, count in zip(names, counts, strict=True):
        state["customers"][name] = {"email": f"{name.lower()}@{rng.choice(MAIL_HOSTS)}", "credit": 0}
        owned.append([numbers.pop() for _ in range(count)])
        for number, item in zip(owned[-1], rng.sample(ITEMS, count), strict=True):
            state["orders"][number] = {
                "customer": name, "item": item, "size": rng.choice(SIZES), "qty": rng.randint(1, 4),
                "paid": rng.randint(10, 99), "city": rng.choice(CITIES),
                "status": rng.choice(STATUSES), "refund": None,
            }  # fmt: skip
    return state, names[0], owned[0], owned[1][0]


def _draw_status(rng: random.Random, kind: str) -> str:
    weights = {"drop": (4, 2, 4), "address": (7, 2, 1), "item": (7, 2, 1)}.get(kind, (1, 1, 1))
    return rng.choices(STATUSES, weights=weights)[0]


def _resolve(rng: random.Random, kind: str, record: dict) -> tuple[str, dict[str, str | int], tuple[str, ...]]:
    """The right outcome, the wanted change and the customer's replies after the order is clear."""
    if kind in ("status", "paid"):
        return "answer", {}, ()
    status = record["status"]
    change: dict[str, str | int]
    if kind == "drop":
        tool = {"pending": "cancel_order", "delivered": "return_order"}.get(status, "refuse")
        change = {"refund": rng.choice(("card", "credit"))}
        # "card" is the default of the tools: the customer may leave it out, and so may the expert.
        consent = rng.choice(("Yes.", "Yes, to card.")) if change["refund"] == "card" else "Yes, to credit."
    else:
        tool = {"address": "change_address", "item": "change_item"}[kind] if status == "pending" else "refuse"
        consent = rng.choice(("Yes.", "Yes, please."))
        if kind == "address":
            change = {"city": rng.choice([city for city in CITIES if city != record["city"]])}
        else:
            size = rng.choice([size for size in SIZES if size != record["size"]])
            qty = rng.choice([qty for qty in range(1, 6) if qty != record["qty"]])
            change = rng.choice([{"size": size}, {"qty": qty}, {"size": size, "qty": qty}])
    if tool != "refuse" and rng.random() < 0.15:
        return "leave", change, (rng.choice(("No, leave it.", "No, I keep it.")),)
    return tool, change, (consent,)


# Names, items and cities stand before a full stop or comma, never before a space: then they are the same
# tokens in the customer's words and in a call, which is what a tiny model can copy.
def _introduction(rng: random.Random, name: str, email: str, known: tuple[str, ...]) -> str:
    if known == ("name",):
        return rng.choice((f"I am {name}.", f"This is {name}."))
    if known == ("email",):
        return rng.choice((f"My mail is {email}.", f"I use {email}."))
    return rng.choice((f"I am {name}, {email}.", f"This is {name}, mail {email}."))


def _wish(rng: random.Random, kind: str, subject: str, change: dict[str, str | int]) -> str:
    if kind == "drop":
        return rng.choice((f"Cancel {subject}.", f"I want to return {subject}.", f"I do not want {subject}."))
    if kind == "address":
        return rng.choice(
            (f"Send to {change['city']}, please: {subject}.", f"New city {change['city']}, for {subject}.")
        )
    if kind == "status":
        return rng.choice((f"Where is {subject}?", f"What about {subject}?"))
    if kind == "paid":
        return rng.choice((f"What did I pay for {subject}?", f"Price of {subject}?"))
    wanted = ", ".join(f"size {value}" if key == "size" else f"qty {value}" for key, value in change.items())
    return rng.choice((f"I want {wanted}, for {subject}.", f"Make it {wanted}, please: {subject}."))
