"""The simulator: exact effects, and no argument makes it raise."""

import copy
import json

import pytest

from pivot.trajectory.types import ToolCall
from pivot.world.orders import TOOLS, execute
from pivot.world.tasks import make_tasks


def desk():
    order = {"customer": "Ann", "item": "lamp", "size": "M", "qty": 2, "paid": 40, "city": "Oslo"}
    return {
        "customers": {
            "Ann": {"email": "ann@box.io", "credit": 5},
            "Bob": {"email": "bob@box.io", "credit": 0},
        },
        "orders": {
            "4821": order | {"status": "pending", "refund": None},
            "7730": order | {"status": "delivered", "refund": None},
            "1111": order | {"status": "cancelled", "refund": "card"},
        },
    }


def test_find_and_get():
    state = desk()
    found = '{"name":"Ann","orders":["4821","7730","1111"]}'
    assert execute(state, ToolCall("find_customer", '{"name": "Ann"}')) == found
    assert execute(state, ToolCall("find_customer", '{"email": "ann@box.io"}')) == found
    assert execute(state, ToolCall("find_customer", '{"email": "ann@box.io", "name": "Ann"}')) == found
    assert execute(state, ToolCall("find_customer", '{"email": "ann@box.io", "name": "Bob"}')) == (
        '{"error":"no such customer"}'
    )
    assert execute(state, ToolCall("get_order", '{"order": "4821"}')) == (
        '{"order":"4821","item":"lamp","size":"M","qty":2,"paid":40,"city":"Oslo","status":"pending"}'
    )
    assert state == desk()


@pytest.mark.parametrize(
    ("name", "arguments", "order", "changed", "credit"),
    [
        ("cancel_order", {"order": "4821"}, "4821", {"status": "cancelled", "refund": "card"}, 5),
        (
            "cancel_order",
            {"order": "4821", "refund": "card"},
            "4821",
            {"status": "cancelled", "refund": "card"},
            5,
        ),
        (
            "return_order",
            {"refund": "credit", "order": "7730"},
            "7730",
            {"status": "returned", "refund": "credit"},
            45,
        ),
        ("change_address", {"order": "4821", "city": "Bern"}, "4821", {"city": "Bern"}, 5),
        ("change_item", {"order": "4821", "size": "L"}, "4821", {"size": "L"}, 5),
        ("change_item", {"order": "4821", "qty": 3, "size": "S"}, "4821", {"qty": 3, "size": "S"}, 5),
    ],
)
def test_writing_tools_change_exactly_this(name, arguments, order, changed, credit):
    state, expected = desk(), desk()
    expected["orders"][order].update(changed)
    expected["customers"]["Ann"]["credit"] = credit
    assert "error" not in json.loads(execute(state, ToolCall(name, json.dumps(arguments))))
    assert state == expected


HOSTILE = [
    "",
    "null",
    "[]",
    "1",
    '"x"',
    "{",
    "{}{}",
    "[" * 100_000,
    '{"order": NaN}',
    '{"order": 4821}',
    '{"order": null}',
    '{"order": {"a": 1}}',
    '{"order": []}',
    '{"order": "4821", "extra": 1}',
    '{"order": "4821", "refund": "cash"}',
    '{"order": "4821", "city": "Atlantis"}',
    '{"order": "4821", "qty": true}',
    '{"order": "4821", "qty": 1.5}',
    '{"order": "4821", "qty": -1}',
    '{"order": "4821", "qty": ' + "9" * 5000 + "}",
    '{"order": "\\ud800"}',
    '{"name": {}}',
    "{}",
    '{"__class__": 1}',
    '{"order": "4821", "size": ["S"]}',
    None,
    7,
]


@pytest.mark.parametrize("arguments", HOSTILE)
def test_hostile_arguments_are_errors_that_change_nothing(arguments):
    for name in [tool["function"]["name"] for tool in TOOLS] + ["", "__init__", "find"]:
        state = desk()
        result = json.loads(execute(state, ToolCall(name, arguments)))
        assert list(result) == ["error"]
        assert state == desk()


def test_closed_orders_stay_closed():
    for name, more in (
        ("cancel_order", ""),
        ("change_address", ', "city": "Bern"'),
        ("change_item", ', "qty": 1'),
    ):
        state = desk()
        assert execute(state, ToolCall(name, f'{{"order": "1111"{more}}}')) == '{"error":"order is closed"}'
        assert state == desk()


def test_task_states_are_json():
    for task in make_tasks(50, 0):
        assert json.loads(json.dumps(task.state)) == task.state
        assert copy.deepcopy(task.goal) == task.goal
