"""Which rank of a node is gone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

AGENT = """
import os, subprocess, sys, time
from pathlib import Path
ranks = []
for rank in (4, 5, 6):
    values = {"RANK": str(rank), "LOCAL_RANK": str(rank - 4), "LOCAL_WORLD_SIZE": "3"}
    ranks.append(subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, **values},
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
subprocess.Popen(["sleep", "60"])
def ask():
    ranks[0].stdin.write("\\n")
    ranks[0].stdin.flush()
    print(ranks[0].stdout.readline().strip(), flush=True)
ask()
ranks[2].kill()
if sys.argv[2] == "reaped":
    ranks[2].wait()
else:
    os.waitid(os.P_PID, ranks[2].pid, os.WEXITED | os.WNOWAIT)
ask()
"""
RANK = """
import sys
from pivot.attempt.siblings import missing_ranks
for line in sys.stdin:
    print(missing_ranks(), flush=True)
"""
ROOT = Path(__file__).resolve().parents[3]


def seen(how: str) -> list[str]:
    """What rank 4 says before and after rank 6 is killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    agent = subprocess.Popen([sys.executable, "-c", AGENT, RANK, how], env=environment, stdout=subprocess.PIPE,
                             text=True, start_new_session=True)  # fmt: skip
    assert agent.stdout is not None
    try:
        return [agent.stdout.readline().strip() for _ in range(2)]
    finally:
        os.killpg(agent.pid, signal.SIGKILL)
        agent.wait()


def test_a_killed_rank_is_missing_whether_its_parent_has_noticed_or_not() -> None:
    assert seen("reaped") == ["[]", "[6]"]
    assert seen("zombie") == ["[]", "[6]"]


def test_without_torchrun_nobody_is_missing() -> None:
    from pivot.attempt.siblings import missing_ranks

    assert missing_ranks({}) == []
    assert missing_ranks({"RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}) == []
