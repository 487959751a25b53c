"""The schema of every configuration: frozen dataclasses, composed by Hydra, checked by OmegaConf.

`conf/pivotrl.yaml` documents each key. A key that this schema does not have is an error that names the key and the
nearest one that exists; nothing accepts arbitrary keys.
"""

import dataclasses
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from pivot.errors import UserError
from pivot.grpo.options import rules as grpo_rules
from pivot.mine.select import PRESETS
from pivot.precision import Precision
from pivot.precision import rules as precision_rules
from pivot.swap_options import SwapSection
from pivot.swap_options import rules as swap_rules
from pivot.train.options import OptimizerSection
from pivot.train.options import rules as optimizer_rules

REPLACED = "verify.domains."  # a verifier replaces another, it is not merged into it
FREE = ("evaluate.models.", REPLACED)  # mappings whose keys are the user's own
CONF_DIR = Path(__file__).resolve().parent.parent / "conf"


@dataclass(frozen=True, slots=True)
class RunSection:
    name: str = "pivotrl"
    dir: str = "runs/pivotrl"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ModelSection:
    path: str = "pivot/world/tiny-moe"
    dtype: str = "float32"
    freeze_router: bool = True
    router_aux_loss: float = 0.0


@dataclass(frozen=True, slots=True)
class ParallelSection:
    ranks: int = 2
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    expert_tensor: int = 1
    context: int = 1
    virtual_pipeline: int | None = None
    sequence: bool | None = None
    recompute: str | None = None


@dataclass(frozen=True, slots=True)
class DataSection:
    candidates: str = "data/candidates.jsonl"
    pivots: str = "data/pivots.jsonl"
    validation: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class RolloutSection:
    tensor: int = 1
    expert_parallel: bool = False
    sleep_level: int = 1
    max_model_len: int = 1024
    max_num_seqs: int = 64
    kv_cache_mb: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 96


@dataclass(frozen=True, slots=True)
class PromptSection:
    tool_parser: str = "hermes"
    thinking: str = "keep"
    over_long: str = "skip"


@dataclass(frozen=True, slots=True)
class VerifySection:
    name: str | None = None
    domains: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MineSection:
    store: str = "data/mine"
    shard: str | None = None
    stale: str = "refuse"
    group_size: int = 8
    wave: int = 32
    waves: list[int] | None = None
    error_rate: float = 0.0
    prior: float = 0.5
    select: str = "paper"
    require_variance: bool | None = None
    max_mean: float | None = None
    per_trajectory: int | None = None
    message_share: float | None = None
    domain_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class GrpoSection:
    advantage: str = "group"
    malformed_advantage: float | None = None
    reduction: str = "token"
    mask_over_long: bool = False
    router_replay: bool = False
    clip_low: float = 0.2
    clip_high: float = 0.2
    clip_dual: float | None = None
    entropy: float = 0.0
    kl_coefficient: float = 0.0
    kl_estimator: str = "k3"
    kl_in: str = "loss"
    old_logprobs: str = "policy"
    mismatch: str = "token_tis"
    mismatch_cap: float = 5.0
    icepop_low: float = 0.5
    icepop_high: float = 5.0
    sequence_threshold: float | None = None


@dataclass(frozen=True, slots=True)
class TrainSection:
    steps: int = 30
    prompts_per_step: int = 8
    refill: float = 0.0
    early_stop: bool = False
    group_size: int = 8
    micro_batch_tokens: int = 8192
    shared_prefix: bool = True
    validate_every: int = 10
    validation_pivots: int = 32
    validation_samples: int = 4
    checkpoint_every: int = 10
    checkpoint_async: bool = True
    keep_checkpoints: int = 2
    keep_best: str | None = "validation/reward_mean"
    kl_every: int = 5
    probe_every: int = 1
    probe_sequences: int = 4
    probe_limit: float = 1e-3


@dataclass(frozen=True, slots=True)
class SupervisedSection:
    data: str = "corpus"
    steps: int = 2000
    tokens_per_step: int = 4096


@dataclass(frozen=True, slots=True)
class EvaluateSection:
    models: dict[str, str] = field(default_factory=dict)
    server: str | None = None
    out: str = "runs/pivotrl/evaluation.json"
    tasks: int = 100
    questions: int = 200
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    max_turns: int = 10


