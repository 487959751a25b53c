"""`tool_call:schema`: which calls are the same, by which switch, and why others are not."""

import json
from typing import Any

import pytest

from pivot.trajectory import Action, ToolCall
from pivot.verify import Context, build
from pivot.verify.arguments import Relaxations
from tests.unit.verify.tools import BOOK

schema = build("tool_call:schema")
HERE = Context((BOOK,))


def do(**arguments: Any) -> Action:
    return Action(None, (ToolCall("book", json.dumps({"city": "Oslo"} | arguments)),))


def raw(arguments: str) -> Action:
    return Action(None, (ToolCall("book", arguments),))


SIMILARITIES = {"prose_similarity": 1.0, "query_similarity": 1.0}  # they have no off, but ask for the same words
SUMMARY = "The customer Mia Li wants to cancel reservation ABC123 because she is ill."
# (one, other, the switches that their equality needs)
SAME: list[tuple[Action, Action, tuple[str, ...]]] = [
    (do(), do(), ()),
    (do(seats=2), raw('{"seats":2,  "city":"Oslo"}'), ()),
    (raw('{"city": "\\u004fslo"}'), do(), ()),
    (raw('{"city": "Oslo", "price": 1e2}'), do(price=100.0), ()),
    (do(seats=1), do(), ("default_is_absence",)),
    (do(seats=1.0), do(), ("default_is_absence", "numeric_type")),
    (do(seats=None), do(), ("null_is_absence",)),
    (do(seats=None), do(seats=1), ("default_is_absence", "null_is_absence")),
    (do(note=None, rush=False, tags=[]), do(), ("default_is_absence", "null_is_absence")),
    (do(price=5), do(price=5.0), ("numeric_type",)),
    (do(seats=3.0), do(seats=3), ("numeric_type",)),
    (do(price=0.1 + 0.2), do(price=0.3), ("number_rounding",)),
    (do(code=5), do(code="5"), ("number_in_text",)),
    (do(code="-7"), do(code=-7), ("number_in_text",)),
    (do(city="  Oslo "), do(), ("whitespace",)),
    (do(city="oslo"), do(), ("text_case",)),
    (do(city=" oslo"), do(), ("text_case", "whitespace")),
    (do(city="new\n york"), do(city="New York"), ("text_case", "whitespace")),
    (do(city="Straße"), do(city="STRASSE"), ("text_case",)),
    (do(city="Zu\u0308rich"), do(city="Z\u00fcrich"), ("unicode_form",)),
    (do(city="Xi\u2019an"), do(city="Xi'an"), ("unicode_form",)),
    (do(city="New\u00a0York"), do(city="New York"), ("whitespace",)),
    (do(order_id="Zu\u0308-1"), do(order_id="Z\u00fc-1"), ("unicode_form",)),
    (do(order_id=" #W1 "), do(order_id="#W1"), ("whitespace",)),
    (do(cabin="Economy"), do(cabin="economy"), ("enum_case",)),
    (do(cabin=" ECONOMY"), do(cabin="Economy"), ("enum_case",)),
    (do(unit="celsius"), do(unit="Celsius"), ("enum_case",)),
    (do(when="May 20, 2024"), do(when="2024-05-20"), ("date_form",)),
    (do(day="20 May 2024"), do(day="2024/05/20"), ("date_form",)),
    (do(when="05/20/2024"), do(when="2024-05-20"), ("date_form",)),
    (do(when="2024-05-20T10:00:00Z"), do(when="2024-05-20T12:00:00+02:00"), ("date_form",)),
    (do(ids=["a1", "b2"]), do(ids=["b2", "a1"]), ("set_order",)),
    (do(toppings=["Ham", "egg"]), do(toppings=["egg", "ham"]), ("set_order", "text_case")),
    (do(expression="2 * (3 + 4)"), do(expression="2*(3+4)"), ("whitespace",)),
    (
        do(reason=SUMMARY),
        do(reason="Customer Mia Li asks to cancel reservation ABC123 as she is ill"),
        ("prose_similarity",),
    ),
    (do(query="What is the weather in Oslo?"), do(query="Oslo weather"), ("query_similarity",)),
    (do(reason="Changed my mind"), do(reason="changed  my mind."), ("prose_similarity",)),
    (do(legs=[{"to": "Rome", "bags": 0}]), do(legs=[{"to": "rome"}]), ("default_is_absence", "text_case")),
    (do(legs=[{"to": "Rome", "bags": 2.0}]), do(legs=[{"bags": 2, "to": "Rome"}]), ("numeric_type",)),
    (do(gift=""), do(), ("empty_is_absence",)),
    (do(plan={"kind": "rolling"}), do(), ("default_is_absence",)),
    (do(currency="usd"), do(currency="USD"), ("text_case",)),
    (do(item_ids=["1", "2", "1"]), do(item_ids=["1", "1", "2"]), ("set_order",)),
    (do(phone="+1 (555) 010-4477"), do(phone="001 555 010 4477"), ("phone_form",)),
    (do(phone="(555) 010 9931 "), do(phone="555-010-9931"), ("phone_form", "whitespace")),
    (do(amount="1,200.50"), do(amount="1200.5"), ("decimal_form",)),
    (do(color="#FA0"), do(color="#ffaa00"), ("colour_form",)),
    (do(length="P1D"), do(length="PT24H"), ("duration_form",)),
    (do(path="./src//core/../a.py"), do(path="src/a.py"), ("path_form",)),
    (do(dir="./src/core/"), do(dir="src/core"), ("path_form",)),
    (do(url="HTTPS://Docs.example.com:443"), do(url="https://docs.example.com/"), ("url_form",)),
    (do(email="Mia@X.org"), do(email="Mia@x.org"), ("email_form",)),
    (do(address="14 Harbor Rd., Salem"), do(address="14 harbor road, Salem"), ("address_form", "text_case")),
    (
        do(sql="/* all */ select id\nfrom T where a = 'B' -- x\n;"),
        do(sql="SELECT id FROM t WHERE a='B'"),
        ("sql_form",),
    ),
    (do(query="select id\nfrom t;"), do(query="SELECT id FROM t"), ("sql_form",)),
    (do(python_code="x=3  # three\n\nprint(x*2)\n"), do(python_code="x = 3\nprint(x * 2)"), ("python_form",)),
    (do(python_code="if a:\n  b()"), do(python_code="if a:\n    b()\n"), ("python_form",)),
    (do(bash_command="ls  -la 'src'"), do(bash_command="ls -a -l src"), ("shell_form",)),
    (do(expression="(199 + 45) + 20 * 3"), do(expression="3*20+45+199"), ("term_order",)),
    (do(expression="10 - (3 - 2)"), do(expression="2 + 10 - 3"), ("term_order",)),
    (do(query="from:ada the invoice"), do(query="invoice from:ada"), ("query_similarity",)),
    (raw(""), raw("{}"), ()),
    (raw("{broken"), raw("{broken"), ()),
]

