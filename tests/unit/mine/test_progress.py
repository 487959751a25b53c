"""The closing table and the counts over all shards."""

import io
from collections import Counter
from pathlib import Path

from rich.console import Console

from pivot.mine.progress import Follow, closing_table
from pivot.mine.results import Prefill, Selected
from pivot.mine.select import profile
from pivot.mine.store import Shard, StoredProfile, StoredSample, encode_line, prepare
from pivot.mine.turns import Encoded


def test_the_table_shows_what_was_kept_cut_skipped_and_spent() -> None:
    profiles = [profile("a", [1, 0], ["match", "[red]x[/red]:key"]), profile("b", [None, 1], ["match", "judge_error"])]
    selected = Selected(profiles, profiles[:1], {"b": "verdict_errors"})
    encoded = Encoded([], Counter(over_long_history=2), Counter(truncated=3))
    out = io.StringIO()
    Console(file=out, width=120).print(closing_table(selected, encoded, Prefill(1100, 1000), Path("[b]out[/b].jsonl")))
    rows = {tuple(cell.strip() for cell in line.split("│")[1:3]) for line in out.getvalue().splitlines() if "│" in line}
    assert rows >= {
        ("candidates profiled", "2"), ("mixed", "1 (50%)"), ("pivots kept", "1 (50%)"), ("cut: verdict_errors", "1"),
        ("samples without verdict", "1 (candidates left with fewer than two: 1)"), ("skipped: over_long_history", "2"),
        ("prompts: truncated", "3"), ("prompt tokens of this run", "1,100 computed / 1,000 distinct = 1.10"),
        ("verdict [red]x[/red]", "1 (25%)"), ("written to", "[b]out[/b].jsonl"),
    }  # fmt: skip


def test_shards_of_all_processes_are_followed_and_a_half_written_line_waits(tmp_path: Path) -> None:
    prepare(tmp_path, {})
    records = [StoredProfile(name, (StoredSample("t", 1.0, "match", 1),)) for name in "abc"]
    with Shard(tmp_path, "shard-0.jsonl", {}) as shard:
        shard.append(records[:1])
    line = encode_line(records[1])
    (tmp_path / "shard-1-0.jsonl").write_bytes(line[:20])
    follow = Follow(tmp_path)
    assert follow.poll() == {"all1": 1}
    (tmp_path / "shard-1-0.jsonl").write_bytes(line + encode_line(records[2]))
    assert follow.poll() == {"all1": 3}
    assert follow.poll() == {"all1": 3}