@dataclass(frozen=True, slots=True)
class ExportSection:
    checkpoint: str | None = None
    out: str = "runs/pivotrl/hf"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a recipe reads. One section a room; a room is given its values, never this object."""

    run: RunSection = field(default_factory=RunSection)
    model: ModelSection = field(default_factory=ModelSection)
    parallel: ParallelSection = field(default_factory=ParallelSection)
    precision: Precision = field(default_factory=Precision)
    data: DataSection = field(default_factory=DataSection)
    rollout: RolloutSection = field(default_factory=RolloutSection)
    prompt: PromptSection = field(default_factory=PromptSection)
    verify: VerifySection = field(default_factory=VerifySection)
    mine: MineSection = field(default_factory=MineSection)
    grpo: GrpoSection = field(default_factory=GrpoSection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    swap: SwapSection = field(default_factory=SwapSection)
    train: TrainSection = field(default_factory=TrainSection)
    supervised: SupervisedSection = field(default_factory=SupervisedSection)
    evaluate: EvaluateSection = field(default_factory=EvaluateSection)
    export: ExportSection = field(default_factory=ExportSection)


def all_keys(node: Any = None, prefix: str = "") -> list[str]:
    """Every dotted key of the schema, for documentation, tests and the nearest-key hint."""
    keys = []
    for item in dataclasses.fields(Config if node is None else node):
        name = f"{prefix}{item.name}"
        if dataclasses.is_dataclass(item.type):
            keys += all_keys(item.type, f"{name}.")
        else:
            keys.append(name)
    return keys


def unknown_key(key: str) -> UserError:
    """The error for a key that the schema lacks, with the nearest one that exists."""
    near = difflib.get_close_matches(key, all_keys(), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    return UserError(f"unknown configuration key '{key}'{hint} (conf/pivotrl.yaml documents every key)")


def schema() -> DictConfig:
    """The dataclasses as an OmegaConf schema. OmegaConf makes frozen ones read-only; merging has to write."""
    structured = OmegaConf.structured(Config)
    OmegaConf.set_readonly(structured, None)
    for section in structured:
        OmegaConf.set_readonly(structured[section], None)
    return structured


def from_dictconfig(raw: DictConfig) -> Config:
    """Check a composed configuration against the schema.

    Raises:
        UserError: an unknown key, a missing value or a value of the wrong type, named.
    """
    try:
        merged = OmegaConf.merge(schema(), raw)
        config = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        raise unknown_key(str(error.full_key)) from None
    except OmegaConfBaseException as error:
        raise UserError(f"configuration key '{error.full_key}': {str(error.msg).splitlines()[0]}") from None
    assert isinstance(config, Config)
    check(config)
    return config


def check(config: Config) -> None:
    """Refuse values that no room could use, before anything heavy is imported."""
    rules: list[tuple[str, Any, bool, str]] = [
        ("model.dtype", config.model.dtype, config.model.dtype in ("float32", "bfloat16"), "float32 or bfloat16"),
        *model_rules(config.model, config.parallel),
        ("mine.group_size", config.mine.group_size, config.mine.group_size >= 2, "at least 2"),
        ("train.group_size", config.train.group_size, config.train.group_size >= 2, "at least 2"),
        *mining_rules(config.mine),
        ("train.steps", config.train.steps, config.train.steps >= 1, "at least 1"),
        ("train.refill", config.train.refill, config.train.refill >= 0, "0 (none) or positive"),
        ("train.early_stop", config.train.early_stop, not config.train.early_stop or config.train.refill > 0,
         "false with train.refill=0: there is nothing to give up"),
        ("train.early_stop", config.train.early_stop, not config.train.early_stop or config.rollout.tensor == 1,
         "false with rollout.tensor above 1: the ranks of an engine have to stop together"),
        ("train.checkpoint_every", config.train.checkpoint_every, config.train.checkpoint_every >= 1, "at least 1"),
        ("train.keep_checkpoints", config.train.keep_checkpoints, config.train.keep_checkpoints >= 1, "at least 1"),
        ("train.keep_best", config.train.keep_best, config.train.keep_best is None or
         bool(config.train.keep_best.removeprefix("-").strip()), "null or the name of a metric"),
        ("parallel.ranks", config.parallel.ranks, config.parallel.ranks >= 1, "at least 1"),
        ("rollout.sleep_level", config.rollout.sleep_level, config.rollout.sleep_level in (0, 1, 2), "0, 1 or 2"),
        ("rollout.temperature", config.rollout.temperature, config.rollout.temperature > 0, "greater than 0"),
        ("rollout.top_p", config.rollout.top_p, config.rollout.top_p == 1.0,
         "1.0 (a truncated distribution has no exact logprob in training)"),
        ("prompt.thinking", config.prompt.thinking, config.prompt.thinking in ("keep", "strip", "last"),
         "keep, strip or last"),
        ("prompt.over_long", config.prompt.over_long, config.prompt.over_long in ("skip", "truncate"),
         "skip or truncate"),
        ("evaluate.server", config.evaluate.server, config.evaluate.server in (None, "start") or
         str(config.evaluate.server).startswith(("http://", "https://")), "null, start or an http(s) address"),
        *grpo_rules(dataclasses.asdict(config.grpo)),
        *optimizer_rules(config.optimizer),
        *precision_rules(config.precision, config.model.dtype),
        *swap_rules(config.swap),
        ("supervised.data", config.supervised.data, config.supervised.data in ("corpus", "candidates"),
         "corpus or candidates"),
    ]  # fmt: skip
    for key, value, ok, wanted in rules:
        if not ok:
            raise UserError(f"configuration key '{key}' is {value!r}: it must be {wanted}")


def model_rules(model: ModelSection, parallel: ParallelSection) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of how the policy is built and spread."""
    return [
        ("model.router_aux_loss", model.router_aux_loss, model.router_aux_loss >= 0, "0 (none) or positive"),
        ("model.router_aux_loss", model.router_aux_loss, not (model.router_aux_loss and model.freeze_router),
         "0 while model.freeze_router is true: it would train nothing but what feeds the frozen router"),
        ("parallel.recompute", parallel.recompute, parallel.recompute in (None, "selective", "full"),
         "null, selective or full"),
    ]  # fmt: skip