DIFFERENT: list[tuple[Action, Action, str]] = [
    (do(city="Rome"), do(), "argument_mismatch:city"),
    (raw("{}"), do(), "missing_argument:city"),
    (do(city=None), do(), "argument_mismatch:city"),
    (do(price=5), do(), "extra_argument:price"),
    (do(surprise=1), do(), "extra_argument:surprise"),
    (do(surprise=None), do(), "extra_argument:surprise"),
    (do(), do(seats=2), "missing_argument:seats"),
    (do(seats="2"), do(seats=2), "argument_mismatch:seats"),
    (do(seats=True), do(), "extra_argument:seats"),
    (do(rush=1), do(rush=True), "argument_mismatch:rush"),
    (do(rush="true"), do(rush=True), "argument_mismatch:rush"),
    (do(city=5), do(city="5"), "argument_mismatch:city"),
    (do(code="5x"), do(code=5), "argument_mismatch:code"),
    (do(code="0x5"), do(code=5), "argument_mismatch:code"),
    (do(price=5.01), do(price=5), "argument_mismatch:price"),
    (do(seats=10**17), do(seats=10**17 + 1), "argument_mismatch:seats"),
    (do(city="JFK"), do(city="jfk"), "argument_mismatch:city"),
    (do(order_id="w1"), do(order_id="W1"), "argument_mismatch:order_id"),
    (do(order_id="W1 2"), do(order_id="W1  2"), "argument_mismatch:order_id"),
    (do(email="Mia@x.org"), do(email="mia@x.org"), "argument_mismatch:email"),
    (do(path="src/A.py"), do(path="src/a.py"), "argument_mismatch:path"),
    (do(country_code="US"), do(country_code="us"), "argument_mismatch:country_code"),
    (do(zip="12 345"), do(zip="12345"), "argument_mismatch:zip"),
    (do(cabin="first"), do(cabin="economy"), "argument_mismatch:cabin"),
    (do(cabin="basic economy"), do(cabin="basic_economy"), "argument_mismatch:cabin"),
    (do(mode="FAST"), do(mode="fast"), "argument_mismatch:mode"),
    (do(mode="Fast"), do(mode="fast"), "argument_mismatch:mode"),
    (do(when="05/06/2024"), do(when="2024-05-06"), "argument_mismatch:when"),
    (do(when="2024-05-20T10:00:00"), do(when="2024-05-20T10:00:00Z"), "argument_mismatch:when"),
    (do(when="2024-02-30"), do(when="30 Feb 2024"), "argument_mismatch:when"),
    (do(when="2024-05-21"), do(when="May 20, 2024"), "argument_mismatch:when"),
    (do(city="10\u00b2"), do(city="102"), "argument_mismatch:city"),
    (do(tags=["a", "b"]), do(tags=["b", "a"]), "argument_mismatch:tags"),
    (do(ids=["a", "a"]), do(ids=["a"]), "argument_mismatch:ids"),
    (do(expression="2 * 3 + 4"), do(expression="2*(3+4)"), "argument_mismatch:expression"),
    (do(limit=None), do(), "extra_argument:limit"),
    (do(value=60), do(value="60"), "argument_mismatch:value"),
    (do(needle="Timeout"), do(needle="timeout"), "argument_mismatch:needle"),
    (do(order_id="#\uff321"), do(order_id="#R1"), "argument_mismatch:order_id"),
    (do(only=[]), do(), "extra_argument:only"),
    (do(plan={"kind": "blue"}), do(), "extra_argument:plan"),
    (do(item_ids=["1", "1"]), do(item_ids=["1"]), "argument_mismatch:item_ids"),
    (do(phone="+1 555 010 4477"), do(phone="555 010 4477"), "argument_mismatch:phone"),
    (do(amount="12.05"), do(amount="12.5"), "argument_mismatch:amount"),
    (do(color="#FFAA00"), do(color="#FFAA01"), "argument_mismatch:color"),
    (do(length="P1M"), do(length="PT1M"), "argument_mismatch:length"),
    (do(length="P1M"), do(length="P30D"), "argument_mismatch:length"),
    (do(path="../a.py"), do(path="a.py"), "argument_mismatch:path"),
    (do(path="/a.py"), do(path="a.py"), "argument_mismatch:path"),
    (do(path="a/"), do(path="a"), "argument_mismatch:path"),
    (do(url="https://x.org/A"), do(url="https://x.org/a"), "argument_mismatch:url"),
    (do(url="https://x.org/a/"), do(url="https://x.org/a"), "argument_mismatch:url"),
    (do(url="http://x.org"), do(url="https://x.org"), "argument_mismatch:url"),
    (do(email="mailto:mia@x.org"), do(email="mia@x.org"), "argument_mismatch:email"),
    (do(address="12 St. John Road"), do(address="12 Street John Road"), "argument_mismatch:address"),
    (do(sql="SELECT a FROM t WHERE b = 'X'"), do(sql="SELECT a FROM t WHERE b = 'x'"), "argument_mismatch:sql"),
    (do(sql="DELETE FROM t WHERE a = 1"), do(sql="DELETE FROM t -- WHERE a = 1"), "argument_mismatch:sql"),
    (do(sql='SELECT "A" FROM t'), do(sql='SELECT "a" FROM t'), "argument_mismatch:sql"),
    (do(sql="SELECT 1 --x\n"), do(sql="SELECT 1"), "argument_mismatch:sql"),
    (do(sql="SELECT /*+ hint */ 1"), do(sql="SELECT 1"), "argument_mismatch:sql"),
    (do(query="SELECT a FROM t WHERE b='X'"), do(query="SELECT a FROM t WHERE b='x'"), "argument_mismatch:query"),
    (do(python_code="if a:\n  b\nc"), do(python_code="if a:\n  b\n  c"), "argument_mismatch:python_code"),
    (do(python_code="x = 'a b'"), do(python_code="x = 'a  b'"), "argument_mismatch:python_code"),
    (do(bash_command="rm a b"), do(bash_command="rm 'a b'"), "argument_mismatch:bash_command"),
    (do(expression="8 / 4"), do(expression="4 / 8"), "argument_mismatch:expression"),
    (do(expression="10 - (3 - 2)"), do(expression="10 - 3 - 2"), "argument_mismatch:expression"),
    (do(query="from:ada invoice"), do(query="to:ada invoice"), "argument_mismatch:query"),
    (
        do(reason="Move the meeting from 10:00 to 14:00."),
        do(reason="Move the meeting from 14:00 to 10:00."),
        "argument_mismatch:reason",
    ),
    (do(command="echo  a"), do(command="echo a"), "argument_mismatch:command"),
    (do(reason=SUMMARY), do(reason=SUMMARY.replace("ABC123", "XYZ789")), "argument_mismatch:reason"),
    (
        do(reason="The customer wants insurance"),
        do(reason="The customer wants no insurance"),
        "argument_mismatch:reason",
    ),
    (do(reason="ordered by mistake"), do(reason="no longer needed"), "argument_mismatch:reason"),
    (do(reason="wrong size"), do(reason="wrong colour"), "argument_mismatch:reason"),
    (do(reason="Mia wants what Bob has"), do(reason="Mia wants what Eva has"), "argument_mismatch:reason"),
    (
        do(query="best cheap hotels in downtown Oslo"),
        do(query="best cheap hotels in downtown Rome"),
        "argument_mismatch:query",
    ),
    (do(query="oslo weather tomorrow"), do(query="oslo weather"), "argument_mismatch:query"),
    (do(why="not needed any longer"), do(why="no longer needed"), "argument_mismatch:why"),
    (do(legs=[{"to": "A"}, {"to": "B"}]), do(legs=[{"to": "B"}, {"to": "A"}]), "argument_mismatch:legs"),
    (do(legs=[{"to": "A"}]), do(legs=[{"to": "A"}] * 2), "argument_mismatch:legs"),
    (do(legs=[{"to": None}]), do(legs=[{}]), "argument_mismatch:legs"),
    (do(meta={"a": None}), do(meta={}), "argument_mismatch:meta"),
    (do(meta={"a": 5}), do(meta={"a": 5.0}), "argument_mismatch:meta"),
    (do(meta=[]), do(meta={}), "argument_mismatch:meta"),
    (Action("Booked!"), do(), "kind_mismatch:message"),
    (do(), Action("Booked!"), "kind_mismatch:call"),
    (Action(None, (ToolCall("cancel", "{}"),)), do(), "name_mismatch"),
    (Action(None, (ToolCall("Book", '{"city": "Oslo"}'),)), do(), "name_mismatch"),
    (Action(None, do().calls * 2), do(), "call_count"),
    (Action("broken", malformed="not_json"), do(), "malformed:not_json"),
    (raw("{"), do(), "arguments_unreadable:not_json"),
    (raw("[]"), do(), "arguments_unreadable:not_object"),
    (raw('{"city": NaN}'), do(), "arguments_unreadable:not_finite"),
    (raw('{"meta": ' + '{"a":' * 10_000 + "1" + "}" * 10_001), do(), "too_long"),
    (raw('{"meta": ' + '{"a":' * 100 + "1" + "}" * 101), do(), "arguments_unreadable:too_deep"),
    (do(), raw("{"), "expected_unreadable:not_json"),
    (do(), Action("x", malformed="not_json"), "expected_unreadable:not_json"),
]


