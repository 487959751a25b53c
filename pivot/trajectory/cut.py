"""Cut a trajectory at every assistant turn."""

from collections.abc import Iterator

from pivot.trajectory.identity import HistoryHash
from pivot.trajectory.messages import action_of
from pivot.trajectory.strict_json import BadJson, decode_object
from pivot.trajectory.types import Action, Candidate, Skip, Trajectory


def why_unusable(action: Action) -> str | None:
    """Why an expert action can be no target (`empty_action`, `missing_name`, `broken_arguments`), or None."""
    if not action.calls:
        return None if (action.content or "").strip() else "empty_action"
    for call in action.calls:
        if not call.name:
            return "missing_name"
        try:
            decode_object(call.arguments)
        except BadJson:
            return "broken_arguments"
    return None


def candidates(trajectory: Trajectory) -> Iterator[Candidate | Skip]:
    """Yield exactly one `Candidate` or `Skip` for every assistant turn, in order.

    A turn without any message before it (`no_history`) gives the policy nothing to act on; a system message
    is enough. A turn that is skipped stays in the history of later turns, for the expert went on from it.
    """
    messages = trajectory.messages
    turns = sum(message["role"] == "assistant" for message in messages)
    history = HistoryHash(trajectory.tools)
    turn = 0
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            expected = action_of(message)
            reason = trajectory.not_expert.get(index) or ("no_history" if index == 0 else why_unusable(expected))
            if reason is not None:
                yield Skip(reason, trajectory.source, turn)
            else:
                yield Candidate(
                    candidate_id=history.candidate_id(expected),
                    trajectory_id=trajectory.trajectory_id,
                    turn=turn,
                    turns=turns,
                    messages=messages[:index],
                    tools=trajectory.tools,
                    expected=expected,
                    domain=trajectory.domain,
                    success=trajectory.success,
                    source=trajectory.source,
                    task_id=trajectory.task_id,
                )
            turn += 1
        history.add(message)
