"""The batch scripts as text, and the parts of `slurm/lib.sh` that decide something, in a bash of their own."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from pivot.attempt.directory import Attempt, Failure, Outcome
from pivot.ops.render import ROOT
from pivot.ops.status import rows

SCRIPTS = sorted([*(ROOT / "slurm").glob("*.sh"), *(ROOT / "slurm").glob("*.sbatch")])

# Slurm's commands, which say what was asked of them; the job is running.
STAND_INS = """
scontrol() { echo "scontrol $*" >> "$RUN_DIR/asked"; [ "$1" != requeue ]; }
squeue() { echo RUNNING; }
"""


def lib(run_dir: Path, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a bash that has sourced the library, in a run that has an attempt 001."""
    (run_dir / "attempts" / "001").mkdir(parents=True, exist_ok=True)
    head = (
        "set -uo pipefail\n"
        f"source {ROOT}/slurm/lib.sh\n"
        "ATTEMPT=$RUN_DIR/attempts/001 RESTART=${RESTART:-0} CRASHES=$RUN_DIR/launch/crashes-train RECIPE=train\n"
        f"PIVOT_MAX_RESTARTS=3 PIVOT_MAX_CRASHES=3 PIVOT_REQUEUE=${{PIVOT_REQUEUE:-1}} PIVOT_CHAIN=${{PIVOT_CHAIN:-}}\n"
        f"SLURM_JOB_ID=7 JOB=7\n{STAND_INS}"
    )
    environment = {"PATH": os.environ["PATH"], "RUN_DIR": str(run_dir), **variables}
    return subprocess.run(["bash", "-c", head + code], env=environment, capture_output=True, text=True, check=False)


