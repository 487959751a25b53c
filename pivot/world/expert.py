"""The scripted expert: a right plan for every task, with several equally good ways to carry it out."""

import random
from dataclasses import dataclass

from pivot.trajectory.types import Action, ToolCall, Trajectory
from pivot.world.episodes import Episode
from pivot.world.orders import TOOLS
from pivot.world.tasks import Task, make_tasks

DOMAIN = "orders"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan.

    Attributes:
        label: `find`, `which`, `miss` (look-up of an order that is not the one meant), `look` (of the one
            that is), `ask`, `act`, `done`, `refuse`, `leave` or `answer`.
        action: The expert's action.
    """

    label: str
    action: Action


def call(rng: random.Random, name: str, arguments: dict[str, str | int]) -> Action:
    """A call whose arguments stand in any order: the order means nothing."""
    keys = list(arguments)
    rng.shuffle(keys)
    inner = ", ".join(
        f'"{key}": {value}' if isinstance(value := arguments[key], int) else f'"{key}": "{value}"' for key in keys
    )
    return Action(None, (ToolCall(name, "{" + inner + "}"),))


def expert_plan(task: Task, rng: random.Random) -> list[Step]:
    """The steps of one right way through the task."""
    key = rng.choice(task.known)
    steps = [Step("find", call(rng, "find_customer", {key: task.name if key == "name" else task.email}))]
    if task.stranger is not None:
        steps.append(Step("which", say(rng, "which", task)))
    if task.by_item:
        # Only the orders' numbers are known yet, so any order of looking is equally good.
        for other in rng.sample(task.listed, len(task.listed)):
            if other == task.order:
                break
            steps.append(Step("miss", call(rng, "get_order", {"order": other})))
    steps.append(Step("look", call(rng, "get_order", {"order": task.order})))
    if task.outcome in ("answer", "refuse"):
        return [*steps, Step(task.outcome, say(rng, task.outcome, task))]
    steps.append(Step("ask", say(rng, "ask", task)))
    if task.outcome == "leave":
        return [*steps, Step("leave", say(rng, "leave", task))]
    return [*steps, Step("act", write(rng, task.outcome, task)), Step("done", say(rng, "done", task))]


def write(rng: random.Random, tool: str, task: Task, order: str | None = None) -> Action:
    """The writing call that carries out the task's wish; a default may be left out, which means the same."""
    change = dict(task.change)
    if change.get("refund") == "card" and rng.random() < 0.5:
        del change["refund"]
    return call(rng, tool, {"order": order or task.order, **change})


def say(rng: random.Random, label: str, task: Task, order: str | None = None) -> Action:
    """A message of the expert; every wording of a label means the same."""
    number = order or task.order
    record, change = task.state["orders"][number], dict(task.change)
    status, city = record["status"], record["city"]
    wordings = {
        "which": (
            f"Order {task.stranger} is not yours. Which order?",
            f"I do not see order {task.stranger}. Which order is it?",
        ),
        "refuse": (
            f"Sorry, order {number} is {status}.",
            f"Order {number} is {status}, I can not change it.",
        ),
        "leave": (f"Fine, order {number} stays.", f"Order {number} stays as it is."),
        "ask": _questions(task.kind, number, status, change),
        "done": (f"Done, order {number} is set.", f"Order {number} is done."),
        "answer": {
            "status": (
                f"Order {number} is {status}, city {city}.",
                f"It is {status}, order {number}, city {city}.",
            ),
            "paid": (
                f"You paid {record['paid']} for order {number}.",
                f"Order {number} was {record['paid']}.",
            ),
        }.get(task.kind, ()),
    }
    return Action(rng.choice(wordings[label]))


def _questions(kind: str, number: str, status: str, change: dict[str, str | int]) -> tuple[str, ...]:
    if kind == "drop":
        verb = "Take back" if status == "delivered" else "Cancel"
        return (f"{verb} order {number}?", f"Order {number} is {status}. {verb} it?")
    if kind == "address":
        return (f"Send order {number} to {change['city']}?", f"Order {number} to {change['city']}?")
    return (f"Change order {number}?", f"Order {number} is {status}. Change it?")


def play(task: Task, actions: list[Action]) -> Episode:
    """Run fixed actions through an episode until it ends."""
    episode = Episode(task)
    for action in actions:
        if episode.reason is None:
            episode.apply(action)
    return episode


def expert_trajectory(task: Task, seed: int) -> Trajectory:
    """One expert episode; `seed` chooses among the equally good ways."""
    rng = random.Random(f"expert:{task.seed}:{seed}")
    episode = play(task, [step.action for step in expert_plan(task, rng)])
    name = f"{DOMAIN}-{task.seed}-{seed}"
    return Trajectory(name, tuple(episode.messages), TOOLS, DOMAIN, episode.result().success, f"world:{name}")


def expert_trajectories(n: int, seed: int, split: str = "train") -> list[Trajectory]:
    """`n` expert episodes on tasks of a split."""
    return [expert_trajectory(task, seed) for task in make_tasks(n, seed, split)]
