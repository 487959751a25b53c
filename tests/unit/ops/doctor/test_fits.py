"""Layout, sizes, model and data of a recipe."""

from dataclasses import replace
from pathlib import Path

import pytest

from pivot.config import Config, ParallelSection, RolloutSection
from pivot.ops.doctor import fits
from pivot.ops.doctor.facts import Import
from pivot.ops.doctor.row import Row
from pivot.trajectory.convert import convert
from pivot.world.corpus import write_trajectories
from pivot.world.expert import expert_trajectories

MODEL = {"max_position_embeddings": 2048, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
         "head_dim": 32, "hidden_size": 128}  # fmt: skip


def config(parallel: ParallelSection | None = None, **rollout: int | bool) -> Config:
    changed = replace(RolloutSection(), **rollout)  # type: ignore[arg-type]
    return replace(Config(), parallel=parallel or ParallelSection(), rollout=changed)


def test_a_recipe_that_fits() -> None:
    assert fits.check("train", config(ParallelSection(ranks=4, tensor=2, expert=2), tensor=2), 4, MODEL) == [
        Row.green("layout.policy", "4 ranks: tensor 2, pipeline 1, context 1, expert 2"),
        Row.green("layout.engine", "2 engines of 2 ranks"),
        Row.green("layout.context", "1,024 tokens, 96 of them for an action"),
        Row.green("layout.kv-cache", "128.0 MiB a rank hold 131,072 tokens, 128.0 whole contexts"),
    ]
    assert [row.name for row in fits.check("mine", Config(), 2, {})] == [
        "layout.engine", "layout.context", "layout.kv-cache",
    ]  # fmt: skip
    assert [row.name for row in fits.check("sft", Config(), 2, {})] == ["layout.policy"]


def test_a_layout_that_does_not_divide() -> None:
    policy, engine, *_ = fits.check("train", config(ParallelSection(tensor=3), tensor=4), 2, MODEL)
    assert policy == Row.red("layout.policy", "2 ranks do not divide by tensor 3 x pipeline 1 = 3",
                             "start a multiple of 3 ranks or change parallel.tensor, parallel.pipeline")  # fmt: skip
    assert engine.found.startswith("2 ranks do not divide into engine replicas of rollout.tensor 4 ranks")
    assert engine.fix == "start a multiple of 4 ranks or change rollout.tensor"


def test_contexts_and_caches() -> None:
    assert fits.check_context(RolloutSection(max_model_len=4096), MODEL) == Row.red(
        "layout.context", "4,096 tokens, 96 of them for an action; the model has 2,048 positions",
        "rollout.max_model_len=2048",
    )  # fmt: skip
    assert fits.check_context(RolloutSection(max_tokens=1024), MODEL) == Row.yellow(
        "layout.context", "1,024 tokens, 1,024 of them for an action: the context cuts actions off first",
        "raise rollout.max_model_len",
    )  # fmt: skip
    assert fits.kv_bytes(MODEL, "float32") == 2 * 4 * 2 * 32 * 4
    assert fits.kv_bytes({**MODEL, "head_dim": None, "num_key_value_heads": None}, "bfloat16") == 2 * 4 * 4 * 32 * 2
    assert fits.kv_bytes(MODEL, "float32", tensor=2) == fits.kv_bytes(MODEL, "float32", tensor=4) == 2 * 4 * 32 * 4
    assert fits.kv_bytes({}, "float32") == 0
    long = RolloutSection(max_model_len=65536, kv_cache_mb=64)
    assert fits.check_cache(long, MODEL, "bfloat16") == Row.green(
        "layout.kv-cache", "64.0 MiB a rank hold 65,536 tokens, 1.0 whole contexts"
    )
    assert fits.check_cache(long, MODEL, "float32") == Row.red(
        "layout.kv-cache", "64.0 MiB a rank hold 32,768 tokens, 0.5 whole contexts", "rollout.kv_cache_mb=129"
    )
    assert fits.check_cache(replace(long, tensor=2), MODEL, "float32").status.value == "green"
    assert fits.check_cache(long, {}, "float32").status.value == "grey"


