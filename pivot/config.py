"""The schema of every configuration: frozen dataclasses, composed by Hydra, checked by OmegaConf.

`conf/pivotrl.yaml` documents each key. A key that this schema does not have is an error that names the key and the
nearest one that exists; nothing accepts arbitrary keys.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from pivot.cluster_options import ClusterSection
from pivot.cluster_options import rules as cluster_rules
from pivot.errors import UserError
from pivot.grpo.options import rules as grpo_rules
from pivot.mine.options import MineSection
from pivot.mine.options import rules as mine_rules
from pivot.ops.plan.options import PlanSection
from pivot.ops.plan.options import rules as plan_rules
from pivot.precision import Precision
from pivot.precision import rules as precision_rules
from pivot.swap_options import SwapSection
from pivot.swap_options import rules as swap_rules
from pivot.train.options import OptimizerSection, TrainSection, optimizer_rules, train_rules

REPLACED = "verify.domains."  # a verifier replaces another, it is not merged into it
FREE = ("evaluate.models.", "cluster.env.", REPLACED)  # mappings whose keys are the user's own
GROUPS = ("grpo", "cluster")  # folders of conf whose files are chosen with group=name
CONF_DIR = Path(__file__).resolve().parent.parent / "conf"


@dataclass(frozen=True, slots=True)
class RunSection:
    name: str = "pivotrl"
    dir: str = "runs/pivotrl"
    seed: int = 0
    hang_after: float | None = 1800.0


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
    cuda_graphs: bool = False
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
    cluster: ClusterSection = field(default_factory=ClusterSection)
    plan: PlanSection = field(default_factory=PlanSection)


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
        *mine_rules(config.mine),
        ("train.early_stop", config.train.early_stop, not config.train.early_stop or config.rollout.tensor == 1,
         "false with rollout.tensor above 1: the ranks of an engine have to stop together"),
        *train_rules(config.train),
        *reuse_rules(config.train.partial_reuse, config.grpo),
        ("parallel.ranks", config.parallel.ranks, config.parallel.ranks >= 1, "at least 1"),
        ("run.hang_after", config.run.hang_after, config.run.hang_after is None or config.run.hang_after > 0,
         "null (never) or a positive number of seconds"),
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
        ("evaluate.server", config.evaluate.server, config.evaluate.server in (None, "start") or
         len(config.evaluate.models) < 2, "null or start with several evaluate.models: an address serves one of them"),
        *grpo_rules(dataclasses.asdict(config.grpo)),
        *optimizer_rules(config.optimizer),
        *precision_rules(config.precision, config.model.dtype),
        *swap_rules(config.swap),
        *cluster_rules(config.cluster),
        *plan_rules(config.plan),
        ("supervised.data", config.supervised.data, config.supervised.data in ("corpus", "candidates"),
         "corpus or candidates"),
    ]  # fmt: skip
    for key, value, ok, wanted in rules:
        if not ok:
            raise UserError(f"configuration key '{key}' is {value!r}: it must be {wanted}")


def reuse_rules(steps: int, grpo: GrpoSection) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of training on tokens of older weights."""
    corrected = grpo.mismatch != "none" or grpo.old_logprobs == "engine"
    return [
        ("train.partial_reuse", steps, not steps or corrected,
         "0 with grpo.mismatch=none: nothing would correct for the weights having moved on"),
        ("train.partial_reuse", steps, not (steps and grpo.router_replay),
         "0 with grpo.router_replay=true: the routes of older tokens are not kept"),
    ]  # fmt: skip


def model_rules(model: ModelSection, parallel: ParallelSection) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of how the policy is built and spread."""
    return [
        ("model.router_aux_loss", model.router_aux_loss, model.router_aux_loss >= 0, "0 (none) or positive"),
        ("model.router_aux_loss", model.router_aux_loss, not (model.router_aux_loss and model.freeze_router),
         "0 while model.freeze_router is true: it would train nothing but what feeds the frozen router"),
        ("parallel.recompute", parallel.recompute, parallel.recompute in (None, "selective", "full"),
         "null, selective or full"),
    ]  # fmt: skip


def compose(recipe: str | None, overrides: list[str]) -> DictConfig:
    """Compose `conf/pivotrl.yaml`, a recipe file on top of it, and `key=value` overrides, with Hydra.

    Args:
        recipe: a file name under `conf/recipes` without suffix, a path to a YAML file, or None for the base alone.
        overrides: Hydra overrides such as `train.steps=20`; `grpo=swe` sets all that `conf/grpo/swe.yaml` says, and
            `cluster=…` a file of `conf/cluster`, on top of the recipe and under the other overrides.

    Raises:
        UserError: no such recipe, or an override of a key that does not exist.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
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
        key = key_of(override)
        if key in GROUPS:
            written.append(f"+{preset(override)}")
        elif key.startswith(REPLACED):
            replaced.append(override)
        else:
            written.append(f"++{override.lstrip('+')}" if key.startswith(FREE) else override)
    try:
        with initialize_config_dir(str(directory), version_base="1.3"):
            return updated(hydra_compose(name, overrides=written), replaced)
    except (ConfigCompositionException, HydraException, OmegaConfBaseException) as error:
        raise UserError(f"cannot compose {recipe or 'conf/pivotrl.yaml'}: {str(error).splitlines()[0]}") from None


def overridden(raw: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A configuration with single keys changed, as `compose` changes them.

    Raises:
        UserError: no override, or of a key that does not exist.
    """
    for override in overrides:
        key_of(override)
    return updated(raw, overrides)


def key_of(override: str) -> str:
    """The key that an override changes.

    Raises:
        UserError: it is no override, or there is no such key.
    """
    key = override.split("=", 1)[0].lstrip("+~")
    if "=" not in override:
        raise UserError(f"'{override}' is no override: write key=value, for example train.steps=20")
    if key not in (*all_keys(), *GROUPS) and not key.startswith(FREE):
        raise unknown_key(key)
    return key


def updated(raw: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Values replaced, parsed as Hydra parses them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with open_dict(raw):
        for parsed in OverridesParser.create().parse_overrides([each.lstrip("+") for each in overrides]):
            OmegaConf.update(raw, parsed.key_or_group, parsed.value(), merge=False)
    return raw


def preset(override: str) -> str:
    """`group=name`, refused where there is no such file."""
    group, name = override.lstrip("+").split("=", 1)
    known = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
    if name not in known:
        raise UserError(f"'{override}': the presets in conf/{group} are {', '.join(known)}")
    return f"{group}={name}"


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
