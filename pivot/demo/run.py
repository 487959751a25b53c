"""The demo: data, mining, training, evaluation, report. Each finished phase is remembered, so a killed demo goes on."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pivot.config import Config, load
from pivot.demo.summary import report
from pivot.launch import writable
from pivot.trajectory.atomic import atomic_write
from pivot.trajectory.convert import convert
from pivot.world.corpus import write_trajectories
from pivot.world.expert import expert_trajectories

CHECKPOINT = Path(__file__).resolve().parent.parent / "world" / "tiny-moe"
TRAIN_TRAJECTORIES = 120
VALIDATION_TRAJECTORIES = 40


def demo(out: Path, seed: int, overrides: Sequence[str], *, fresh: bool, launch: Callable[[str, Config], None]) -> None:
    """Run what is left of the five phases and print the summary.

    Args:
        out: run directory.
        seed: of the run: sampling and the order of pivots.
        overrides: `key=value` changes to `conf/recipes/demo.yaml`.
        fresh: start from nothing.
        launch: starts a recipe on its ranks.
    """
    config = load("demo", [*overrides, *paths(out), f"run.seed={seed}"])
    if fresh and out.exists():
        shutil.rmtree(out)
    writable(out)
    phases: dict[str, Callable[[], None]] = {
        "data": lambda: make_data(out),
        "mine": lambda: launch("mine", config),
        "train": lambda: launch("train", config),
        "evaluate": lambda: launch("evaluate", config),
    }
    seconds = read_seconds(out)
    for number, (name, run) in enumerate(phases.items(), 1):
        if name in seconds:
            print(f"[{number}/{len(phases)}] {name}: done before, in {seconds[name]:.0f} s", flush=True)
            continue
        print(f"[{number}/{len(phases)}] {name}", flush=True)
        start = time.perf_counter()
        run()
        seconds[name] = round(time.perf_counter() - start, 1)
        with atomic_write(out / "seconds.json") as file:
            file.write(json.dumps(seconds) + "\n")
    report(out)


def paths(out: Path) -> list[str]:
    """Where the phases leave things for each other."""
    return [
        f"model.path={CHECKPOINT}",
        f"run.dir={out / 'train'}",
        f"data.candidates={out / 'data/train/candidates.jsonl'}",
        f"data.validation={out / 'data/validation/candidates.jsonl'}",
        f"data.pivots={out / 'pivots.jsonl'}",
        f"mine.store={out / 'mine'}",
        f"evaluate.models.base={CHECKPOINT}",
        f"evaluate.models.pivotrl={out / 'train/hf'}",
        f"evaluate.out={out / 'evaluation.json'}",
    ]


def make_data(out: Path) -> None:
    """Expert trajectories as a team would own them (OpenAI chat), converted as `pivot convert` does."""
    for split, count in (("train", TRAIN_TRAJECTORIES), ("validation", VALIDATION_TRAJECTORIES)):
        trajectories = out / "data" / f"{split}.jsonl"
        trajectories.parent.mkdir(parents=True, exist_ok=True)
        write_trajectories(expert_trajectories(count, 0, split), trajectories)
        made = convert([trajectories], out / "data" / split)
        print(f"  {split}: {made.trajectories} expert trajectories, {made.candidates} candidates", flush=True)


def read_seconds(out: Path) -> dict[str, float]:
    """Seconds of the phases that are done."""
    path = out / "seconds.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}
