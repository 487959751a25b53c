"""Candidates to and from NeMo-Gym's single-step rows, so that the files interoperate both ways.

A row is `responses_create_params{input, tools, parallel_tool_calls, tool_choice}`, `expected_action`,
`agent_ref` and our own `pivot` block. `from_row(to_row(c)) == c`. Rows without a `pivot` block are read too, and
written back as they were: the forms that a row may take are more than the canonical one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pivot.errors import UserError
from pivot.trajectory.cut import why_unusable
from pivot.trajectory.identity import candidate_id
from pivot.trajectory.messages import BadRecord, read_text, read_tools
from pivot.trajectory.records import BadRow, read_records
from pivot.trajectory.responses import Item, from_items, to_flat_tools, to_items
from pivot.trajectory.types import Action, Candidate, ToolCall
from pivot.trajectory.untrusted import as_dict, as_text

DEFAULT_DOMAIN = "tool_use"
TERMINAL = "terminal"

Row = dict[str, Any]

# NeMo-Gym's agents, by domain; it has none for others, whose actions are tool calls too.
_AGENTS = {"swe": "swe_pivot_tool_simulation_agent", TERMINAL: "terminus_judge_simple_agent"}
_DEFAULT_AGENT = "single_step_tool_use_with_argument_comparison_agent"
# What an agent's name says of the domain of its rows.
_DOMAIN_WORDS = (("swe", "swe"), ("termin", TERMINAL), ("search", "search"), ("brows", "search"))
# What a candidate's own attributes hold; the terminal's rows name the expert's text once more, as its agent wants it.
_OWN_KEYS = frozenset({"responses_create_params", "expected_action", "expected_answer", "agent_ref", "pivot"})


def _agent_of(domain: str) -> Row:
    return {"type": "responses_api_agents", "name": _AGENTS.get(domain, _DEFAULT_AGENT)}


def _expected_block(action: Action) -> Row:
    if action.kind == "message":
        return {"type": "message", "content": action.content}
    calls = [{"type": "function_call", "name": call.name, "arguments": call.arguments} for call in action.calls]
    return calls[0] if len(calls) == 1 else {"type": "function_call_batch", "calls": calls}


def _canonical(candidate: Candidate, items: list[Item]) -> Row:
    expected = _expected_block(candidate.expected)
    row: Row = {
        "responses_create_params": {
            "input": items,
            "tools": to_flat_tools(candidate.tools),
            "parallel_tool_calls": True,
            "tool_choice": "auto",
        },
        "expected_action": expected,
        "agent_ref": _agent_of(candidate.domain),
    }
    if candidate.domain == TERMINAL and expected["type"] == "message":
        row["expected_answer"] = expected["content"]
    return row


def to_row(candidate: Candidate, profile: dict[str, Any] | None = None) -> Row:
    """The single-step row of a candidate.

    Args:
        candidate: What to write.
        profile: JSON-able `pivot.profile` block of a mined pivot (model, rewards, mean, var, ...).

    Returns:
        A JSON-able row. Neither the input nor any switch in it depends on the expert's action.
    """
    pivot: Row = {
        "candidate_id": candidate.candidate_id,
        "trajectory_id": candidate.trajectory_id,
        "turn": candidate.turn,
        "turns": candidate.turns,
        "domain": candidate.domain,
        "success": candidate.success,
        "source": candidate.source,
    }
    if candidate.task_id is not None:
        pivot["task_id"] = candidate.task_id
    if candidate.expected.calls and candidate.expected.content is not None:
        pivot["content"] = candidate.expected.content  # NeMo-Gym's expected calls have no place for text
    if "responses_create_params" in candidate.extra:
        row = {**candidate.extra}
        pivot["as_read"] = True
    else:
        items, spans = to_items(candidate.messages)
        row = {**_canonical(candidate, items), **candidate.extra}
        if spans is not None:
            pivot["spans"] = spans
    if profile is not None:
        pivot["profile"] = profile
    row["pivot"] = pivot
    return row


def _read_expected_call(raw: Any) -> ToolCall:
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
        raise BadRecord("bad_expected_action", "a call has no name")
    if not isinstance(raw.get("arguments"), str):
        raise BadRecord("bad_expected_action", "a call's arguments are no JSON text")
    return ToolCall(raw["name"], raw["arguments"])


def _read_expected(row: Row, content: Any) -> Action:
    raw = row.get("expected_action")
    if not isinstance(raw, dict) and as_text(row.get("expected_answer")):
        raw = {"type": "message", "content": row["expected_answer"]}
    said = as_dict(raw)
    kind = said.get("type")
    if kind == "message":
        action = Action(content=read_text(said.get("content"), "expected_action"))
    elif kind in ("function_call", "function_call_batch"):
        raw_calls = [said] if kind == "function_call" else said.get("calls")
        if not isinstance(raw_calls, list) or not raw_calls:
            raise BadRecord("bad_expected_action", "`calls` is no list with at least one call")
        calls = tuple(_read_expected_call(call) for call in raw_calls)
        action = Action(content=content if isinstance(content, str) else None, calls=calls)
    else:
        raise BadRecord("no_expected_action", "`expected_action` is missing or of an unknown type")
    reason = why_unusable(action)
    if reason is not None:
        raise BadRecord(reason, "in expected_action")
    return action


def is_cut(row: Row) -> bool:
    """Whether a row names the expert's action."""
    return isinstance(row.get("expected_action"), dict) or bool(as_text(row.get("expected_answer")))


