"""What Slurm's complaints become, and starting a run again."""

import json
import os
from pathlib import Path

import pytest

from pivot.cli import main
from pivot.cluster_options import ClusterSection
from pivot.config import load
from pivot.errors import UserError
from pivot.ops import record, start, submit
from pivot.world.tiny_moe import __file__ as world

CHECKPOINT = Path(world).parent / "tiny-moe"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "pivots.jsonl").touch()
    return tmp_path / "run"


def arguments(run_dir: Path, *more: str) -> list[str]:
    return ["--config", "demo", f"data.pivots={run_dir.parent}/pivots.jsonl", f"run.dir={run_dir}",
            f"model.path={CHECKPOINT}", "cluster.ranks_per_node=1", *more]  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of commands that comes first: an sbatch that keeps what it was given, but for tests of a script."""
    commands = tmp_path / "bin"
    commands.mkdir()
    sbatch = commands / "sbatch"
    lines = [
        "#!/bin/bash",
        '[ "$1" != --test-only ] || exit 0',
        f'echo "$@" >> {tmp_path}/asked',
        f"echo $((40 + $(wc -l < {tmp_path}/asked)))",
    ]
    sbatch.write_text("\n".join(lines) + "\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return tmp_path / "asked"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available",
         "change cluster.nodes (4), gpus_per_node (8), cpus_per_task (None) or constraint (None)"),
        ("sbatch: error: invalid partition specified: p1\nsbatch: error: Batch job submission failed: Invalid "
         "partition name specified", "invalid partition specified: p1: set cluster.partition (p1); sinfo -s"),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
         "set cluster.account (None)"),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid", "lower cluster.time (04:"),
        ("sbatch: error: something new", "Slurm refuses the job: something new"),
        ("", "no reason given"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_key_to_change(said: str, meant: str) -> None:
    line = submit.refusal(said, ClusterSection(partition="p1", nodes=4))
    assert meant in line
    assert "\n" not in line


def test_without_slurm(run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(run_dir))
    said = refused(capsys, "launch", "train", *arguments(run_dir, "cluster.nodes=2"))
    assert said.startswith("pivot: sbatch: no such command here; run this on a login node")


def test_a_dry_run_writes_nothing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["launch", "train", "--dry-run", "--nodes", "2", *arguments(run_dir)])
    said = capsys.readouterr().out
    assert "#SBATCH --nodes=2\n" in said
    assert f"\n# {run_dir}/train.yaml:\n# run:\n#   name: demo\n" in said
    assert "\n#   ranks: 2\n" in said  # the world, and not the recipe's
    assert not run_dir.exists()


def test_a_world_that_does_not_divide(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "launch", "train", "--dry-run", "--nodes", "3", *arguments(run_dir))
    assert "3 ranks do not divide by tensor 2 x pipeline 1 = 2" in said
    assert said.endswith("(3 nodes x 1 ranks = 3)")


def test_a_missing_model_and_a_bad_directory(run_dir: Path, capsys: pytest.CaptureFixture[str], slurm: Path) -> None:
    nodes = ["--nodes", "2"]
    said = refused(capsys, "launch", "train", *nodes, *arguments(run_dir, "model.path=none"))
    assert said == "pivot: model.path=none: no such directory; set model.path to a Hugging Face checkpoint"
    said = refused(capsys, "launch", "train", *nodes, *arguments(run_dir, "run.dir=/proc/nowhere"))
    assert "/proc/nowhere: cannot write here" in said
    said = refused(capsys, "launch", "train", *nodes, *arguments(run_dir, "run.dir=/dev/shm/pivot-unit-test"))
    assert "run.dir=/dev/shm/pivot-unit-test is not shared: /dev/shm is this machine's memory" in said
    assert not slurm.exists()
    image = arguments(run_dir, "model.path=/in/the/image", "cluster.image='lab#pivot:1'")
    main(["launch", "train", "--dry-run", *nodes, *image])  # its paths are looked at on the nodes


def test_launch_and_resume(run_dir: Path, slurm: Path, capsys: pytest.CaptureFixture[str],
                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    main(["launch", "train", "--nodes", "2", *arguments(run_dir)])
    assert "submitted job 41" in capsys.readouterr().out
    script = (run_dir / "launch" / "train.sbatch").read_text()
    assert slurm.read_text() == f"--parsable {run_dir}/launch/train.sbatch\n"
    assert json.loads((run_dir / "launch.json").read_text()) == {
        "recipe": "train", "how": "slurm", "directory": os.getcwd()}  # fmt: skip
    before = (run_dir / "train.yaml").read_text()
    monkeypatch.chdir(run_dir.parent)  # it is started again where it was started, whatever calls for it
    main(["resume", "run"])
    assert (run_dir / "launch" / "train.sbatch").read_text() == script
    assert (run_dir / "train.yaml").read_text() == before
    (run_dir / "checkpoints" / "step-3").mkdir(parents=True)
    said = refused(capsys, "resume", str(run_dir), "optimizer.lr=1.0", "cluster.nodes=4", "train.steps=99")
    assert "another configuration: parallel.ranks 2 -> 4; optimizer.lr 0.00015 -> 1.0; go on with --accept" in said
    main(["resume", str(run_dir), "--accept", "optimizer.lr=1.0", "cluster.nodes=4"])
    assert "lr: 1.0\n" in (run_dir / "train.yaml").read_text()
    assert "#SBATCH --nodes=4\n" in (run_dir / "launch" / "train.sbatch").read_text()
    assert len(slurm.read_text().splitlines()) == 3


def test_a_chain_depends_on_what_came_before(run_dir: Path, slurm: Path) -> None:
    main(["launch", "train", "--nodes", "2", "--chain", "3", *arguments(run_dir)])
    path = f"{run_dir}/launch/train.sbatch"
    assert slurm.read_text().splitlines() == [
        f"--parsable {path}",
        f"--parsable --dependency=singleton,afterany:41 {path}",
        f"--parsable --dependency=singleton,afterany:42 {path}",
    ]
    assert "export PIVOT_REQUEUE=0\n" in (run_dir / "launch" / "train.sbatch").read_text()


def test_what_a_job_writes_is_shown_until_it_ends(run_dir: Path, slurm: Path, capsys: pytest.CaptureFixture[str],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(submit, "POLL_SECONDS", 0.1)
    old = run_dir / "attempts/001/rank-node0.log"
    old.parent.mkdir(parents=True)
    old.write_text("of an earlier job\n")
    squeue = slurm.parent / "bin/squeue"  # looked at three times: the job writes more each time, then it is gone
    squeue.write_text(f"""#!/bin/bash
mkdir -p {run_dir}/attempts/002
echo step >> {run_dir}/attempts/002/rank-node0.log
[ $(wc -l < {run_dir}/attempts/002/rank-node0.log) -ge 3 ] || echo RUNNING
""")
    squeue.chmod(0o755)
    main(["launch", "train", "--nodes", "2", "--follow", *arguments(run_dir)])
    assert capsys.readouterr().out.splitlines()[2:] == ["step"] * 3


def test_resume_says_what_it_needs(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "launch.json: no such file; give the run.dir" in refused(capsys, "resume", str(run_dir))
    run_dir.mkdir()
    record.write(run_dir, record.Started("train", "local", "gone"))
    assert "train.yaml: no such file" in refused(capsys, "resume", str(run_dir))
    start.save(load("demo", []), run_dir / "train.yaml")
    assert "gone, where the run was started, cannot be entered" in refused(capsys, "resume", str(run_dir))
    assert "'train.step'; did you mean" in refused(capsys, "resume", str(run_dir), "train.step=1")
    (run_dir / "launch.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        record.read(run_dir)


def test_status_and_launch_without_a_recipe(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no attempts here" in refused(capsys, "launch", "--status", str(run_dir))
    assert "name what to launch" in refused(capsys, "launch")
