"""Candidate rows on disk -> turns whose history is encoded and fits the context."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pivot import ranks
from pivot.errors import UserError
from pivot.mine.groups import Turn
from pivot.prompt import PromptEncoder, PromptError
from pivot.trajectory import Candidate
from pivot.trajectory.rows import load_candidates


@dataclass(frozen=True, slots=True)
class Encoded:
    """Turns that became prompts, in the order given.

    Attributes:
        turns: Those that fit.
        skipped: How many didn't, by reason (`refused_by_chat_template`, `over_long_history`).
        notes: In how many of `turns` something isn't as it was in the history (docs/data.md lists the notes).
    """

    turns: list[Turn]
    skipped: Counter[str]
    notes: Counter[str]


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


def encode(candidates: Sequence[Candidate], prompts: PromptEncoder, room: int) -> Encoded:
    """Make the prompt of every history; the expert's action has no part in it.

    Args:
        candidates: as read.
        prompts: makes them, by the checkpoint's own chat template.
        room: most tokens a history may have (`PromptEncoder.room`).
    """
    turns, skipped, notes = [], Counter[str](), Counter[str]()
    for candidate in candidates:
        try:
            prompt = prompts.encode(candidate.messages, candidate.tools, room)
        except PromptError as error:
            skipped[error.reason] += 1
        else:
            turns.append(Turn(candidate, prompt.tokens))
            notes.update(prompt.notes)
    return Encoded(turns, skipped, notes)


def read_turns(path: str, limit: int | None, prompts: PromptEncoder, room: int) -> list[Turn]:
    """Turns of a row file for a training program, which says what it could not use.

    Raises:
        UserError: as `read_candidates`, or no history became a prompt.
    """
    encoded = encode(read_candidates(path, limit), prompts, room)
    lost = ", ".join(f"{reason} {count}" for reason, count in sorted(encoded.skipped.items()))
    if not encoded.turns:
        raise UserError(f"{path}: none of its turns can be used ({lost}); raise rollout.max_model_len, or see prompt.*")
    if ranks.rank() == 0:
        notes = ", ".join(f"{note} {count}" for note, count in sorted(encoded.notes.items()))
        parts = [f"{len(encoded.turns)} turns", f"skipped: {lost}" * bool(lost), f"prompts: {notes}" * bool(notes)]
        print(f"{path}: {'; '.join(part for part in parts if part)}", flush=True)
    return encoded.turns
