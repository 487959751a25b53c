"""Tasks, expert, careless demonstrator and judge."""

import math
import random
from collections import Counter

import pytest

from pivot.trajectory.types import Action, ToolCall
from pivot.verify import Context, build
from pivot.world.careless import ERROR_RATES, careless_actions, possible_errors
from pivot.world.episodes import MAX_TURNS, run_episodes
from pivot.world.expert import expert_plan, expert_trajectories, expert_trajectory, play
from pivot.world.orders import TOOLS
from pivot.world.tasks import KINDS, SPLITS, make_task, make_tasks, task_seeds


def assistant_turns(trajectory):
    return [message for message in trajectory.messages if message["role"] == "assistant"]


def test_every_way_of_the_expert_succeeds_in_three_to_eight_turns():
    turns, outcomes = Counter(), Counter()
    for task in make_tasks(400, 3, "train"):
        outcomes[task.outcome] += 1
        for variant in range(4):
            trajectory = expert_trajectory(task, variant)
            assert trajectory.success is True
            turns[len(assistant_turns(trajectory))] += 1
    assert set(turns) == {3, 4, 5, 6, 7}
    assert set(outcomes) == {
        "answer", "refuse", "leave", "cancel_order", "return_order", "change_address", "change_item",
    }  # fmt: skip
    calls = [bool(m.get("tool_calls")) for t in expert_trajectories(200, 0) for m in assistant_turns(t)]
    assert 0.5 < sum(calls) / len(calls) < 0.8


def test_expert_has_several_ways():
    task = next(t for t in make_tasks(200, 0) if t.outcome == "cancel_order" and dict(t.change)["refund"] == "card")
    acts = {
        step.action.calls[0].arguments
        for seed in range(60)
        for step in expert_plan(task, random.Random(seed))
        if step.label == "act"
    }
    number = task.order
    assert acts == {
        f'{{"order": "{number}"}}',
        f'{{"order": "{number}", "refund": "card"}}',
        f'{{"refund": "card", "order": "{number}"}}',
    }


def test_ways_of_the_expert_are_functionally_equal():
    """What the verifier compares must not change with the wording, or good actions would earn nothing."""
    verifier = build("functional")
    pairs = 0
    for task in make_tasks(150, 0):
        plans = [expert_plan(task, random.Random(seed)) for seed in range(4)]
        for steps in zip(*(p for p in plans if len(p) == len(plans[0])), strict=True):
            for step in steps:
                same_way = step.label == steps[0].label not in ("find", "miss", "look")
                if same_way or step.label == "look" == steps[0].label:
                    pairs += 1
                    verdict = verifier(step.action, steps[0].action, Context(TOOLS))
                    assert verdict.reward == 1.0, (step, steps[0], verdict)
    assert pairs > 1000


def test_tasks_are_a_function_of_their_seed_and_splits_are_disjoint():
    assert make_tasks(30, 5) == make_tasks(30, 5)
    assert make_tasks(30, 5) == [make_task(seed) for seed in task_seeds(30, 5, "evaluation")]
    assert expert_trajectories(5, 2) == expert_trajectories(5, 2)
    seen = set()
    for split in SPLITS:
        for seed in (0, 1, 9999):
            seeds = set(task_seeds(10**5, seed, split))
            assert not seeds & seen
            seen |= seeds
    requests = {split: {t.request + str(t.state) for t in make_tasks(2000, 0, split)} for split in SPLITS}
    assert not requests["pretrain"] & requests["evaluation"]
    assert {task.kind for task in make_tasks(100, 0)} == set(KINDS)
    for bad in ((1, 0, "test"), (10**5 + 1, 0, "train"), (1, 10**4, "train")):
        with pytest.raises(ValueError, match=r"split|n="):
            task_seeds(*bad)


def test_careless_fails_at_the_rate_of_the_table():
    rng = random.Random(0)
    expected, failed, errors, n = 0.0, 0, Counter(), 4000
    for task in make_tasks(n, 0, "pretrain"):
        right, previous = 1.0, ""
        for step in expert_plan(task, random.Random(task.seed)):
            right *= 1 - sum(ERROR_RATES[error] for error in possible_errors(task, step.label, previous))
            previous = step.label
        expected += 1 - right
        actions, error = careless_actions(task, rng)
        result = play(task, actions).result()
        assert result.success == (error == ""), (task.seed, error, result.reason)
        errors[error] += 1
        failed += not result.success
    assert set(errors) == {"", *ERROR_RATES}
    # Four standard errors of a share; the plan's random look-up order is averaged over the tasks.
    assert abs(failed - expected) / n < 4 * math.sqrt(0.25 / n)


def test_careless_without_errors_is_an_expert():
    rng = random.Random(0)
    for task in make_tasks(100, 0):
        actions, error = careless_actions(task, rng, dict.fromkeys(ERROR_RATES, 0.0))
        assert error == ""
        assert play(task, actions).result().success


def run(task, actions):
    queue = iter(actions)
    return run_episodes([task], lambda batch: [next(queue) for _ in batch])[0]


def test_judge_reasons():
    tasks = make_tasks(300, 0)
    cancel = next(
        t for t in tasks if t.outcome == "cancel_order" and not t.stranger and dict(t.change)["refund"] == "card"
    )
    act = Action(None, (ToolCall("cancel_order", f'{{"order": "{cancel.order}"}}'),))
    ask, done = Action("Shall I?"), Action("Done.")
    assert run(cancel, [ask, act, done]).reason == "success"
    assert run(cancel, [act, done]).reason == "unconfirmed"
    assert run(cancel, [act, ask, done]).reason == "unconfirmed"
    assert run(cancel, [ask, done]).reason == "wrong_state"
    assert run(cancel, [ask, act, Action("x", (), "no JSON")]).reason == "malformed"
    looping = run(cancel, [act] * MAX_TURNS)
    assert (looping.reason, looping.turns) == ("turn_limit", MAX_TURNS)
    other = next(number for number in cancel.state["orders"] if number != cancel.order)
    both = Action(None, (act.calls[0], ToolCall("cancel_order", f'{{"order": "{other}"}}')))
    assert run(cancel, [ask, both, done]).reason == "wrong_state"

    keep = next(t for t in tasks if t.outcome == "leave" and not t.stranger)
    assert run(keep, [ask, done]).reason == "success"
    assert run(keep, [done]).reason == "unconfirmed"

    refuse = next(t for t in tasks if t.outcome == "refuse" and t.kind == "drop")
    assert run(refuse, [Action("Sorry, it is shipped.")]).reason == "success"
    assert run(refuse, [done]).reason == "missing_fact"

    where = next(t for t in tasks if t.kind == "status")
    status, city = where.facts
    assert run(where, [Action(f"It is {status}, city {city}.")]).reason == "success"
    assert run(where, [Action(f"It is {status}.")]).reason == "missing_fact"
    assert run(where, [Action(f"pending shipped delivered {city}")]).reason == "missing_fact"


def test_run_episodes_is_lock_step_and_ordered():
    tasks = make_tasks(20, 1)
    plans = {task.request: [s.action for s in expert_plan(task, random.Random(0))] for task in tasks}
    sizes = []

    def respond(batch):
        sizes.append(len(batch))
        return [plans[messages[1]["content"]][sum(m["role"] == "assistant" for m in messages)] for messages, _ in batch]

    results = run_episodes(tasks, respond)
    assert [result.task_seed for result in results] == [task.seed for task in tasks]
    assert all(result.success for result in results)
    assert [result.turns for result in results] == [len(plans[task.request]) for task in tasks]
    assert sizes[0] == 20
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == sum(result.turns for result in results)