@pytest.mark.parametrize(("one", "other", "used"), SAME)
def test_the_same_calls_earn_one_both_ways_round(one: Action, other: Action, used: tuple[str, ...]) -> None:
    for actual, expected in ((one, other), (other, one)):
        verdict = schema(actual, expected, HERE)
        assert (verdict.reward, verdict.reason, verdict.used) == (1.0, "match", used)


@pytest.mark.parametrize(("one", "other", "used"), [case for case in SAME if case[2]])
def test_each_switch_that_was_used_was_needed_and_they_are_enough(
    one: Action, other: Action, used: tuple[str, ...]
) -> None:
    off = {name: SIMILARITIES.get(name, False) for name in Relaxations().on() if name not in used}
    assert build({"name": "tool_call", **off})(one, other, HERE).reward == 1.0
    for name in used:
        if name not in SIMILARITIES:
            assert build({"name": "tool_call", **off, name: False})(one, other, HERE).reward == 0.0


@pytest.mark.parametrize(("actual", "expected", "reason"), DIFFERENT)
def test_other_actions_earn_nothing_with_a_reason(actual: Action, expected: Action, reason: str) -> None:
    verdict = schema(actual, expected, HERE)
    assert (verdict.reward, verdict.reason) == (0.0, reason)
    assert schema(expected, actual, HERE).reward == 0.0


