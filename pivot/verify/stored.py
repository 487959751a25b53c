"""Stored rollouts scored again: what `pivot verify` does.

A row is NeMo-Gym's single-step row with what the policy did: a `response` with its `output` items, or a `completion`
text. A rollout that does not hold its expert's action finds it in a row of the same `uuid` in another of the files.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pivot.errors import UserError
from pivot.prompt.completion import parse_completion
from pivot.prompt.thinking import strip_thinking
from pivot.trajectory.atomic import atomic_write
from pivot.trajectory.messages import BadRecord, read_text
from pivot.trajectory.records import BadRow, read_records
from pivot.trajectory.rows import from_row, is_cut
from pivot.trajectory.strict_json import BadJson, decode
from pivot.trajectory.types import Action, ToolCall
from pivot.verify.build import Verifiers, build
from pivot.verify.types import ERROR, Context, Verdict

_MOST_SHOWN = 5
_SAME = 1e-6
_WITHOUT_TOOLS = ("terminal",)  # domains whose completions are text and never tool calls


@dataclass(frozen=True, slots=True)
class Stored:
    """One rollout: what the policy did where the expert did something, and the reward that it was given, if any."""

    source: str
    domain: str
    actual: Action
    expected: Action
    context: Context
    reward: float | None


@dataclass(slots=True)
class Tally:
    """What one verifier said of all rollouts.

    Attributes:
        scored: Rollouts that have a verdict.
        total: Sum of their rewards.
        reasons: How often each was given; of errors too.
        errors: Rollouts without a verdict.
        compared: Rollouts that have a stored reward and a verdict.
        agreed: Those whose rewards are the same.
        disagreements: The first of the others: source, stored reward, verdict.
    """

    scored: int = 0
    total: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    compared: int = 0
    agreed: int = 0
    disagreements: list[tuple[str, float, Verdict]] = field(default_factory=list)

    def add(self, stored: Stored, verdict: Verdict) -> None:
        """Count one verdict."""
        self.reasons[verdict.reason] += 1
        if verdict.status == ERROR:
            self.errors += 1
            return
        self.scored += 1
        self.total += verdict.reward
        if stored.reward is None:
            return
        self.compared += 1
        if abs(verdict.reward - stored.reward) <= _SAME:
            self.agreed += 1
        elif len(self.disagreements) < _MOST_SHOWN:
            self.disagreements.append((stored.source, stored.reward, verdict))


def read_stored(paths: Sequence[Path]) -> Iterator[Stored | BadRow]:
    """The rollouts of some files, and rows that cannot be read; rows that only give an expert's action are neither.

    Raises:
        UserError: A file cannot be read.
    """
    experts = _experts(paths)
    for path in paths:
        for record in read_records(path):
            if isinstance(record, BadRow):
                yield record
            elif "response" in record.value or "completion" in record.value:
                try:
                    yield _read(record.value, record.source, experts)
                except BadRecord as error:
                    yield BadRow(error.reason, record.source)


def _experts(paths: Sequence[Path]) -> dict[str, Any]:
    """Expert actions by `uuid`, of the rows that hold no rollout."""
    found = {}
    for path in paths:
        for record in read_records(path):
            if isinstance(record, BadRow) or "response" in record.value or "completion" in record.value:
                continue
            uuid = record.value.get("uuid")
            if isinstance(uuid, str) and is_cut(record.value):
                found[uuid] = {key: record.value.get(key) for key in ("expected_action", "expected_answer")}
    return found


def _read(row: dict[str, Any], source: str, experts: dict[str, Any]) -> Stored:
    uuid = row.get("uuid")
    if not is_cut(row) and isinstance(uuid, str) and uuid in experts:
        row = {**row, **experts[uuid]}
    candidate = from_row(row, source)
    reward = row.get("reward")
    return Stored(
        source=source,
        domain=candidate.domain,
        actual=_actual(row, candidate.domain),
        expected=candidate.expected,
        context=Context(candidate.tools, candidate.messages),
        reward=float(reward) if isinstance(reward, int | float) and not isinstance(reward, bool) else None,
    )


def _actual(row: dict[str, Any], domain: str) -> Action:
    completion = row.get("completion")
    if isinstance(completion, str):
        if domain not in _WITHOUT_TOOLS:
            return parse_completion(completion)
        visible = strip_thinking(completion)
        return Action(completion, malformed="unclosed_think") if visible is None else Action(visible)
    response = row.get("response")
    output = response.get("output") if isinstance(response, dict) else None
    if not isinstance(output, list):
        raise BadRecord("no_action", "neither a `completion` text nor a `response.output` list")
    return action_of_output(output)


def action_of_output(output: Sequence[Any]) -> Action:
    """The action of a response's items: all text and all calls, arguments as they are written.

    Raises:
        BadRecord: An item that is neither reasoning, a message nor a call.
    """
    texts: list[str] = []
    calls: list[ToolCall] = []
    for item in output:
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind == "function_call" and isinstance(item.get("name"), str):
            arguments = item.get("arguments")
            calls.append(ToolCall(item["name"], arguments if isinstance(arguments, str) else json.dumps(arguments)))
        elif kind == "message":
            texts.append(read_text(item.get("content"), "response.output") or "")
        elif kind != "reasoning":
            raise BadRecord("bad_item", "response.output holds an item that is no reasoning, message or call")
    return Action("\n".join(texts) if texts else None, tuple(calls))


def parse_specs(texts: Sequence[str]) -> dict[str, Verifiers]:
    """Verifiers of `--verifier` values: a name, or a JSON object.

    Raises:
        UserError: No such verifier, or broken JSON.
    """
    found = {}
    for text in texts:
        spec: Any = text
        if text.lstrip().startswith("{"):
            try:
                spec = decode(text)
            except BadJson as error:
                raise UserError(f"--verifier {text[:80]!r}: {error.reason}; write a name or a JSON object") from None
        found[text] = Verifiers({}, build(spec, "--verifier"))
    return found


def score(
    rows: Iterable[Stored | BadRow], verifiers: dict[str, Verifiers], out: Path | None
) -> tuple[dict[str, Tally], Counter[str]]:
    """Score every rollout with every verifier.

    Args:
        rows: From `read_stored`.
        verifiers: By the name to show.
        out: Where to write a JSON line a verdict.

    Returns:
        A tally a verifier, and how many rows could not be read, by reason.

    Raises:
        UserError: A domain without a verifier, or `out` cannot be written.
    """
    tallies = {name: Tally() for name in verifiers}
    unread: Counter[str] = Counter()
    try:
        with atomic_write(out) if out else nullcontext() as file:
            for row in rows:
                if isinstance(row, BadRow):
                    unread[row.reason] += 1
                    continue
                for name, chosen in verifiers.items():
                    verdict = chosen.of(row.domain)(row.actual, row.expected, row.context)
                    tallies[name].add(row, verdict)
                    if file:
                        line = {"source": row.source, "verifier": name, "stored_reward": row.reward, **asdict(verdict)}
                        file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    return tallies, unread
