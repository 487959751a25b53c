"""What can be checked before ranks start: missing files by the key that names them, the arithmetic of the layout."""

from pathlib import Path

from pivot.config import Config
from pivot.errors import UserError
from pivot.layout import layout
from pivot.rollout import placement
from pivot.verify import build_verifiers

SAMPLING = ("mine", "train", "evaluate")  # recipes with engines on the ranks
SHARDED = ("train", "sft", "export")  # recipes whose policy is spread over the ranks
DATA_KEYS = {"mine": ("data.candidates",), "train": ("data.pivots",)}


def check(recipe: str, config: Config) -> None:
    """Refuse a run whose inputs are not there or whose layout does not fit its ranks.

    Raises:
        UserError: naming the key, the path and the fix.
    """
    if recipe == "evaluate":
        for name, path in config.evaluate.models.items():
            checkpoint(f"evaluate.models.{name}", path)
    else:
        checkpoint("model.path", config.model.path)
    check_layout(recipe, config)
    wanted = dict.fromkeys(DATA_KEYS.get(recipe, ()))
    if recipe == "sft" and config.supervised.data == "candidates":
        wanted["data.candidates"] = None
    if recipe == "train" and config.data.validation:
        wanted["data.validation"] = None
    values = {
        "data.candidates": config.data.candidates,
        "data.pivots": config.data.pivots,
        "data.validation": config.data.validation,
    }
    for key in wanted:
        if not Path(str(values[key])).is_file():
            maker = "`pivot mine`" if key == "data.pivots" else "`pivot convert`"
            raise UserError(f"{key}={values[key]}: no such file; make it with {maker}, or set {key}")


def check_layout(recipe: str, config: Config) -> None:
    """Refuse what is wrong whatever files there are: verifiers, and a layout that does not fit its ranks.

    Raises:
        UserError: naming the key and the fix.
    """
    if recipe in DATA_KEYS:
        build_verifiers(config.verify.name, config.verify.domains)  # a mistake in their names is said at once
    if recipe in SHARDED:
        layout(config.parallel).check(config.parallel.ranks)
    if recipe in SAMPLING and not (recipe == "evaluate" and config.evaluate.server):
        rollout = config.rollout
        placement.check(config.parallel.ranks, tensor=rollout.tensor, expert_parallel=rollout.expert_parallel)


def checkpoint(key: str, path: str) -> None:
    """A Hugging Face checkpoint directory: configuration, weights, tokenizer."""
    directory = Path(path)
    if not directory.is_dir():
        raise UserError(f"{key}={path}: no such directory; set {key} to a Hugging Face checkpoint")
    if not (directory / "config.json").is_file():
        raise UserError(f"{key}={path}: config.json is missing; set {key} to a Hugging Face checkpoint")
    if not any(directory.glob("*.safetensors")):
        raise UserError(f"{key}={path}: no *.safetensors here; only safetensors weights are read (no pickles)")