def test_messages_are_left_to_others() -> None:
    verdict = schema(Action("Hi"), Action("Hello"), HERE)
    assert (verdict.reward, verdict.reason, verdict.status) == (0.0, "other_message", "undecided")
    assert schema(Action("Hello "), Action("Hello"), HERE).status == "decided"
    assert schema(Action("  Hello"), Action("Hello"), HERE).reward == 1.0
    assert schema(Action(""), Action("Hello"), HERE).reason == "empty_message"


def test_without_a_schema_nothing_is_relaxed_but_texts_and_key_order() -> None:
    def reward(one: Action, other: Action) -> float:
        return schema(one, other, Context()).reward

    assert reward(do(seats=2), raw('{"seats": 2, "city": " oslo "}')) == 1.0
    assert reward(do(seats=1), do()) == 0.0
    assert reward(do(note=None), do()) == 0.0
    assert reward(do(price=5), do(price=5.0)) == 0.0
    assert reward(do(ids=["a", "b"]), do(ids=["b", "a"])) == 0.0


def test_text_beside_calls_does_not_count() -> None:
    assert schema(Action("Let me book that.", do().calls), do(), HERE).reward == 1.0


def test_the_content_of_a_file_is_code_and_that_of_a_letter_is_not() -> None:
    def reward(one: dict[str, str], other: dict[str, str]) -> float:
        return schema(raw(json.dumps(one)), raw(json.dumps(other)), Context()).reward

    letter, same_letter = "Your order has been cancelled.", "Your order was cancelled"
    assert reward({"content": letter}, {"content": same_letter}) == 1.0
    assert reward({"content": letter, "path": "a.txt"}, {"content": same_letter, "path": "a.txt"}) == 0.0
    assert reward({"query": "refund policy"}, {"query": "policy on refunds"}) == 1.0
    assert reward({"query": "SELECT a FROM t WHERE b = 1"}, {"query": "SELECT b FROM t WHERE a = 1"}) == 0.0


