"""Candidate rows on disk -> turns whose history is encoded and fits the context."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pivot.errors import UserError
from pivot.mine.groups import Turn
from pivot.prompt import PromptError, encode_prompt
from pivot.trajectory import Candidate
from pivot.trajectory.rows import load_candidates


@dataclass(frozen=True, slots=True)
class Encoded:
    """Turns that fit, in the order given, and how many did not, by reason."""

    turns: list[Turn]
    skipped: Counter[str]


def read_candidates(path: str, limit: int | None) -> list[Candidate]:
    """Candidates of a file that `pivot convert` or `pivot mine` wrote.

    Raises:
        UserError: no such file, no rows, or a row that is not of the contract (file:line).
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; make it with `pivot convert TRAJECTORIES --out DIR` or `pivot mine`")
    candidates = list(islice(load_candidates(Path(path)), limit))
    if not candidates:
        raise UserError(f"{path}: no rows in it; nothing was kept when it was made")
    return candidates


def encode(candidates: Sequence[Candidate], tokenizer: Any, room: int) -> Encoded:
    """Encode every history with the checkpoint's own chat template.

    Args:
        candidates: as read.
        tokenizer: the checkpoint's tokenizer, with a chat template.
        room: most tokens a history may have, so that the engine can add at least one.
    """
    turns, skipped = [], Counter[str]()
    for candidate in candidates:
        try:
            prompt = encode_prompt(tokenizer, candidate.messages, candidate.tools)
        except PromptError:
            skipped["refused_by_chat_template"] += 1
            continue
        if len(prompt) > room:
            skipped["over_long_history"] += 1
        else:
            turns.append(Turn(candidate, tuple(prompt)))
    return Encoded(turns, skipped)
