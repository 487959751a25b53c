"""The orders desk: its state, its tools and the simulator that executes a tool call.

The tools do not check the shop's policy (a delivered order *can* be cancelled): knowing which tool fits an
order's status is the agent's work, and that is what makes some turns hard.
"""

import json
from collections.abc import Callable
from typing import Any

from pivot.trajectory.types import ToolCall

State = dict[str, dict[str, dict[str, Any]]]
"""``{"customers": {name: {"email", "credit"}}, "orders": {id: {"customer", "item", "size", "qty", "paid",
"city", "status", "refund"}}}``; ``paid`` and ``credit`` in whole dollars."""

ITEMS = ("lamp", "mug", "desk", "chair", "book", "coat", "shoe", "bag", "pen", "hat", "clock", "rug")
SIZES = ("S", "M", "L")
STATUSES = ("pending", "shipped", "delivered")
NAMES = ("Ann", "Bob", "Cara", "Dan", "Eva", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kate", "Leo",
         "Mia", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tina", "Vera")  # fmt: skip
MAIL_HOSTS = ("box.io", "post.me", "web.org")
ORDER_LETTERS = "ABCDEFGHJKNPQRTUVWXYZ"  # not the sizes, and not I and O, which read as digits
CITIES = ("Oslo", "Bern", "Rome", "Lima", "Cairo", "Delhi", "Paris", "Quito",
          "Seoul", "Tokyo", "Turin", "Vienna", "Zurich", "Porto", "Riga", "Malta")  # fmt: skip

POLICY = (
    "Orders desk. Look up first. Pending: cancel or change. Delivered: return. Shipped: refuse. Ask before you act."
)
"""The system message. One line, because every turn of every episode carries it."""

STRING = {"type": "string"}
REFUND = {"type": "string", "enum": ["card", "credit"], "default": "card"}


def _tool(name: str, description: str, properties: dict[str, dict], required: list[str]) -> dict:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


TOOLS: tuple[dict, ...] = (
    _tool("find_customer", "Find orders", {"name": STRING, "email": STRING}, []),
    _tool("get_order", "Show", {"order": STRING}, ["order"]),
    _tool("cancel_order", "Cancel", {"order": STRING, "refund": REFUND}, ["order"]),
    _tool("return_order", "Take back", {"order": STRING, "refund": REFUND}, ["order"]),
    _tool("change_address", "Redirect", {"order": STRING, "city": STRING}, ["order", "city"]),
    _tool(
        "change_item",
        "Change",
        {"order": STRING, "size": {"type": "string", "enum": list(SIZES)}, "qty": {"type": "integer"}},
        ["order"],
    ),
)
"""The tools in OpenAI form. Descriptions are short on purpose: they are part of every prompt."""

WRITING_TOOLS = frozenset({"cancel_order", "return_order", "change_address", "change_item"})
CLOSED = frozenset({"cancelled", "returned"})

_PARAMETERS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
_PYTHON_TYPES = {"string": str, "integer": int}


class CallError(Exception):
    """A call that the desk refuses; the text becomes the tool's error result."""


def execute(state: State, call: ToolCall) -> str:
    """Run one tool call on `state` (changed in place) and return the result as compact JSON.

    Args:
        state: the desk's state.
        call: any call, also one with an unknown tool or hostile arguments.

    Returns:
        A JSON object; ``{"error": reason}`` when the call is refused, in which case the state is unchanged.
    """
    try:
        if call.name not in _HANDLERS:
            raise CallError("no such tool")
        result = _HANDLERS[call.name](state, **_arguments(call))
    except CallError as error:
        result = {"error": str(error)}
    return json.dumps(result, separators=(",", ":"))


def _arguments(call: ToolCall) -> dict[str, Any]:
    """Parse and check the arguments against the tool's schema; defaults filled in."""
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, TypeError, RecursionError) as error:
        raise CallError("bad arguments") from error
    schema = _PARAMETERS[call.name]
    if not isinstance(arguments, dict) or not arguments.keys() <= schema["properties"].keys():
        raise CallError("bad arguments")
    filled = {key: spec["default"] for key, spec in schema["properties"].items() if "default" in spec}
    filled.update(arguments)
    if any(key not in filled for key in schema["required"]):
        raise CallError("bad arguments")
    for key, value in filled.items():
        spec = schema["properties"][key]
        # bool is a subclass of int in Python; JSON knows the difference.
        if not isinstance(value, _PYTHON_TYPES[spec["type"]]) or isinstance(value, bool):
            raise CallError("bad arguments")
        if "enum" in spec and value not in spec["enum"]:
            raise CallError("bad arguments")
    return filled


def _order(state: State, order: str) -> dict[str, Any]:
    if order not in state["orders"]:
        raise CallError("no such order")
    return state["orders"][order]


def _open_order(state: State, order: str) -> dict[str, Any]:
    found = _order(state, order)
    if found["status"] in CLOSED:
        raise CallError("order is closed")
    return found


def _find_customer(state: State, name: str | None = None, email: str | None = None) -> dict:
    for known, customer in state["customers"].items():
        if (name is None or name == known) and (email is None or email == customer["email"]):
            if name is None and email is None:
                break
            orders = [key for key, order in state["orders"].items() if order["customer"] == known]
            return {"name": known, "orders": orders}
    raise CallError("no such customer")


def _get_order(state: State, order: str) -> dict:
    found = _order(state, order)
    return {"order": order} | {key: found[key] for key in ("item", "size", "qty", "paid", "city", "status")}


def _close(state: State, order: str, refund: str, status: str) -> dict:
    found = _open_order(state, order)
    found["status"], found["refund"] = status, refund
    if refund == "credit":
        state["customers"][found["customer"]]["credit"] += found["paid"]
    return {"order": order, "status": status, "refund": refund}


def _cancel_order(state: State, order: str, refund: str) -> dict:
    return _close(state, order, refund, "cancelled")


def _return_order(state: State, order: str, refund: str) -> dict:
    return _close(state, order, refund, "returned")


def _change_address(state: State, order: str, city: str) -> dict:
    found = _open_order(state, order)
    if city not in CITIES:
        raise CallError("no such city")
    found["city"] = city
    return {"order": order, "city": city}


def _change_item(state: State, order: str, size: str | None = None, qty: int | None = None) -> dict:
    found = _open_order(state, order)
    if (size is None and qty is None) or (qty is not None and not 1 <= qty <= 9):
        raise CallError("bad arguments")
    found["size"] = found["size"] if size is None else size
    found["qty"] = found["qty"] if qty is None else qty
    return {"order": order, "size": found["size"], "qty": found["qty"]}


_HANDLERS: dict[str, Callable[..., dict[str, Any]]] = {
    "find_customer": _find_customer,
    "get_order": _get_order,
    "cancel_order": _cancel_order,
    "return_order": _return_order,
    "change_address": _change_address,
    "change_item": _change_item,
}
