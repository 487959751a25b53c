"""Tool calls: would these calls do what the expert's did?

Two ways of comparing arguments: `schema`, our default, reads the tool's JSON schema; `gym` is NeMo-Gym's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pivot.trajectory.strict_json import BadJson, decode, decode_object
from pivot.trajectory.types import Action, ToolCall
from pivot.verify import gym
from pivot.verify.arguments import Difference, Relaxations, compare
from pivot.verify.matching import COVERED, Parallel, match
from pivot.verify.schema import arguments_schema
from pivot.verify.types import MATCH, UNDECIDED, Context, Decide, Verdict, reject

SCHEMA, GYM = "schema", "gym"
# Longer arguments are only compared as they are written; see `_too_long`.
_LONGEST = 200_000
_LONGEST_UNLIKE, _LONGEST_FACTOR = 16_384, 12
_MOST_CALLS = 128
_CUT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallOptions(Relaxations, Parallel):
    """Switches of `tool_call`; those of `Relaxations` are for `arguments: schema`.

    Attributes:
        arguments: `schema` or `gym`.
        word_overlap: `gym` only: least overlap of texts of two words or more; the same text has 0.5.
    """

    arguments: str = SCHEMA
    word_overlap: float = 0.1

    def __post_init__(self) -> None:
        Relaxations.__post_init__(self)
        Parallel.__post_init__(self)
        if self.arguments not in (SCHEMA, GYM):
            raise ValueError(f"arguments must be {SCHEMA} or {GYM}")
        if not 0.0 <= self.word_overlap <= 1.0:
            raise ValueError("word_overlap must be from 0 to 1")


PRESETS = {SCHEMA: ToolCallOptions(), GYM: ToolCallOptions(arguments=GYM, parallel=COVERED)}
