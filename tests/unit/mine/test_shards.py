"""Jobs that share a store: their parts are disjoint and complete, and no two processes write one file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.errors import UserError
from pivot.mine.order import split_contiguous
from pivot.mine.shards import Part, part


def srun(task: int, tasks: int) -> dict[str, str]:
    return {"SLURM_PROCID": str(task), "SLURM_STEP_NUM_TASKS": str(tasks)}


@pytest.mark.parametrize(
    ("shard", "environment", "world", "expected"),
    [
        (None, {}, 1, Part(0, 1)),
        (None, {}, 8, Part(0, 1)),
        ("2/3", {}, 2, Part(2, 3)),
        (None, srun(3, 4), 1, Part(3, 4)),
        ("1/2", srun(3, 4), 1, Part(7, 8)),
        (None, srun(0, 1), 1, Part(0, 1)),
        (None, srun(1, 2) | {"RANK": "9", "WORLD_SIZE": "16"}, 16, Part(0, 1)),  # srun torchrun: one world over all
        (None, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 1, Part(0, 1)),  # in an sbatch script, outside srun
    ],
)
def test_the_part_of_a_job(shard: str | None, environment: dict[str, str], world: int, expected: Part) -> None:
    assert part(shard, environment, world) == expected


@pytest.mark.parametrize("shard", ["", "1", "2/2", "0/0", "-1/2", "1/2/3", "a/b", " 0/2", "0/2\n"])
def test_no_part_of_anything(shard: str) -> None:
    with pytest.raises(UserError, match=r"'mine.shard' .* it must be i/n with 0 <= i < n"):
        part(shard, {}, 1)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_parts_of_all_jobs_and_ranks_cover_everything_once(
    weights: list[int], jobs: int, tasks: int, ranks: int
) -> None:
    done: list[int] = []
    files: set[str] = set()
    for job in range(jobs):
        for task in range(tasks):
            own = part(f"{job}/{jobs}", srun(task, tasks), 1)
            mine = split_contiguous(weights, own.count)[own.index]
            for rank, share in enumerate(split_contiguous([weights[i] for i in mine], ranks)):
                done += [mine[i] for i in share]
                files.add(own.file(rank))
    assert done == list(range(len(weights)))
    assert len(files) == jobs * tasks * ranks


def test_files_of_one_job_are_named_by_rank_alone() -> None:
    assert Part(0, 1).file(3) == "shard-3.jsonl"
    assert Part(2, 4).file(1) == "shard-2-1.jsonl"
