"""Configuration: every key documented, unknown ones refused with a hint."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pivot.config import CONF_DIR, Config, all_keys, from_dictconfig, load, recipes, save
from pivot.errors import UserError
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
        ("grpo.advantage=mean", "configuration key 'grpo.advantage' is 'mean': it must be group or leave_one_out"),
        ("rollout.top_p=0.9", "configuration key 'rollout.top_p' is 0.9"),
        ("mine.group_size=1", "configuration key 'mine.group_size' is 1: it must be at least 2"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


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
