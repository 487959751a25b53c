"""`pivot explain`: ids, what is printed, and that untrusted text is shown and never interpreted."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pivot.errors import UserError
from pivot.mine.explain import MEANINGS, decision, explain, find, visible
from pivot.mine.results import select_all, write
from pivot.mine.select import PRESETS, Caps, profile, rule
from pivot.mine.store import Shard, StoredProfile, StoredSample, prepare
from pivot.trajectory.rows import to_row
from tests.unit.mine.fakes import turns

TURNS = turns(40)
IDS = [turn.candidate.candidate_id for turn in TURNS]


@pytest.fixture
def mined(tmp_path: Path) -> Path:
    with (tmp_path / "candidates.jsonl").open("w") as file:
        for turn in TURNS:
            file.write(json.dumps(to_row(turn.candidate)) + "\n")
    samples = (
        StoredSample("[red]fine[/red]\x1b[2J", 1.0, "match", 3, ("case_folded",)),
        StoredSample("[red]fine[/red]\x1b[2J", 1.0, "match", 3, ("case_folded",)),
        StoredSample("wrong \u202eevil", 0.0, "name_mismatch:[b]x[/b]", 4),
        StoredSample("lost", None, "judge_unreachable", 5),
    )
    prepare(tmp_path / "store", {})
    with Shard(tmp_path / "store", "shard-0.jsonl", {}) as shard:
        shard.append(StoredProfile(name, samples if name == IDS[0] else samples[:2]) for name in IDS[:-1])
    return tmp_path


def printed(mined: Path, name: str, pivots: Path | None = None) -> str:
    out = io.StringIO()
    console = Console(file=out, width=160, highlight=False, force_terminal=False)
    explain(name, mined / "store", mined / "candidates.jsonl", pivots, console)
    return out.getvalue()


def test_everything_about_a_pivot(mined: Path) -> None:
    selected = select_all(mined / "store", TURNS, rule("paper", max_mean=0.9), Caps())
    write(mined / "pivots.jsonl", mined / "store", TURNS, selected, {},
          {"rule": {"name": "paper", "require_variance": True, "max_mean": 0.9}, "caps": {"per_trajectory": 3}},
          )  # fmt: skip
    text = printed(mined, IDS[0], mined / "pivots.jsonl")
    for wanted in (
        IDS[0], "turn 1 of 1 of trajectory t0", "user: t0 0", "t0 answer 0", "4 samples", "2x", "+ case_folded",
        r"[red]fine[/red]\x1b[2J", r"wrong \u202eevil", "name_mismatch:[b]x[/b]", "judge_unreachable", "none",
        "class mixed   mean 0.667   variance 0.2222", "kept: it is a pivot",
        "rule paper asks for: variance > 0 and mean < 0.9; caps: per_trajectory 3", "pivots.jsonl",
    ):  # fmt: skip
        assert wanted in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "not in " not in text
    text = printed(mined, IDS[1], mined / "pivots.jsonl")
    assert "cut (all1): every sample earned the reward" in text
    assert "not in " in text


def test_before_selection_and_without_a_profile(mined: Path) -> None:
    assert "no selection yet" in printed(mined, IDS[0])
    assert "not profiled" in printed(mined, IDS[-1])


def test_ids_are_found_by_their_beginning(mined: Path) -> None:
    rows = mined / "candidates.jsonl"
    assert find(IDS[3], rows) == TURNS[3].candidate
    unique = next(i for i in range(1, 25) if sum(name.startswith(IDS[3][:i]) for name in IDS) == 1)
    assert find(IDS[3][:unique], rows) == TURNS[3].candidate
    shared = next(name[0] for name in IDS if sum(other[0] == name[0] for other in IDS) > 1)
    count = sum(name[0] == shared for name in IDS)
    with pytest.raises(UserError, match=rf"{count} ids begin with '{shared}' \("):
        find(shared, rows)
    with pytest.raises(UserError, match="no candidate's id begins with 'xyz'"):
        find("xyz", rows)
    with pytest.raises(UserError, match="give the candidate's id"):
        find("", rows)


def test_every_reason_to_cut_is_explained() -> None:
    items = [profile("c", rewards) for rewards in ([0, 0], [1, 1], [1, 0, 1, 1], [None, None])]
    reasons = {chosen.reason_to_cut(item) for chosen in PRESETS.values() for item in items}
    caps = {"not_drawn", "per_trajectory", "message_share", "domain_balance"}
    assert MEANINGS.keys() == {reason or "kept" for reason in reasons} | caps
    assert decision(profile("c", [0, 1]), "kept", {}).startswith("kept")


@given(st.text())
def test_what_is_shown_is_printable(text: str) -> None:
    shown = visible(text)
    assert all(char in "\n\t" or char.isprintable() or char.isspace() for char in shown)
    assert len(shown) >= len(text)
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\x1b[31mb", r"a\x1b[31mb"), ("\r\x07", r"\x0d\x07"), ("\u202e\ud800", r"\u202e\ud800"),
     ("\U000e0041", r"\U000e0041"), ("é 漢\n\t", "é 漢\n\t"), ("\u2028", r"\u2028")],
)  # fmt: skip
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