def test_data(tmp_path: Path) -> None:
    write_trajectories(expert_trajectories(2, 0, "train"), tmp_path / "t.jsonl")
    made = convert([tmp_path / "t.jsonl"], tmp_path)
    rows = tmp_path / "candidates.jsonl"
    assert fits.check_data("data.pivots", str(rows)) == Row.green(
        "data.rows", f"{rows}: the first {made.candidates} rows can be read"
    )
    broken = rows.read_text().splitlines()
    broken[1] = '{"half": '
    rows.write_text("\n".join(broken) + "\n")
    assert fits.check_data("data.pivots", str(rows)) == Row.red(
        "data.rows", f"{rows}:2: not_json", "make the file with `pivot convert`"
    )
    assert fits.check_data("data.pivots", str(tmp_path / "none")) == Row.red(
        "data.rows", f"data.pivots={tmp_path / 'none'}: no such file here",
        "make it with `pivot mine`, or set data.pivots",
    )  # fmt: skip
    assert fits.data_file("sft", Config()) is None
    assert fits.data_file("mine", Config()) == ("data.candidates", "data/candidates.jsonl")
    assert fits.data_file("train", Config()) == ("data.pivots", "data/pivots.jsonl")


@pytest.mark.parametrize(
    ("said", "rows"),
    [
        ({}, []),
        ({"fits": "4 layers, 4 heads, 8 experts"},
         [Row.green("model.layout", "can be cut so: 4 layers, 4 heads, 8 experts")]),
        ({"mistake": "6 layers do not divide by parallel.pipeline = 4: choose a divisor of 6"},
         [Row.red("model.layout", "6 layers do not divide by parallel.pipeline = 4", "choose a divisor of 6")]),
        ({"family": "nemotron_h: only with Megatron-Bridge, on CUDA (docs/gpu.md)"},
         [Row.yellow("model.layout", "nemotron_h: only with Megatron-Bridge, on CUDA (docs/gpu.md)",
                     "pip install megatron-bridge, or use a family of its first row")]),
    ],
)  # fmt: skip
def test_the_policys_own_rules(said: dict[str, object], rows: list[Row]) -> None:
    assert fits.check_model(Import("policy", 1.0, None, said)) == rows


@pytest.mark.parametrize(
    ("said", "rows"),
    [
        ({}, []),
        ({"mistake": "m: the tokenizer has no chat template; put chat_template.jinja there"},
         [Row.red("model.tokenizer", "m: the tokenizer has no chat template", "put chat_template.jinja there")]),
        ({"vocabulary": 1024, "rows": 4, "longest": 300, "lost": {}},
         [Row.green("model.tokenizer", "1,024 tokens, and a chat template"),
          Row.green("data.prompts", "4 of the first 4 histories fit, the longest has 300 tokens")]),
        ({"vocabulary": 1024, "rows": 4, "longest": 300, "lost": {"over_long_history": 3}},
         [Row.green("model.tokenizer", "1,024 tokens, and a chat template"),
          Row.yellow("data.prompts", "1 of the first 4 histories fit, the longest has 300 tokens "
                     "(over_long_history 3)", "raise rollout.max_model_len, or prompt.over_long=truncate")]),
        ({"vocabulary": 1024, "rows": 4, "longest": 0, "lost": {"over_long_history": 4}},
         [Row.green("model.tokenizer", "1,024 tokens, and a chat template"),
          Row.red("data.prompts", "none of the first 4 histories can be used (over_long_history 4)",
                  "raise rollout.max_model_len, or prompt.over_long=truncate")]),
        ({"vocabulary": 1024, "data_mistake": "p:1: not_json; make the file with `pivot convert`"},
         [Row.green("model.tokenizer", "1,024 tokens, and a chat template"),
          Row.red("data.prompts", "p:1: not_json", "make the file with `pivot convert`")]),
    ],
)  # fmt: skip
def test_prompts(said: dict[str, object], rows: list[Row]) -> None:
    assert fits.check_prompts(Import("tokenizer", 1.0, None, said)) == rows


def test_what_the_program_checks_itself(tmp_path: Path) -> None:
    wrong = replace(Config(), data=replace(Config().data, pivots=str(tmp_path / "none")))
    (row,) = fits.check_start("train", wrong, [])
    assert row.name == "start.preflight"
    assert row.found == f"data.pivots={tmp_path / 'none'}: no such file"
    known = fits.check_data("data.pivots", str(tmp_path / "none"))
    assert fits.check_start("train", wrong, [known]) == []
    (tmp_path / "none").write_text("{}")
    assert fits.check_start("train", wrong, []) == [
        Row.green("start.preflight", "what `pivot train` checks before it starts ranks")
    ]
