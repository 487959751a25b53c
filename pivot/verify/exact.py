"""Strict string match: the paper's rejected baseline (eq. 2), needed for its ablation."""

from collections.abc import Sequence

from pivot.prompt.completion import render_action
from pivot.trajectory.types import Action, Tool
from pivot.verify.types import MATCH, Verdict, reject


def exact(actual: Action, expected: Action, tools: Sequence[Tool]) -> Verdict:
    """1 when both actions are the same text as a chat template prints them, else 0."""
    if actual.malformed is not None:
        return reject("malformed", actual.malformed)
    return MATCH if render_action(actual) == render_action(expected) else reject("text_mismatch")
