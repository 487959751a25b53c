"""Reader for tau2-bench results: `{"info": {...}, "tasks": [...], "simulations": [...]}`, one trajectory a simulation.

The user of a simulation has tools too (telecom). Neither its calls nor their results were ever shown to the agent,
so they are no part of the trajectory; they are counted.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pivot.trajectory.identity import trajectory_id
from pivot.trajectory.messages import BadRecord, read_messages, read_tools, without_user_side
from pivot.trajectory.rows import DEFAULT_DOMAIN
from pivot.trajectory.types import Tool, Trajectory
from pivot.trajectory.untrusted import as_dict, as_list, as_name, as_text, first_name, is_one, objects

Record = dict[str, Any]


def matches(record: Record) -> bool:
    """Whether a record has this format's shape; also the parts of results that are stored as several files."""
    if "simulations" in record or "simulation_index" in record:
        return True
    return "task_id" in record and not record.keys().isdisjoint(("termination_reason", "reward_info"))


def parts(record: Record) -> Iterator[Record]:
    """One record a simulation, each with the `info` of the run.

    Raises:
        BadRecord: There is no simulation, or no `info` to take the policy from.
    """
    if "simulations" not in record:
        detail = "convert the results file that holds `info` and `simulations` together"
        raise BadRecord("no_info" if "messages" in record else "no_simulations", detail)
    simulations = as_list(record["simulations"])
    if not simulations:
        raise BadRecord("no_simulations", "`simulations` is empty or no list")
    for simulation in simulations:
        yield {**record, "simulations": [simulation]}


def _flat_results(raw_messages: list[Any]) -> Iterator[Any]:
    """Each result as a message of its own, under the key for its call that `read_messages` takes."""
    for raw in raw_messages:
        if isinstance(raw, dict) and raw.get("role") == "tool":
            for result in objects(raw["tool_messages"]) if "tool_messages" in raw else [raw]:
                yield {**result, "role": "tool", "tool_call_id": result.get("id")}
        else:
            yield raw


def _tools(environment: Record) -> list[Record]:
    """The agent's tools, which results hold only on demand, as signatures by name."""
    tools = []
    for name, signature in as_dict(environment.get("tool_defs")).items():
        if not isinstance(signature, dict):
            raise BadRecord("bad_tools", f"tool {name[:40]!r} is no object")
        flat = {"name": name, "description": signature.get("doc"), "parameters": signature.get("params")}
        tools.append({"type": "function", "function": flat})
    return tools


def read(record: Record, source: str, default_tools: tuple[Tool, ...]) -> Trajectory:
    """The trajectory of a record with one simulation.

    The system message is the policy in `info.environment_info` (the benchmark's agents put a few lines of their own
    around it, which results do not hold). A greeting before the user's first word is scripted: no model wrote it.

    Raises:
        BadRecord: The record cannot be read.
    """
    simulation = as_dict(next(iter(as_list(record.get("simulations"))), None))
    environment = as_dict(as_dict(record.get("info")).get("environment_info"))
    policy = as_text(simulation.get("policy")) or as_text(environment.get("policy"))
    if policy is None:
        raise BadRecord("no_info", "`info.environment_info.policy` is missing or stands behind `simulations`")
    raw_messages = simulation.get("messages")
    if not isinstance(raw_messages, list):
        if simulation.get("ticks"):
            raise BadRecord("full_duplex", "a voice simulation has no turns")
        raise BadRecord("messages_missing", "`messages` of the simulation is missing or no list")
    left_out: Counter[str] = Counter()
    kept = without_user_side(list(_flat_results(raw_messages)), left_out)
    system = [] if kept and as_dict(kept[0]).get("role") == "system" else [{"role": "system", "content": policy}]
    messages = read_messages(system + kept)
    scripted = {1: "scripted_greeting"} if messages[1:2] and _is_greeting(messages[1]) else {}
    domain_name = first_name(environment, "domain_name") or "tau2"
    task = as_name(simulation.get("task_id"))
    tools = read_tools(_tools(environment)) or default_tools
    return Trajectory(
        trajectory_id=as_name(simulation.get("id")) or f"{domain_name}/{task}/{trajectory_id(messages, tools)}",
        messages=messages,
        tools=tools,
        domain=DEFAULT_DOMAIN,
        success=is_one(as_dict(simulation.get("reward_info")).get("reward")),
        source=source,
        task_id=None if task is None else f"{domain_name}/{task}",
        not_expert=scripted,
        left_out=dict(left_out),
    )


def _is_greeting(message: Record) -> bool:
    return message["role"] == "assistant" and "tool_calls" not in message