def domain_of(row: Row) -> str:
    """The domain of a row that does not name it: by its agent, or the form of its expected answer."""
    agent = as_text(as_dict(row.get("agent_ref")).get("name")) or ""
    said = as_text(row.get("domain")) or next((domain for word, domain in _DOMAIN_WORDS if word in agent), None)
    return said or (TERMINAL if as_text(row.get("expected_answer")) else DEFAULT_DOMAIN)


def _extra(row: Row, pivot: Row, domain: str) -> Row:
    """What the candidate cannot say of a row: all of one that somebody else wrote, else the fields they added."""
    if pivot and not pivot.get("as_read"):
        return {key: value for key, value in row.items() if key not in _OWN_KEYS}
    extra = {key: value for key, value in row.items() if key != "pivot"}
    extra.setdefault("agent_ref", _agent_of(domain))
    return extra


def _text_or(block: Row, key: str, default: str) -> str:
    value = block.get(key)
    return value if isinstance(value, str) else default


def from_row(row: Row, source: str = "") -> Candidate:
    """The candidate of a single-step row, ours or NeMo-Gym's own.

    Args:
        row: Untrusted.
        source: `file:line`, used where the row has no `pivot.source`.

    Raises:
        BadRecord: With reason and detail, also when the row no longer matches its own `pivot.candidate_id`.
    """
    params = row.get("responses_create_params")
    if not isinstance(params, dict):
        raise BadRecord("no_responses_create_params", "`responses_create_params` is missing or no object")
    pivot = as_dict(row.get("pivot"))
    messages = from_items(params.get("input"), pivot.get("spans"))
    if not messages:
        raise BadRecord("no_history", "`input` is empty")
    tools = read_tools(params.get("tools"))
    expected = _read_expected(row, pivot.get("content"))
    identity = candidate_id(messages, tools, expected)
    if pivot.get("candidate_id", identity) != identity:
        raise BadRecord("changed", "the row no longer matches its pivot.candidate_id: convert it again")
    turn = pivot.get("turn")
    if type(turn) is not int:
        turn = sum(message["role"] == "assistant" for message in messages)
    turns = pivot.get("turns")
    success = pivot.get("success")
    domain = as_text(pivot.get("domain")) or domain_of(row)
    return Candidate(
        candidate_id=identity,
        trajectory_id=_text_or(pivot, "trajectory_id", _text_or(row, "uuid", identity)),
        turn=turn,
        turns=turns if type(turns) is int else turn + 1,
        messages=messages,
        tools=tools,
        expected=expected,
        domain=domain,
        success=success if isinstance(success, bool) else None,
        source=_text_or(pivot, "source", source),
        task_id=as_text(pivot.get("task_id")),
        extra=_extra(row, pivot, domain),
    )


def load_candidates(path: Path) -> Iterator[Candidate]:
    """Candidates of a row file in file order, one in memory at a time.

    Raises:
        UserError: The file is missing or empty, or a row cannot be read (with `file:line`).
    """
    empty = True
    for record in read_records(path):
        if isinstance(record, BadRow):
            raise UserError(f"{record.source}: {record.reason}; make the file with `pivot convert`")
        empty = False
        try:
            yield from_row(record.value, record.source)
        except BadRecord as error:
            raise UserError(f"{record.source}: {error}; make the file with `pivot convert`") from None
    if empty:
        raise UserError(f"{path}: no rows in it; make the file with `pivot convert`")
