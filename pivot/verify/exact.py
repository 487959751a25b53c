"""Strict string match: the paper's rejected baseline (eq. 2), needed for its ablation."""

from pivot.prompt.completion import render_action
from pivot.trajectory.types import Action
from pivot.verify.types import MATCH, Context, Verdict, reject

# Arguments that are longer together are compared as they are written, without decoding them first.
_LONGEST = 100_000


def exact(actual: Action, expected: Action, context: Context) -> Verdict:
    """1 when both actions are the same text as a chat template prints them, else 0."""
    if actual.malformed is not None:
        return reject("malformed", actual.malformed)
    if actual == expected:
        return MATCH
    if sum(len(call.arguments) for call in (*actual.calls, *expected.calls)) > _LONGEST:
        return reject("text_mismatch")
    return MATCH if render_action(actual) == render_action(expected) else reject("text_mismatch")
