"""The JSON's keys, and the table."""

import json

from rich.console import Console

from pivot.ops.doctor.row import Row, Status, fit
from pivot.ops.doctor.show import Report, as_json, print_table

ROWS = [
    Row.green("python.version", "3.11.2"),
    Row.grey("devices.fp8", "not applicable"),
    Row("known-bad.nemo-lightning", Status.RED, "lightning 2.5 [x]", "pip install it", "metadata of nemo"),
    Row.yellow("machine.cpus", "1 core", "ask for more"),
]


def test_json() -> None:
    assert json.loads(as_json(Report("n1", "train", ROWS, 1.26))) == {
        "schema": 1,
        "node": "n1",
        "program": "train",
        "fit": False,
        "counts": {"green": 1, "grey": 1, "yellow": 1, "red": 1},
        "seconds": 1.3,
        "rows": [
            {"name": "python.version", "status": "green", "found": "3.11.2", "fix": None, "source": None},
            {"name": "devices.fp8", "status": "grey", "found": "not applicable", "fix": None, "source": None},
            {"name": "known-bad.nemo-lightning", "status": "red", "found": "lightning 2.5 [x]", "fix": "pip install it",
             "source": "metadata of nemo"},
            {"name": "machine.cpus", "status": "yellow", "found": "1 core", "fix": "ask for more", "source": None},
        ],
    }  # fmt: skip


def test_table() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(Report("n1", "train", ROWS, 1.26), console)
    text = console.export_text()
    assert "n1: pivot train" in text
    assert "-> pip install it (metadata of nemo)" in text
    assert "lightning 2.5 [x]" in text
    assert "not fit: 1 green, 1 grey, 1 yellow, 1 red; 1 s" in text


def test_only_red_is_unfit() -> None:
    assert fit([ROWS[0], ROWS[1], ROWS[3]])
    assert not fit(ROWS)


def test_the_fix_of_a_mistake_is_its_last_part() -> None:
    assert Row.mistake("a.b", "x: 2; do this: now") == Row.red("a.b", "x: 2", "do this: now")
    assert Row.mistake("a.b", "x is 2: do this") == Row.red("a.b", "x is 2", "do this")
    assert Row.mistake("a.b", "x", "y") == Row.red("a.b", "x", "y")
