"""Configuration: every key documented, unknown ones refused with a hint."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pivot.config import CONF_DIR, Config, all_keys, from_dictconfig, load, recipes, save
from pivot.errors import UserError
from pivot.swap.formats import FORMATS
from pivot.swap_options import FP8
from pivot.verify import build_verifiers


def dotted(node: object, prefix: str = "") -> set[str]:
    if not isinstance(node, dict) or not node:
        return {prefix.rstrip(".")}
    return set().union(*(dotted(value, f"{prefix}{key}.") for key, value in node.items()))


def test_the_base_file_documents_every_key_with_its_default() -> None:
    base = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "pivotrl.yaml"))
    assert base.pop("defaults") == [{"/domain": ["tool_use", "swe", "terminal", "search"]}, "_self_"]
    assert dotted(base) == set(all_keys())
    assert from_dictconfig(OmegaConf.create(base)) == Config()
    for line in (CONF_DIR / "pivotrl.yaml").read_text().splitlines():
        assert not line.startswith("  ") or "#" in line, f"no comment: {line}"


@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_composes(recipe: str) -> None:
    assert load(recipe, []).run.name == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.step=5", "unknown configuration key 'train.step'; did you mean train.steps?"),
        ("quux=1", "unknown configuration key 'quux'"),
        ("train.steps=abc", "configuration key 'train.steps': Value 'abc'"),
        ("train.steps", "'train.steps' is no override"),
        ("grpo.advantage=gae", "configuration key 'grpo.advantage' is 'gae': it must be one of group, leave_one_out, "),
        ("grpo.malformed_advantage=0", "configuration key 'grpo.malformed_advantage' is 0.0: it must be null or neg"),
        ("grpo.reduction=sum", "configuration key 'grpo.reduction' is 'sum': it must be one of token, sequence, group"),
        ("grpo.clip_low=1.5", "configuration key 'grpo.clip_low' is 1.5: it must be from 0 to 1"),
        ("grpo.clip_high=-1", "configuration key 'grpo.clip_high' is -1.0: it must be at least 0"),
        ("grpo.clip_dual=1", "configuration key 'grpo.clip_dual' is 1.0: it must be null or greater than 1"),
        ("grpo.entropy=-1", "configuration key 'grpo.entropy' is -1.0: it must be at least 0"),
        ("grpo.kl_coefficient=-1", "configuration key 'grpo.kl_coefficient' is -1.0: it must be at least 0"),
        ("grpo.kl_estimator=k4", "configuration key 'grpo.kl_estimator' is 'k4': it must be one of k1, k2, k3"),
        ("grpo.kl_in=both", "configuration key 'grpo.kl_in' is 'both': it must be one of loss, reward"),
        ("grpo.old_logprobs=old", "configuration key 'grpo.old_logprobs' is 'old': it must be one of policy, engine"),
        ("grpo.old_logprobs=engine", "'grpo.mismatch' is 'token_tis': it must be none with grpo.old_logprobs=engine"),
        ("grpo.mismatch=is", "configuration key 'grpo.mismatch' is 'is': it must be one of none, token_tis, "),
        ("grpo.mismatch_cap=0.5", "configuration key 'grpo.mismatch_cap' is 0.5: it must be at least 1"),
        ("grpo.icepop_low=2", "configuration key 'grpo.icepop_low' is 2.0: it must be from 0 to 1"),
        ("grpo.icepop_high=0.5", "configuration key 'grpo.icepop_high' is 0.5: it must be at least 1"),
        ("grpo.sequence_threshold=1", "'grpo.sequence_threshold' is 1.0: it must be null or greater than 1"),
        ("grpo=tau3", "'grpo=tau3': the presets in conf/grpo are nemotron_super, swe, tau2"),
        ("swap.bucket_mb=0", "configuration key 'swap.bucket_mb' is 0: it must be from 1 to 2047"),
        ("swap.fp8=e5m2", "'swap.fp8' is 'e5m2': it must be null or one of block, block_power_of_two, mxfp8, tensor"),
        ("swap.verify=2", "configuration key 'swap.verify' is 2.0: it must be a share from 0 to 1"),
        ("parallel.recompute=some", "'parallel.recompute' is 'some': it must be null, selective or full"),
        ("model.router_aux_loss=-1", "'model.router_aux_loss' is -1.0: it must be 0 (none) or positive"),
        ("model.router_aux_loss=0.1", "'model.router_aux_loss' is 0.1: it must be 0 while model.freeze_router is true"),
        ("rollout.top_p=0.9", "configuration key 'rollout.top_p' is 0.9"),
        ("mine.group_size=1", "configuration key 'mine.group_size' is 1: it must be at least 2"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


PUBLISHED = {
    "tau2": {"prompts": 64, "group": 16, "clip": (0.2, 0.2), "length": 32768, "warmup": 0, "penalty": None,
             "mismatch": "none"},
    "swe": {"prompts": 64, "group": 8, "clip": (0.2, 0.28), "length": 131072, "warmup": 0, "penalty": -5.0,
            "mismatch": "token_tis"},
    "nemotron_super": {"prompts": 64, "group": 16, "clip": (0.2, 0.28), "length": 131072, "warmup": 10,
                       "penalty": -5.0, "mismatch": "token_tis"},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF_DIR / "grpo").glob("*.yaml")))
def test_presets_hold_the_numbers_of_the_published_runs(name: str) -> None:
    config = load(None, [f"grpo={name}"])
    grpo, train, rollout = config.grpo, config.train, config.rollout
    assert PUBLISHED[name] == {
        "prompts": train.prompts_per_step,
        "group": train.group_size,
        "clip": (grpo.clip_low, grpo.clip_high),
        "length": rollout.max_model_len,
        "warmup": config.optimizer.warmup_steps,
        "penalty": grpo.malformed_advantage,
        "mismatch": grpo.mismatch,
    }
    assert (grpo.advantage, grpo.reduction, grpo.kl_coefficient) == ("leave_one_out", "token", 0)
    assert (config.optimizer.lr, config.optimizer.weight_decay, grpo.mismatch_cap) == (1e-6, 0, 5)
    assert (rollout.temperature, rollout.top_p, train.validation_pivots) == (1, 1, 512)
    assert config.model.freeze_router
    assert train.steps == {"tau2": 360, "swe": 230}.get(name, Config().train.steps)


def test_a_preset_is_over_the_recipe_and_under_single_keys(tmp_path: Path) -> None:
    config = load("demo", ["train.group_size=4", "grpo=swe"])
    assert (config.run.name, config.train.prompts_per_step, config.train.group_size) == ("demo", 64, 4)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("defaults:\n  - pivotrl\n  - grpo: tau2\n  - _self_\ngrpo:\n  clip_high: 0.3\n")
    config = load(str(recipe), ["grpo.mismatch=icepop"])
    assert (config.train.steps, config.grpo.advantage) == (360, "leave_one_out")
    assert (config.grpo.clip_high, config.grpo.mismatch) == (0.3, "icepop")


def test_the_engines_logprobs_go_with_no_correction_but_the_threshold() -> None:
    grpo = load(None, ["grpo.old_logprobs=engine", "grpo.mismatch=none", "grpo.sequence_threshold=1.5"]).grpo
    assert (grpo.old_logprobs, grpo.sequence_threshold) == ("engine", 1.5)


def test_every_domain_has_a_verifier_and_another_replaces_it(tmp_path: Path) -> None:
    base = load(None, []).verify
    assert base.name is None
    assert sorted(build_verifiers(base.name, base.domains).by_domain) == ["search", "swe", "terminal", "tool_use"]
    assert sorted(path.stem for path in (CONF_DIR / "domain").glob("*.yaml")) == sorted(base.domains)
    changed = load(None, ["verify.domains.tool_use=tool_call:gym", "verify.domains.swe={all: [exact, message]}"]).verify
    assert changed.domains == base.domains | {"tool_use": "tool_call:gym", "swe": {"all": ["exact", "message"]}}
    assert load(None, ["verify.name=exact"]).verify.name == "exact"
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "defaults:\n  - pivotrl\n  - _self_\nverify:\n  domains:\n    tool_use: {all: [exact, message]}\n"
    )
    assert load(str(recipe), []).verify.domains["tool_use"] == {"all": ["exact", "message"]}


def test_an_unknown_key_in_a_file_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("defaults:\n  - pivotrl\n  - _self_\ntrain:\n  stepz: 3\n")
    with pytest.raises(UserError, match="stepz"):
        load(str(recipe), [])


def test_a_recipe_file_of_ones_own_builds_on_the_base(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("defaults:\n  - pivotrl\n  - _self_\ntrain:\n  steps: 3\n")
    assert load(str(recipe), ["run.seed=4"]).train.steps == 3


def test_a_saved_configuration_loads_to_the_same(tmp_path: Path) -> None:
    config = load("demo", ["evaluate.models.base=a"])
    save(config, tmp_path / "run.yaml")
    assert from_dictconfig(OmegaConf.load(tmp_path / "run.yaml")) == config


REUSE = ["train.early_stop=true", "train.refill=1", "train.partial_reuse=1"]


def test_the_formats_of_the_swap_are_those_that_exist() -> None:
    assert set(FP8) == set(FORMATS)


def test_partial_reuse_needs_a_correction() -> None:
    assert load("demo", REUSE).train.partial_reuse == 1
    load("demo", [*REUSE, "grpo.mismatch=none", "grpo.old_logprobs=engine"])  # the ratio itself corrects


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["train.early_stop=true"], "false with train.refill=0"),
        (["train.early_stop=true", "train.refill=1", "rollout.tensor=2"], "false with rollout.tensor above 1"),
        (["train.partial_reuse=-1"], "or a number of steps"),
        (["train.partial_reuse=1"], "0 with train.early_stop=false"),
        ([*REUSE, "grpo.mismatch=none"], "0 with grpo.mismatch=none"),
        ([*REUSE, "grpo.router_replay=true"], "0 with grpo.router_replay=true"),
        (["evaluate.server=localhost"], "null, start or an http"),
        (
            ["evaluate.server=http://localhost:8000", "evaluate.models.a=x", "evaluate.models.b=y"],
            "null or start with several evaluate.models",
        ),
    ],
)
def test_settings_that_do_not_go_together(changes: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load(None, changes)
