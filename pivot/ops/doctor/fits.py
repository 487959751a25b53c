"""Layout and sizes: what arithmetic can say of a recipe on so many ranks, by the rules that the programs use."""

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pivot.config import Config, RolloutSection
from pivot.errors import UserError
from pivot.layout import layout
from pivot.ops.doctor.facts import Import
from pivot.ops.doctor.machine import size
from pivot.ops.doctor.row import Row, Status
from pivot.preflight import SAMPLING, SHARDED
from pivot.preflight import check as preflight
from pivot.rollout import placement
from pivot.trajectory.rows import load_candidates

FIRST_ROWS = 32


def check(program: str, config: Config, world: int, model: Mapping[str, Any]) -> list[Row]:
    """The layout of policy and engines, and the engine's sizes.

    Args:
        program: that is to run, as "train".
        config: of it.
        world: ranks on all nodes.
        model: its config.json; empty when it cannot be read.
    """
    rows, rollout = [], config.rollout
    if program in SHARDED:
        cut = layout(config.parallel)
        rows.append(_rule("layout.policy", lambda: cut.check(world), f"{world} ranks: tensor {cut.tensor}, pipeline "
                          f"{cut.pipeline}, context {cut.context}, expert {cut.expert}"))  # fmt: skip
    if program in SAMPLING:
        tensor, experts = rollout.tensor, rollout.expert_parallel
        rows += [
            _rule("layout.engine", lambda: placement.check(world, tensor=tensor, expert_parallel=experts),
                  f"{world // max(tensor, 1)} engines of {tensor} ranks"),
            check_context(rollout, model),
            check_cache(rollout, model, config.model.dtype),
        ]  # fmt: skip
    return rows


def _rule(name: str, rule: Callable[[], None], found: str) -> Row:
    try:
        rule()
    except UserError as error:
        return Row.mistake(name, error)
    return Row.green(name, found)


def check_context(rollout: RolloutSection, model: Mapping[str, Any]) -> Row:
    """History and action in the model's context."""
    name, most = "layout.context", model.get("max_position_embeddings")
    found = f"{rollout.max_model_len:,} tokens, {rollout.max_tokens:,} of them for an action"
    if rollout.max_tokens >= rollout.max_model_len:
        return Row.yellow(name, f"{found}: the context cuts actions off first", "raise rollout.max_model_len")
    if isinstance(most, int) and rollout.max_model_len > most:
        return Row.red(name, f"{found}; the model has {most:,} positions", f"rollout.max_model_len={most}")
    return Row.green(name, found)


def check_cache(rollout: RolloutSection, model: Mapping[str, Any], dtype: str) -> Row:
    """The KV cache holds at least one whole context, or vLLM refuses to start."""
    name, given = "layout.kv-cache", rollout.kv_cache_mb << 20
    token = kv_bytes(model, dtype, rollout.tensor)
    if not token:
        return Row.grey(name, f"{size(given)}; the model's config.json does not say what a token takes")
    held, fix = given // token, f"rollout.kv_cache_mb={-(-token * rollout.max_model_len >> 20) + 1}"
    found = f"{size(given)} a rank hold {held:,} tokens, {held / rollout.max_model_len:.1f} whole contexts"
    if held < rollout.max_model_len:
        return Row.red(name, found, fix)
    return Row.green(name, found)


def kv_bytes(model: Mapping[str, Any], dtype: str, tensor: int = 1) -> int:
    """Bytes that a rank holds of one token's keys and values in all layers; 0: config.json does not say."""
    layers, heads, hidden = (model.get(k) for k in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    if not all(isinstance(value, int) and value for value in (layers, heads, hidden)):
        return 0
    assert isinstance(layers, int)
    assert isinstance(heads, int)
    assert isinstance(hidden, int)
    groups = max(1, (model.get("num_key_value_heads") or heads) // max(tensor, 1))
    head = model.get("head_dim") or hidden // heads
    return int(2 * layers * groups * head * (4 if dtype == "float32" else 2))


def data_file(program: str, config: Config) -> tuple[str, str] | None:
    """Key and path of the rows that a program reads first."""
    if program == "train":
        return "data.pivots", config.data.pivots
    if program == "mine" or (program == "sft" and config.supervised.data == "candidates"):
        return "data.candidates", config.data.candidates
    return None


def check_data(key: str, path: str) -> Row:
    """The file's first rows, by the reader that the program uses."""
    name = "data.rows"
    if not Path(path).is_file():
        maker = "pivot mine" if key == "data.pivots" else "pivot convert"
        return Row.red(name, f"{key}={path}: no such file here", f"make it with `{maker}`, or set {key}")
    try:
        rows = sum(1 for _ in islice(load_candidates(Path(path)), FIRST_ROWS))
    except UserError as error:
        return Row.mistake(name, error)
    return Row.green(name, f"{path}: the first {rows} rows can be read")


def check_model(found: Import) -> list[Row]:
    """Whether the policy can be built of the model and cut as asked, by the probe that imported it."""
    said, name = found.said or {}, "model.layout"
    if "mistake" in said:
        return [Row.mistake(name, str(said["mistake"]))]
    if "family" in said:
        return [Row.yellow(name, str(said["family"]), "pip install megatron-bridge, or use a family of its first row")]
    return [Row.green(name, f"can be cut so: {said['fits']}")] if "fits" in said else []


def check_prompts(found: Import) -> list[Row]:
    """Tokenizer, chat template, and the first rows as prompts."""
    said = found.said or {}
    if "mistake" in said:
        return [Row.mistake("model.tokenizer", str(said["mistake"]))]
    if "vocabulary" not in said:
        return []
    rows = [Row.green("model.tokenizer", f"{said['vocabulary']:,} tokens, and a chat template")]
    if "data_mistake" in said:
        rows.append(Row.mistake("data.prompts", str(said["data_mistake"])))
    elif said.get("rows"):
        rows.append(_prompts(said))
    return rows


def _prompts(said: Mapping[str, Any]) -> Row:
    name, count, lost = "data.prompts", said["rows"], said["lost"]
    reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(lost.items()))
    usable = count - sum(lost.values())
    found = f"{usable} of the first {count} histories fit, the longest has {said['longest']:,} tokens"
    more = "raise rollout.max_model_len, or prompt.over_long=truncate"
    if not usable:
        return Row.red(name, f"none of the first {count} histories can be used ({reasons})", more)
    if 2 * usable < count:
        return Row.yellow(name, f"{found} ({reasons})", more)
    return Row.green(name, found + (f" ({reasons})" if reasons else ""))


def check_parser(found: Import) -> list[Row]:
    """The reader of tool calls."""
    said = found.said or {}
    if "mistake" in said:
        return [Row.mistake("prompt.tool-parser", str(said["mistake"]))]
    return [Row.green("prompt.tool-parser", str(said["parser"]))] if "parser" in said else []


def check_start(program: str, config: Config, known: list[Row]) -> list[Row]:
    """What `pivot PROGRAM` itself checks before it starts ranks, if no row says it already."""
    try:
        preflight(program, config)
    except UserError as error:
        row = Row.mistake("start.preflight", error)
        red = [other.found for other in known if other.status is Status.RED]
        return [] if any(found.startswith(row.found) for found in red) else [row]
    return [Row.green("start.preflight", f"what `pivot {program}` checks before it starts ranks")]