def mining_rules(mine: MineSection) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of the mining section."""
    waves = mine.waves or [mine.group_size]
    return [
        ("mine.stale", mine.stale, mine.stale in ("refuse", "redo"), "refuse or redo"),
        ("mine.wave", mine.wave, mine.wave >= 1, "at least 1"),
        ("mine.waves", mine.waves, min(waves) >= 1 and sum(waves) == mine.group_size,
         f"null, or positive numbers that add up to mine.group_size ({mine.group_size})"),
        ("mine.error_rate", mine.error_rate, 0 <= mine.error_rate < 1, "at least 0 and below 1"),
        ("mine.prior", mine.prior, mine.prior > 0, "greater than 0"),
        ("mine.select", mine.select, mine.select in PRESETS, f"one of {', '.join(PRESETS)}"),
        ("mine.per_trajectory", mine.per_trajectory, mine.per_trajectory is None or mine.per_trajectory >= 1,
         "null or at least 1"),
        ("mine.message_share", mine.message_share, mine.message_share is None or 0 <= mine.message_share <= 1,
         "null or a share from 0 to 1"),
        ("mine.domain_ratio", mine.domain_ratio, mine.domain_ratio is None or mine.domain_ratio >= 1,
         "null or at least 1"),
    ]  # fmt: skip


def compose(recipe: str | None, overrides: list[str]) -> DictConfig:
    """Compose `conf/pivotrl.yaml`, a recipe file on top of it, and `key=value` overrides, with Hydra.

    Args:
        recipe: a file name under `conf/recipes` without suffix, a path to a YAML file, or None for the base alone.
        overrides: Hydra overrides such as `train.steps=20`; `grpo=swe` sets all that `conf/grpo/swe.yaml` says, on
            top of the recipe and under the other overrides.

    Raises:
        UserError: no such recipe, or an override of a key that does not exist.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import ConfigCompositionException, HydraException

    directory, name = CONF_DIR, "pivotrl"
    if recipe and (path := Path(recipe)).suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{path}: no such configuration file (give a file, or one of {', '.join(recipes())})")
        directory, name = path.resolve().parent, path.stem
    elif recipe:
        if recipe not in recipes():
            raise UserError(f"no recipe '{recipe}' in conf/recipes: there are {', '.join(recipes())}")
        directory, name = CONF_DIR / "recipes", recipe
    written, replaced = [f"hydra.searchpath=[file://{CONF_DIR}]"], []
    for override in overrides:
        key = override.split("=", 1)[0].lstrip("+~")
        if "=" not in override:
            raise UserError(f"'{override}' is no override: write key=value, for example train.steps=20")
        if key == "grpo":
            written.append(f"+{preset(override)}")
            continue
        free = key.startswith(FREE)
        if key not in all_keys() and not free:
            raise unknown_key(key)
        if key.startswith(REPLACED):
            replaced.append(override.lstrip("+"))
        else:
            written.append(f"++{override.lstrip('+')}" if free else override)
    try:
        with initialize_config_dir(str(directory), version_base="1.3"):
            composed = hydra_compose(name, overrides=written)
            with open_dict(composed):
                for parsed in OverridesParser.create().parse_overrides(replaced):
                    OmegaConf.update(composed, parsed.key_or_group, parsed.value(), merge=False)
            return composed
    except (ConfigCompositionException, HydraException, OmegaConfBaseException) as error:
        raise UserError(f"cannot compose {recipe or 'conf/pivotrl.yaml'}: {str(error).splitlines()[0]}") from None


def preset(override: str) -> str:
    """`grpo=name`, refused where there is no such file."""
    known = sorted(path.stem for path in (CONF_DIR / "grpo").glob("*.yaml"))
    if override.split("=", 1)[1] not in known:
        raise UserError(f"'{override}': the presets in conf/grpo are {', '.join(known)}")
    return override.lstrip("+")


def recipes() -> list[str]:
    """Names of the recipe files that ship with the project."""
    return sorted(path.stem for path in (CONF_DIR / "recipes").glob("*.yaml"))


def load(recipe: str | None, overrides: list[str]) -> Config:
    """`compose`, then check against the schema."""
    return from_dictconfig(compose(recipe, overrides))


def save(config: Config, path: Path) -> None:
    """Write the resolved configuration, so that a run directory says what made it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
