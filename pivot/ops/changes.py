"""Whether a run goes on with the configuration that made its checkpoints."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pivot.config import Config, from_dictconfig
from pivot.errors import UserError

# Sections and keys that a recipe with checkpoints does not read; a new section binds until it is named here.
UNREAD = {
    "train": ("cluster", "plan", "mine", "supervised", "evaluate", "export", "data.candidates"),
    "sft": ("cluster", "plan", "mine", "rollout", "grpo", "swap", "verify", "evaluate", "export", "data.pivots"),
}
# What says where a run is, and when it saves or gives up, and not what it computes.
FREE = (
    "run.dir",
    "run.name",
    "run.hang_after",
    "train.checkpoint_every",
    "train.checkpoint_async",
    "train.keep_checkpoints",
)


@dataclass(frozen=True, slots=True)
class Change:
    """A key that is no longer what it was."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key} {shown(self.before)} -> {shown(self.after)}"


def check(recipe: str, config: Config, directory: Path) -> None:
    """Refuse to go on from checkpoints that another configuration made.

    Args:
        recipe: the program.
        config: what it is to run with.
        directory: of the run.

    Raises:
        UserError: naming every key that differs, with both values.
    """
    saved = directory / f"{recipe}.yaml"
    if recipe not in UNREAD or not saved.is_file() or not any((directory / "checkpoints").glob("step-*")):
        return
    try:
        before = from_dictconfig(OmegaConf.load(saved))  # type: ignore[arg-type]
    except UserError as error:
        raise UserError(f"{saved} made the checkpoints of {directory} and cannot be read any more ({error}); "
                        "go on with --accept, or start anew in another run.dir") from None  # fmt: skip
    found = changes(recipe, before, config)
    if found:
        raise UserError(f"{directory} has checkpoints of another configuration: {'; '.join(map(str, found))}; "
                        "go on with --accept, or start anew in another run.dir")  # fmt: skip


def changes(recipe: str, before: Config, after: Config) -> list[Change]:
    """Keys that `recipe` reads whose difference changes what it computes."""
    old, new = dict(leaves(dataclasses.asdict(before))), dict(leaves(dataclasses.asdict(after)))
    found = []
    for key in dict.fromkeys([*old, *new]):
        change = Change(key, old.get(key), new.get(key))
        unread = any(key == name or key.startswith(f"{name}.") for name in UNREAD[recipe])
        if change.before == change.after or key in FREE or unread:
            continue
        if not goes_on(recipe, change, after.optimizer.schedule):
            found.append(change)
    return found


def goes_on(recipe: str, change: Change, schedule: str | None) -> bool:
    """Whether only the end moves away: more steps, where the learning rate does not look at the end."""
    constant = schedule == "constant" or (schedule is None and recipe == "train")
    return change.key == "train.steps" and recipe == "train" and constant and change.after > change.before


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; lists are values."""
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def shown(value: Any) -> str:
    """A value as YAML has it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
