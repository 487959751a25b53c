"""The batch script of a job: its exact text, and that no value can become anything else than a value."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.cluster_options import ClusterSection, rules
from pivot.config import load
from pivot.errors import UserError
from pivot.ops.render import ROOT, TEMPLATES, Job, header, of_ranks, script, variables

SLURM = ROOT / "slurm"
EXPECTED = """\
#!/bin/bash
#SBATCH --job-name=train-first-cdc479
#SBATCH --account=lab
#SBATCH --partition=gpu,gpu-long
#SBATCH --constraint=[h100|h200]
#SBATCH --nodes=16
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=1-12:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --chdir=/shared/project
#SBATCH --output=/shared/runs/first/slurm-%x-%j.log
#SBATCH --dependency=singleton
#SBATCH --comment=x
# Made by `pivot launch train`; train.yaml in RUN_DIR is the configuration.

export RUN_DIR=/shared/runs/first
export PIVOT_ROOT=/shared/pivotrl
export PIVOT_RECIPE=train
export PIVOT_PYTHON=/shared/venv/bin/python
export PIVOT_RANKS_PER_NODE=8
export PIVOT_SAVE_SECONDS=480
export PIVOT_MAX_RESTARTS=100
export PIVOT_MAX_CRASHES=3
export PIVOT_MIN_DISK_GB=20
export PIVOT_MIN_SHM_GB=1
export NCCL_IB_HCA==mlx5_0,mlx5_1
export NOTE='it'"'"'s $HOME'

set -uo pipefail
PIVOT_ROOT=${PIVOT_ROOT:-$SLURM_SUBMIT_DIR}
# shellcheck source=slurm/lib.sh
source "$PIVOT_ROOT/slurm/lib.sh"

begin_signals
set +u
module load cuda
set -u
begin "${PIVOT_RECIPE:-train}" "$@"
health
ranks
conclude
"""


def job(recipe: str = "train", cluster: ClusterSection | None = None, **changes: object) -> Job:
    values = {"run_dir": Path("/shared/runs/first"), "directory": Path("/shared/project"), "variables": {},
              "root": Path("/shared/pivotrl")} | changes  # fmt: skip
    return Job(recipe, cluster=cluster or ClusterSection(), **values)  # type: ignore[arg-type]


def template(recipe: str) -> str:
    return (SLURM / f"{TEMPLATES[recipe]}.sbatch").read_text()


def test_the_whole_script() -> None:
    cluster = ClusterSection(
        account="lab", partition="gpu,gpu-long", constraint="[h100|h200]", nodes=16, cpus_per_task=96,
        time="1-12:00:00", venv="/shared/venv", setup=["module load cuda"], sbatch=["--comment=x"],
    )  # fmt: skip
    made = script(
        job(cluster=cluster, variables={"NCCL_IB_HCA": "=mlx5_0,mlx5_1", "NOTE": "it's $HOME"}), template("train")
    )
    assert made == EXPECTED


def test_what_each_setting_does_to_the_header() -> None:
    plain = ClusterSection(gpus_per_node=0, ranks_per_node=2, exclusive=False)
    assert [line for line in header(job(cluster=plain)) if line.startswith(("--gpus", "--excl", "--mem"))] == []
    assert variables(job(cluster=plain))["PIVOT_RANKS_PER_NODE"] == "2"
    mine = header(job("mine", ClusterSection(array=4)))
    assert "--array=0-3" in mine
    assert "--dependency=singleton" not in mine  # it would let one task run at a time
    assert "--output=/shared/runs/first/slurm-%x-%A_%a.log" in mine
    other = job(run_dir=Path("/shared/others/first"))
    assert other.name != job().name  # a run waits for itself alone


def test_a_container_and_a_chain() -> None:
    made = variables(job(cluster=ClusterSection(image="lab#pivot:1", mounts=["/a:/b", "/c:/c"]), chain="0f"))
    assert (made["PIVOT_IMAGE"], made["PIVOT_MOUNTS"]) == ("lab#pivot:1", "/a:/b,/c:/c")
    assert (made["PIVOT_CHAIN"], made["PIVOT_REQUEUE"]) == ("0f", "0")
    assert not {"PIVOT_IMAGE", "PIVOT_MOUNTS", "PIVOT_CHAIN", "PIVOT_REQUEUE"} & variables(job()).keys()


def test_ranks_get_what_fp8_and_the_cluster_want() -> None:
    config = load("demo", ["precision.fp8=blockwise", "model.dtype=bfloat16", "cluster.env.NCCL_DEBUG=INFO"])
    assert of_ranks(config) == {**dict(config.precision.recipe.environment), "NCCL_DEBUG": "INFO"}
    assert of_ranks(load("demo", [])) == {}


@pytest.mark.parametrize("recipe", ["train", "mine", "evaluate"])
def test_templates_ask_by_hand_for_what_is_rendered(recipe: str) -> None:
    """The header of a template, for use by hand, has the options that the default configuration has."""
    written = set(re.findall(r"^#SBATCH --([a-z-]+)", template(recipe), re.M))
    rendered = {option[2:].split("=")[0] for option in header(job(recipe))}
    assert written == rendered - {"chdir"}


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
@settings(max_examples=30, deadline=None)
def test_a_value_stays_a_value(value: str) -> None:
    """Whatever a value is, bash reads back exactly it, and nothing else of the script changes."""
    made = script(job(variables={"VALUE": value}), "#!/bin/bash\nset -uo pipefail\n")
    command = made.replace("set -uo pipefail\n", 'printf %s "$VALUE"\n')
    assert subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout == value.encode()


@given(value=st.text(max_size=20))
@settings(max_examples=200)
def test_no_value_becomes_an_option(value: str) -> None:
    """A header value that is accepted is one word, so that a line stays one option."""
    accepted = all(ok for *_, ok, _ in rules(ClusterSection(partition=value, sbatch=[f"--x={value}"])))
    if accepted:
        lines = header(job(cluster=ClusterSection(partition=value, sbatch=[f"--x={value}"])))
        assert f"--partition={value}" in lines
        assert not re.search(r"[\s'\"#;\\`$]", value)
    else:
        assert re.search(r"[^A-Za-z0-9_.,:@+=/|&*()\[\]-]", value) or value == ""


@pytest.mark.parametrize("name", ["a b", "a\n#SBATCH --x", 'a"b', "a%j", "a#b", "ä"])
def test_paths_that_no_header_line_can_hold_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"run\.dir") as caught:
        header(job(run_dir=Path("/shared") / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cluster.partition='a b'", "'cluster.partition' is 'a b': it must be null or one word"),
        ("cluster.sbatch=[--x, 'y z']", "'cluster.sbatch' is 'y z': it must be a list of options"),
        ("cluster.time=soon", "'cluster.time' is 'soon': it must be a time of Slurm"),
        ("cluster.nodes=0", "'cluster.nodes' is 0: it must be at least 1"),
        ("cluster.save_seconds=600", "'cluster.save_seconds' is 600: it must be below cluster.signal_seconds (600)"),
        ("cluster.env.A-B=1", "'cluster.env.A-B' is '1': it must be a variable's name and a single line"),
        ("cluster=none", "'cluster=none': the presets in conf/cluster are h100x8"),
    ],
)
def test_settings_that_cannot_be_used(override: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load(None, [override])
    assert said in str(caught.value)