def tool(name: str, description: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def test_two_lists_that_go_together_may_be_permuted_only_together() -> None:
    ids = {"type": "array", "items": {"type": "string"}, "description": "There could be duplicate items."}
    new = ids | {"description": "Each should match the old item in the same position."}
    here = Context((tool("book", "Exchange items.", old_ids=ids, new_ids=new),))
    wanted = raw('{"old_ids": ["1", "2"], "new_ids": ["8", "9"]}')
    verdict = schema(raw('{"old_ids": ["2", "1"], "new_ids": ["9", "8"]}'), wanted, here)
    assert (verdict.reward, verdict.used) == (1.0, ("set_order",))
    crossed = schema(raw('{"old_ids": ["2", "1"], "new_ids": ["8", "9"]}'), wanted, here)
    assert (crossed.reward, crossed.reason) == (0.0, "argument_mismatch:old_ids")


def test_an_empty_value_is_none_only_where_nothing_is_overwritten() -> None:
    properties = {"note": {"type": "string"}}
    adds, changes = (Context((tool("book", f"{verb} an event.", **properties),)) for verb in ("Add", "Change"))
    assert schema(raw('{"note": ""}'), raw("{}"), adds).used == ("empty_is_absence",)
    assert schema(raw('{"note": ""}'), raw("{}"), changes).reason == "extra_argument:note"


def test_calls_of_different_tools_on_one_file_keep_their_order() -> None:
    make, write = ToolCall("make_dir", '{"path": "out"}'), ToolCall("write_file", '{"path": "out/a"}')
    read, listing = ToolCall("read_file", '{"path": "out/a"}'), ToolCall("list_dir", '{"path": "./out"}')
    other = ToolCall("write_file", '{"path": "outer"}')

    def reason(*calls: ToolCall) -> str:
        return schema(Action(None, calls[::-1]), Action(None, calls), Context()).reason

    assert reason(make, write) == "call_order"
    assert reason(write, read) == "call_order"
    assert reason(listing, read) == "match"
    assert reason(make, other) == "match"
    assert schema(Action(None, (make, write)), Action(None, (make, write)), Context()).reason == "match"


def batch(*cities: str) -> Action:
    return Action(None, tuple(ToolCall("book", json.dumps({"city": city})) for city in cities))


def test_parallel_calls_are_a_multiset() -> None:
    assert schema(batch("Rome", "Oslo", "Rome"), batch("Oslo", "Rome", "Rome"), HERE).used == ()
    assert schema(batch("rome", "Oslo", "Rome"), batch("Oslo", "Rome", "Rome"), HERE).used == ("text_case",)
    verdict = schema(batch("Rome", "Oslo", "Oslo"), batch("Rome", "Rome", "Oslo"), HERE)
    assert (verdict.reward, verdict.reason) == (0.0, "argument_mismatch:city")
    assert schema(batch("Rome"), batch("Rome", "Oslo"), HERE).reason == "call_count"
    mixed = Action(None, (*batch("Rome").calls, ToolCall("cancel", "{}")))
    assert schema(mixed, batch("Rome", "Oslo"), HERE).reason == "name_mismatch"
    assert schema(Action(None, mixed.calls[::-1]), mixed, HERE).reward == 1.0


def test_an_identical_call_is_matched_with_its_like() -> None:
    """Which calls are paired decides which switches are said to be used."""
    verdict = schema(batch("OSLO Sentrum", "Oslo sentrum"), batch("Oslo sentrum", "Rome"), HERE)
    assert verdict.reward == 0.0
    partial = build({"name": "tool_call", "parallel": "fractional"})
    verdict = partial(batch("OSLO Sentrum", "Oslo sentrum"), batch("Oslo sentrum", "Rome"), HERE)
    assert (verdict.reward, verdict.reason, verdict.used) == (0.5, "partial", ())
    assert verdict.detail.startswith("1 of 2 calls; argument_mismatch:city")


def test_too_many_calls_are_not_compared() -> None:
    covered = build({"name": "tool_call", "parallel": "covered"})
    many = Action(None, tuple(ToolCall("book", json.dumps({"city": str(n)})) for n in range(200)))
    assert covered(many, batch("199"), HERE).reason == "too_many_calls"
    assert covered(many, many, HERE).reward == 1.0
    assert covered(Action(None, many.calls[:100]), batch("99"), HERE).reward == 1.0


def test_arguments_far_longer_than_the_experts_are_compared_as_they_are_written() -> None:
    long = json.dumps({"city": "x" * 1_000_000})
    assert schema(raw(long), do(), HERE).reason == "too_long"
    assert schema(do(), raw(long), HERE).reason == "too_long"
    assert schema(raw(long), raw(long), HERE).reward == 1.0
    assert schema(raw(" " + long), raw(long), HERE).reason == "too_long"
    escaped = "".join(f"\\u{ord(char):04x}" for char in "y" * 4_000)
    assert schema(raw(f'{{"city": "{escaped}"}}'), raw(json.dumps({"city": "y" * 4_000})), HERE).reward == 1.0


def test_a_hostile_key_cannot_flood_the_reasons() -> None:
    verdict = schema(do(**{"k:\n" + "y" * 10_000: 1}), do(), HERE)
    assert verdict.reason == "extra_argument:k??" + "y" * 37


def test_a_schema_that_goes_round_in_circles_ends() -> None:
    loop = {"$ref": "#/$defs/N", "$defs": {"N": {"anyOf": [{"$ref": "#/$defs/N"}, {"$ref": "#/$defs/M"}]}}}
    node = {
        "properties": {"n": {"$ref": "#/$defs/N"}},
        "$defs": {"N": {"default": {"n": {}}, "properties": {"n": {"$ref": "#/$defs/N"}}}},
    }
    deep, deeper = ('{"n":' * depth + "1" + "}" * depth for depth in (60, 61))
    for parameters in (loop, node):
        here = Context(({"type": "function", "function": {"name": "book", "parameters": parameters}},))
        assert schema(raw(deep), raw(" " + deep), here).reward == 1.0
        assert schema(raw(deep), raw(deeper), here).reward == 0.0