def ends(run_dir: Path, rc: int, code: str = "", **variables: str) -> tuple[int, str, str]:
    """(status, what end.json says, its reason) after ranks that ended with `rc`."""
    done = lib(run_dir, f"RC={rc}\n{code}\nconclude", **variables)
    end = json.loads((run_dir / "attempts/001/end.json").read_text())
    return done.returncode, end["status"], end["reason"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_bash_reads_it(path: Path) -> None:
    assert subprocess.run(["bash", "-n", path], capture_output=True, check=False).returncode == 0


def test_shellcheck_has_nothing_to_say() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", "-x", *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_lines_are_short() -> None:
    lines = [(path.name, line) for path in SCRIPTS for line in path.read_text().splitlines()]
    assert [each for each in lines if len(each[1]) > 120] == []


def test_what_the_ranks_leave_decides(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "attempts" / "001")
    attempt.directory.mkdir(parents=True)
    attempt.write_outcome(Outcome("done", 9, "nothing is left to do"))
    assert ends(tmp_path, 0) == (0, "done", "")
    attempt.write_outcome(Outcome("refused", None, 'model.path="x": no such directory'))
    assert ends(tmp_path, 1) == (2, "refused", 'model.path="x": no such directory')
    assert not (tmp_path / "asked").exists()
    attempt.write_outcome(Outcome("stopped", 5, "USR1"))
    # the stand-in does not end the script as Slurm would, so it says how to go on
    assert ends(tmp_path, 0) == (75, "stopped", "saved at step 5 (USR1)")
    assert (tmp_path / "asked").read_text() == "scontrol requeue 7\n"


def test_a_stop_is_not_requeued_without_leave(tmp_path: Path) -> None:
    Attempt(tmp_path / "attempts" / "001").directory.mkdir(parents=True)
    Attempt(tmp_path / "attempts" / "001").write_outcome(Outcome("stopped", 5, "USR1"))
    assert ends(tmp_path, 0, PIVOT_REQUEUE="0")[:2] == (75, "stopped")
    assert ends(tmp_path, 0, RESTART="3") == (1, "gave up", "started 4 times (cluster.max_restarts is 3)")
    cancelled = "squeue() { echo CANCELLED; }"  # by its owner: to requeue it would bring it back
    assert ends(tmp_path, 0, cancelled)[0] == 0
    assert not (tmp_path / "asked").exists()


def test_crashes_count_while_no_checkpoint_gets_newer(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "attempts" / "001")
    attempt.directory.mkdir(parents=True)
    attempt.write_failure(Failure(5, "n2", 20.5, "lost another rank"))
    attempt.write_failure(Failure(3, "n1", 10.5, 'CUDA error: "boom", \\ bad'))
    said = 'rank 3 on n1: CUDA error: "boom", \\ bad'
    assert ends(tmp_path, 1) == (75, "crashed", f"crash 1 of 3 after checkpoint step 0: {said}")
    assert ends(tmp_path, 1)[2].startswith("crash 2 of 3 after checkpoint step 0")
    (tmp_path / "checkpoints" / "step-000010").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-12.damaged").mkdir()
    assert ends(tmp_path, 1)[2].startswith("crash 1 of 3 after checkpoint step 10")
    assert ends(tmp_path, 1)[2].startswith("crash 2 of 3 after checkpoint step 10")
    last = f"3 crashes without a new checkpoint after step 10; the last: {said}"
    assert ends(tmp_path, 1) == (1, "gave up", last)
    assert rows(tmp_path)[0].reason == said
    assert ends(tmp_path, 1)[2].startswith("crash 1 of 3")  # a person has started it again
    assert ends(tmp_path, 1, PIVOT_REQUEUE="0")[:2] == (75, "crashed")  # the next of a chain tries again


@pytest.mark.parametrize(
    "said",
    [
        "AcceleratorError: CUDA error: uncorrectable ECC error encountered",
        "AcceleratorError: CUDA error: uncorrectable NVLink error detected during the execution",
        "NVMLError_GpuIsLost: GPU is lost",
    ],
)
def test_the_node_of_a_broken_device_is_excluded_and_no_crash_is_counted(tmp_path: Path, said: str) -> None:
    attempt = Attempt(tmp_path / "attempts" / "001")
    attempt.directory.mkdir(parents=True)
    attempt.write_failure(Failure(5, "n2", 20.5, "lost another rank"))
    attempt.write_failure(Failure(3, "n1", 10.5, said))
    assert ends(tmp_path, 1) == (0, "node fault", f"rank 3 on n1: {said}")
    asked = (tmp_path / "asked").read_text()
    assert "scontrol requeuehold 7\n" in asked
    assert "scontrol update JobId=7 ExcNodeList=n1\n" in asked
    assert asked.endswith("scontrol release 7\n")
    assert not (tmp_path / "launch").exists()
    assert ends(tmp_path, 1, RESTART="3")[:2] == (1, "gave up")


def test_a_device_that_may_be_well_is_a_crash(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "attempts" / "001")
    attempt.directory.mkdir(parents=True)
    said = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"  # as with two ranks on it: so on any node
    attempt.write_failure(Failure(3, "n1", 10.5, said))
    assert ends(tmp_path, 1)[1] == "crashed"
    assert "ExcNodeList" not in (tmp_path / "asked").read_text()


def test_a_stop_that_fails_is_a_crash_and_one_that_is_cut_short_is_not(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "attempts" / "001")
    attempt.directory.mkdir(parents=True)
    attempt.write_failure(Failure(0, "n1", 10.5, "OSError: No space left on device"))
    said = "crash 1 of 3 after checkpoint step 0: rank 0 on n1: OSError: No space left on device"
    assert ends(tmp_path, 1, "STOPPING=USR1")[1:] == ("crashed", said)
    assert ends(tmp_path, 1, "STOPPING=TERM")[1:] == ("stopped", "stopped by TERM without saving")  # it ends ranks too
    attempt.request_abort()
    assert ends(tmp_path, 1, "STOPPING=USR1")[1:] == ("stopped", "stopped by USR1 without saving")


def test_signals_become_files_and_a_hurried_one_counts_once(tmp_path: Path) -> None:
    attempt = tmp_path / "attempts" / "001"
    send = "begin_signals; kill -USR1 $$; kill -TERM $$; "
    assert lib(tmp_path, send + "[ ! -e $ATTEMPT/abort ] && cat $ATTEMPT/stop").stdout.endswith("\nUSR1\n")
    (attempt / "stop").unlink()
    lib(tmp_path, "SAME_SIGNAL_SECONDS=0; " + send)
    assert (attempt / "abort").read_text() == "TERM\n"


def test_a_stuck_save_is_ended(tmp_path: Path) -> None:
    code = "PIVOT_SAVE_SECONDS=1; begin_signals; sleep 20 & STEP_PID=$!; kill -USR1 $$; for _ in $(seq 50); do "
    code += "[ -e $ATTEMPT/abort ] && break; sleep 0.1; done; kill $STEP_PID; RC=1; STEP_PID=; conclude"
    lib(tmp_path, code)
    end = json.loads((tmp_path / "attempts/001/end.json").read_text())
    assert end["reason"] == "crash 1 of 3 after checkpoint step 0: no save within 1 s"


def test_a_signal_does_not_end_the_wait_for_the_ranks(tmp_path: Path) -> None:
    code = "begin_signals; (sleep 1; exit 3) & STEP_PID=$!; (sleep 0.2; kill -USR1 $$) & wait_step; echo status $RC"
    start = time.monotonic()
    assert lib(tmp_path, f"PIVOT_SAVE_SECONDS=9; {code}").stdout.endswith("status 3\n")
    assert time.monotonic() - start >= 1


def test_attempts_are_numbered_after_the_last(tmp_path: Path) -> None:
    for name in ("009", "010", "999", "notes"):
        (tmp_path / "attempts" / name).mkdir(parents=True)
    one = "new_attempt && echo ${ATTEMPT##*/}; "
    assert lib(tmp_path, one + one).stdout == "1000\n1001\n"


def test_secrets_are_left_out_of_the_environment(tmp_path: Path) -> None:
    secret = {"HF_TOKEN": "s1", "SLURM_API_KEY": "s2", "AWS_X": "s3", "NCCL_PROXY": "http://me:s4@host/", "MY": "s5"}
    said = lib(tmp_path, "environment", **secret, NCCL_IB_HCA="=mlx5_0", SLURM_NOTE="a\nb").stdout
    assert not any(value in said for value in ("s1", "s2", "s3", "s4", "s5"))
    assert "NCCL_IB_HCA==mlx5_0\n" in said.replace("\\=", "=")
    assert "HF_TOKEN (value not recorded)\n" in said
    assert "SLURM_NOTE=$'a\\nb'\n" in said


def test_the_rest_of_a_chain_ends_at_once(tmp_path: Path) -> None:
    lib(tmp_path, "echo c0 > $ATTEMPT/chain; (finish done '' 0)")
    end = lib(tmp_path, "stop_a_finished_chain; exit 9", PIVOT_CHAIN="c0")
    assert (end.returncode, "finished its work" in end.stdout) == (0, True)
    assert lib(tmp_path, "stop_a_finished_chain; exit 9", PIVOT_CHAIN="c1").returncode == 9
    lib(tmp_path, "(refuse 'no model')")
    assert lib(tmp_path, "stop_a_finished_chain; exit 9", PIVOT_CHAIN="c0").returncode == 2


def test_a_taken_port_is_passed_over(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 20049))  # 20000 + 7 * 7
        taken.listen()
        said = lib(tmp_path, "NODES=n1; choose_master; echo $MASTER_PORT").stdout
    assert "port 20049 is taken" in said
    assert said.endswith("\n20050\n")
