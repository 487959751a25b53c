"""`search`: which searches, pages, places and answers are the same, by which switch, and why others are not."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.errors import UserError
from pivot.trajectory import Action, ToolCall
from pivot.verify import Context, build
from pivot.verify.search import SearchOptions
from pivot.verify.search_tools import marked_answer

search = build("search")
HERE = Context()
SHARES = {"query_overlap": 1.0, "window_overlap": 1.0}  # off
PAGE = "https://mills.example/report"


def tool(name: str, **properties: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"properties": properties}}}


def do(name: str, **arguments: Any) -> Action:
    return Action(None, (ToolCall(name, json.dumps(arguments)),))


def both(*actions: Action) -> Action:
    return Action(None, tuple(call for action in actions for call in action.calls))


def ask(*queries: str) -> Action:
    return do("search", query=queries[0]) if len(queries) == 1 else do("search", queries=list(queries))


def visit(url: Any = PAGE, **arguments: Any) -> Action:
    return do("visit", url=url, **arguments)


def say(answer: str) -> Action:
    return do("final_answer", answer=answer)


ORDER, STOP = "query_words", "query_stop_words"
# (one, other, the switches that their equality needs)
SAME: list[tuple[Action, Action, tuple[str, ...]]] = [
    (ask("dam year"), ask("dam year"), ()),
    (ask("dam, year?"), ask("  dam   year"), ()),
    (ask("dam year"), do("search", queries=["dam year"]), ()),
    (ask("dam year"), do("search", queries=[{"q": "dam year"}]), ()),
    (ask("population 1,204,000"), ask("population 1204000"), ()),
    (ask("U.S. Senate page"), ask("US Senate page"), ()),
    (ask("Dam Year"), ask("dam year"), ("text_case",)),
    (ask("dam year"), ask("year dam"), (ORDER,)),
    (ask("drowned villages"), ask("drowning village"), (ORDER,)),
    (ask("colour photographs"), ask("color photographs"), (ORDER,)),
    (ask("regatta organisers"), ask("regatta organizers"), (ORDER,)),
    (ask("Bergstr\u00f6m observatory"), ask("Bergstrom observatory"), (ORDER,)),
    (ask("the year of the dam"), ask("year dam"), (STOP,)),
    (ask("founder of the mill 1904"), ask("mill founder 1904"), (STOP, ORDER)),
    (ask('"Lake Tervo" dam'), ask("Lake Tervo dam"), ("query_quotes",)),
    (ask("dam site:a.org -news"), ask("-news site:A.org dam"), ()),
    (ask("site:www.a.org dam"), ask("site:http://a.org dam"), ()),
    (ask("three composers"), ask("3 composers"), ("number_words",)),
    (ask("twenty-first regiment"), ask("21st regiment"), ("number_words",)),
    (ask("World War II wreck"), ask("World War 2 wreck"), ("number_words",)),
    (ask("Second World War wreck"), ask("World War II wreck"), ("number_words", ORDER)),
    (ask("how tall is the tower"), ask("height of the tower"), ("query_questions", STOP)),
    (ask("where was Oskar Velde born"), ask("Oskar Velde birthplace"), ("query_questions", ORDER)),
    (ask("who directed the film"), ask("director of the film"), ("query_questions", STOP, ORDER)),
    (ask("who won the cup"), ask("winner of the cup"), ("query_questions", STOP)),
    (ask("Riverton FC manager"), ask("Riverton Football Club manager"), ("query_initials",)),
    (ask("MIT expedition"), ask("Massachusetts Institute of Technology expedition"), ("query_initials", STOP)),
    (ask("museum of the Corvane meteorite"), ask("museum that holds the Corvane meteorite"),
     ("query_overlap", STOP, ORDER)),
    (ask("tower that Lind designed"), ask("tower designed by Lind"), (STOP, ORDER)),
    (ask("what is this"), ask("What is this?"), ("text_case",)),
    (ask("a b", "c d"), both(ask("d c"), ask("a b")), (ORDER,)),
    (ask("dam year"), do("web_search", q="dam year"), ("tool_names",)),
    (ask("dam"), do("search", query="dam", topn=5, reason="to know"), ()),
    (ask("dam"), do("search", query="dam", page=1, filters=[], lang=None), ()),
    (visit(), visit("http://mills.example/report"), ("url_scheme",)),
    (visit(), visit("https://www.mills.example/report"), ("url_www",)),
    (visit(), visit(PAGE + "/"), ("url_slash",)),
    (visit(), visit(PAGE + "#a"), ("url_fragment",)),
    (visit(), visit(PAGE + "?utm_source=a"), ("url_tracking",)),
    (visit(), visit("HTTPS://mills.EXAMPLE:443/report"), ()),
    (visit([PAGE, "b.example"]), visit(["b.example", PAGE]), ()),
    (visit(), do("browse", link=PAGE), ("tool_names",)),
    (visit(), visit(timeout=30), ()),
    (visit(goal="year of the dam"), visit(goal="When was the dam built?"), ("page_goal",)),
    (visit(goal="year of the dam"), visit(), ("page_goal",)),
    (do("open", id=4), do("open", id="4", cursor=-1, loc=-1), ()),
    (do("open", id=PAGE), do("open", url="http://mills.example/report/"), ("url_scheme", "url_slash")),
    (do("open", cursor=2, loc=140, num_lines=60), do("open", cursor="2", loc=145, num_lines=60), ("window_overlap",)),
    (do("get_page", id=1, start_line=1, end_line=80), do("get_page", id=1, end_line=100), ("window_overlap",)),
    (do("fetch", url=PAGE, start_index=0), do("fetch", url=PAGE), ()),
    (do("find", pattern="Rector"), do("find", pattern=' "rector" '), ("text_case",)),
    (do("find", pattern="a  b"), do("find", pattern="a b"), ()),
    (say("Lake Tervo"), say("Lake Tervo."), ()),
    (say("The Salt Road"), say("Salt Road"), ()),
    (say("lake tervo"), say("Lake Tervo"), ("text_case",)),
    (say("seven"), say("7"), ("number_words",)),
    (say("5 percent"), say("5%"), ()),
    (say("1,204 metres"), say("1204 metres"), ()),
    (say("12 March 1903"), say("March 12, 1903"), ("answer_facts",)),
    (say("47"), say("there were 47 of them"), ("answer_facts",)),
    (do("finish", answer="A", evidence=["1", "2"], confidence=90), do("finish", answer="A", sources=[2, 1]), ()),
    (do("finish", answer="A", evidence=PAGE), do("finish", answer="A", evidence=PAGE + "/"), ("url_slash",)),
    (do("finish", answer="A", evidence="It fell in 1958"), do("finish", answer="A", evidence="fell in 1958"),
     ("answer_facts",)),
    (do("page_down"), do("page_down", n=None), ()),
    (both(ask("a b"), visit()), both(visit(), ask("b a")), (ORDER,)),
    (Action("Exact Answer: Lake Tervo\nConfidence: 95%"), Action("So:\n**The answer is Lake Tervo.**"), ()),
    (Action("Final answer: **7**"), Action("It is \\boxed{seven}"), ("number_words",)),
    (Action("  Done"), Action("Done "), ()),
]  # fmt: skip

QUERY = "differs:query"
DIFFERENT: list[tuple[Action, Action, str]] = [
    (ask("dam year 1958"), ask("dam year 1985"), QUERY),
    (ask("dam year 1958"), ask("dam year"), QUERY),
    (ask("old dam year opening ceremony 1958"), ask("old dam year opening ceremony"), QUERY),
    (ask("World War I wreck Skagerrak found"), ask("World War II wreck Skagerrak found"), QUERY),
    (ask("Christian IV wreck cannon find"), ask("Christian V wreck cannon find"), QUERY),
    (ask("three composers"), ask("four composers"), QUERY),
    (ask("Marie Curie husband"), ask("Pierre Curie husband"), QUERY),
    (ask("Henrike Solveig Aas"), ask("Henrik Solveig Aas"), QUERY),
    (ask("Henrike Solveig Aas"), ask("henrik solveig aas"), QUERY),
    (ask("William Evans diary"), ask("Williams Evan diary"), QUERY),
    (ask("village mill"), ask("villain mill"), QUERY),
    (ask("secret of the mill"), ask("secretary of the mill"), QUERY),
    (ask("founder of the mill"), ask("founding of the mill"), QUERY),
    (ask("when was the mill founded"), ask("who founded the mill"), QUERY),
    (ask("what year was Oskar Velde born"), ask("where was Oskar Velde born"), QUERY),
    (ask("defeated by Ostrava"), ask("defeated Ostrava"), QUERY),
    (ask("Ostrava defeated Brno"), ask("Brno defeated Ostrava"), QUERY),
    (ask("ferry from Halden to Bornholm"), ask("ferry from Bornholm to Halden"), QUERY),
    (ask("emigrated from Norway"), ask("emigrated to Norway"), QUERY),
    (ask("history of art"), ask("art of history"), QUERY),
    (ask("club members who were not sailors in war"), ask("club members who were sailors in war"), QUERY),
    (ask("Oskar Velde mother"), ask("Oskar Velde mother birthplace"), QUERY),
    (ask("Supreme Court justice Montana native"), ask("US Supreme Court justice Montana native"), QUERY),
    (ask("site:a.org dam"), ask("site:b.org dam"), QUERY),
    (ask("filetype:pdf dam"), ask("dam"), QUERY),
    (ask("dam -news"), ask("dam news"), QUERY),
    (ask("dam -1958"), ask("dam 1958"), QUERY),
    (ask('dam -"old mill"'), ask('dam "old mill"'), QUERY),
    (ask("painter OR composer"), ask("painter composer"), QUERY),
    (ask("C++ history"), ask("C history"), QUERY),
    (ask("a b", "c d"), ask("a b", "a b"), QUERY),
    (ask("x " * 300), ask("y " + "x " * 299), QUERY),
    (ask("a b", "c d"), ask("a b"), "step_mismatch"),
    (do("search", query="dam", page=2), ask("dam"), "differs:arguments"),
    (do("search", query="dam", year=1936), do("search", query="dam", year=1963), "differs:arguments"),
    (do("search", query="dam", year=1), do("search", query="dam", year=True), "differs:arguments"),
    (do("search", queries=[{"q": "a b", "site": "c"}]), do("search", queries=[{"q": "a b"}]), "step_mismatch"),
    (visit(), visit("https://mills.example/other"), "target_mismatch:page"),
    (visit([PAGE, PAGE]), visit([PAGE]), "target_mismatch:page"),
    (visit("javascript:alert(1)"), visit("javascript:alert(2)"), "target_mismatch:page"),
    (visit(method="GET"), visit(method="POST"), "differs:arguments"),
    (visit(goal="year of the dam"), visit(goal="names of villages"), "differs:goal"),
    (visit(goal="who built the dam"), visit(goal="when was the dam built"), "differs:goal"),
    (visit(goal="dam in 1958"), visit(goal="dam in 1936"), "differs:goal"),
    (do("open", id=4), do("open", id=5), "target_mismatch:page"),
    (do("get_document", docid="doc-88a"), do("get_document", docid="doc-88A"), "target_mismatch:page"),
    (do("open", id=4, cursor=1), do("open", id=4, cursor=2), "target_mismatch:place"),
    (do("open", loc=140, num_lines=60), do("open", loc=156, num_lines=60), "target_mismatch:place"),
    (do("open", loc=140, num_lines=60), do("open", loc=140, num_lines=20), "target_mismatch:place"),
    (do("open", cursor=1, loc=1, num_lines=60), do("open", cursor=2, loc=2, num_lines=60), "target_mismatch:place"),
    (do("open", loc=140), do("open", loc=141), "target_mismatch:place"),
    (do("find", pattern="1968"), do("find", pattern="1986"), "differs:pattern"),
    (do("find", pattern="a", id=1), do("find", pattern="a", id=2), "target_mismatch:page"),
    (say("Lake Tervo"), say("Lake Ormen"), "differs:answer"),
    (say("Paul and Edda Reinholt"), say("Paul Reinholt"), "differs:answer"),
    (say("1958"), say("before 1958"), "differs:answer"),
    (say("5"), say("5 million"), "differs:answer"),
    (say("-5 degrees"), say("5 degrees Celsius"), "differs:answer"),
    (say("5"), say("5%"), "differs:answer"),
    (say("1.5"), say("15"), "differs:answer"),
    (say("11"), say("Apollo 11"), "differs:answer"),
    (say("3 wins and 5 losses"), say("5 wins and 3 losses"), "differs:answer"),
    (do("finish", answer="A", evidence=["1"]), do("finish", answer="A", evidence=["2"]), "target_mismatch:page"),
    (do("finish", answer="A", evidence=["1"]), do("finish", answer="A"), "target_mismatch:page"),
    (do("finish", answer="A", evidence="It fell in 1958"), do("finish", answer="A", evidence="It fell in 1936"),
     "target_mismatch:page"),
    (do("page_down"), do("page_up"), "differs:arguments"),
    (do("my_tool", query="a b"), do("my_tool", query="b a"), "differs:arguments"),
    (do("page_down"), do("find_next"), "differs:arguments"),
    (ask("dam"), visit(), "step_mismatch"),
    (both(visit(), visit()), visit(), "step_mismatch"),
    (Action("I will search"), ask("dam"), "kind_mismatch:message"),
    (ask("dam"), Action("I will search"), "kind_mismatch:call"),
    (Action("x", malformed="not_json"), ask("dam"), "malformed:not_json"),
    (Action(None, (ToolCall("search", "{"),)), ask("dam"), "unreadable:not_json"),
    (ask("dam"), Action(None, (ToolCall("search", "{"),)), "expected_unreadable:not_json"),
    (ask("dam"), ask("x" * 60_000), "too_long"),
    (both(*[ask(f"a {n}") for n in range(33)]), ask("a"), "too_long"),
    (both(*[ask(f"a {n}") for n in range(17)]), both(*[ask(f"{n} a") for n in range(17)]), "too_long"),
    (Action("Exact Answer: 7"), Action("Exact Answer: 8"), "differs:answer"),
    (Action("The answer is Lake Tervo."), Action("The answer is not Lake Tervo."), "differs:answer"),
    (Action("Exact Answer: 7"), Action("There were 7."), "other_message"),
]  # fmt: skip
UNDECIDED = ("differs:", "expected_unreadable", "too_long", "other_message")


@pytest.mark.parametrize(("one", "other", "used"), SAME)
def test_the_same_steps_earn_one_both_ways_round(one: Action, other: Action, used: tuple[str, ...]) -> None:
    for actual, expected in ((one, other), (other, one)):
        verdict = search(actual, expected, HERE)
        assert (verdict.reward, verdict.reason, verdict.used) == (1.0, "match", tuple(sorted(used)))


@pytest.mark.parametrize(("one", "other", "used"), [case for case in SAME if case[2]])
def test_each_switch_that_was_used_was_needed_and_they_are_enough(
    one: Action, other: Action, used: tuple[str, ...]
) -> None:
    off = {name: SHARES.get(name, False) for name in SearchOptions().on() if name not in used}
    assert build({"name": "search", **off})(one, other, HERE).reward == 1.0
    for name in used:
        assert build({"name": "search", **off, name: SHARES.get(name, False)})(one, other, HERE).reward == 0.0


def test_every_switch_is_used_somewhere() -> None:
    assert {name for _, _, used in SAME for name in used} == SearchOptions().on()


@pytest.mark.parametrize(("actual", "expected", "reason"), DIFFERENT)
def test_other_steps_earn_nothing_with_a_reason(actual: Action, expected: Action, reason: str) -> None:
    verdict = search(actual, expected, HERE)
    assert (verdict.reward, verdict.reason) == (0.0, reason)
    undecided = reason.startswith(UNDECIDED) and (reason != "differs:answer" or expected.calls)
    assert verdict.status == ("undecided" if undecided else "decided")
    assert search(expected, actual, HERE).reward == 0.0


@pytest.mark.parametrize(("share", "reward"), [(0.85, 1.0), (6 / 7, 1.0), (0.86, 0.0), (1.0, 0.0)])
def test_a_query_says_more_up_to_a_share_of_words(share: float, reward: float) -> None:
    """Three words of four are an overlap of 6/7."""
    verifier = build({"name": "search", "query_overlap": share})
    assert verifier(ask("lake ferry accident report"), ask("lake ferry accident"), HERE).reward == reward


@pytest.mark.parametrize(("line", "reward"), [(115, 1.0), (116, 0.0), (85, 1.0), (84, 0.0)])
def test_a_window_moves_up_to_a_quarter_of_its_length(line: int, reward: float) -> None:
    moved = do("open", loc=line, num_lines=60)
    assert search(moved, do("open", loc=100, num_lines=60), HERE).reward == reward


def test_the_defaults_of_the_schema_are_read() -> None:
    here = Context((tool("search", topic={"default": "general"}), tool("fetch", max_length={"default": 5000})))
    assert search(do("search", query="dam", topic="general"), ask("dam"), here).reward == 1.0
    assert search(do("search", query="dam", topic="news"), ask("dam"), here).reason == "differs:arguments"
    near = do("fetch", url=PAGE, start_index=5200), do("fetch", url=PAGE, start_index=5000, max_length=5000)
    assert search(*near, here).used == ("window_overlap",)
    assert search(*near, HERE).reason == "target_mismatch:place"


def test_a_tool_that_is_not_on_offer_does_not_stand_for_one_that_is() -> None:
    one, other = ask("dam"), do("web_search", query="dam")
    assert search(one, other, Context((tool("read"),))).used == ("tool_names",)
    assert search(one, other, Context((tool("search"),))).reward == 0.0
    assert search(one, other, Context((tool("search"), tool("web_search")))).reward == 0.0
    assert search(do("browser.search", query="dam"), one, Context((tool("browser.search"),))).used == ()


def test_a_spare_identical_step_is_matched_with_its_like() -> None:
    assert search(ask("b a", "a b"), ask("a b", "b a"), HERE).used == ()
    verdict = search(both(visit(), do("open", id=1)), both(do("open", id=2), visit()), HERE)
    assert (verdict.reason, verdict.detail) == ("target_mismatch:page", "")


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("Explanation: x\nExact Answer: Lake Tervo\nConfidence: 95%", "Lake Tervo"),
        ("Exact Answer: 47 (confidence: 80%)", "47"),
        ("**Exact Answer:** *Lake Tervo*", "Lake Tervo"),
        ("The final answer is: Lake Tervo.", "Lake Tervo"),
        ("## Final Answer\n\nOld Harrow", "Old Harrow"),
        ("answer = 7", "7"),
        ("Exact Answer: 1\nExact Answer: 2", "2"),
        ("It is \\boxed{12} of them", "12"),
        ("Answer: A vote of no confidence in 1911", "A vote of no confidence in 1911"),
        ("The answer is St. Petersburg.", "St. Petersburg"),
        ("Exact Answer:\nConfidence: 90%", None),
        ("I have no answer yet", None),
        ("Answering that is hard: 5", None),
        ("", None),
    ],
)
def test_an_answer_is_read_where_a_message_marks_one(message: str, answer: str | None) -> None:
    assert marked_answer(message) == answer


def test_a_verifier_of_messages_has_no_say_in_marked_answers_and_a_judge_may_have() -> None:
    answers = Action("Answer: Paul Reinholt"), Action("Answer: Paul Reinholt, together with Edda Reinholt")
    assert build("message:guarded")(*answers, HERE).reward == 1.0
    assert build("search | message:guarded")(*answers, HERE).reason == "differs:answer"
    verdict = build({"name": "search", "open_answers": True})(*answers, HERE)
    assert (verdict.reason, verdict.status) == ("differs:answer", "undecided")


@pytest.mark.parametrize("name", ["query_overlap", "window_overlap"])
@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_share_is_above_zero_and_at_most_one(name: str, share: float) -> None:
    with pytest.raises(UserError, match=f"{name} must be above 0 and at most 1"):
        build({"name": "search", name: share})


WORDS = st.sampled_from(
    "Anna Lind lind anna Lakes lake defeated by to from of who when where born three 3 II ii I 1958 not FC Football "
    "Club OR -news site:a.org \"dam how tall height the mother \u00fc colour color director directed".split()
)  # fmt: skip
QUERIES = st.lists(WORDS, max_size=6).map(" ".join)
STEPS = st.one_of(
    QUERIES.map(ask),
    st.lists(QUERIES, min_size=2, max_size=3).map(lambda queries: ask(*queries)),
    QUERIES.map(say),
    QUERIES.map(lambda text: visit(goal=text)),
    st.tuples(st.integers(-1, 9), st.integers(0, 9)).map(lambda at: do("open", loc=at[0], num_lines=at[1])),
    st.sampled_from([PAGE, PAGE + "/", "http://www.mills.example/report#a", "x"]).map(visit),
    st.dictionaries(st.sampled_from(["id", "page", "query", "url", "x"]), st.none() | st.text() | st.integers()).map(
        lambda arguments: do("open", **arguments)
    ),
    QUERIES.map(lambda text: Action("Exact Answer: " + text)),
)


@given(st.lists(STEPS, min_size=1, max_size=3), st.lists(STEPS, min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_verdicts_are_symmetric_and_the_switches_that_were_used_suffice(some: list[Action], more: list[Action]) -> None:
    one, other = (actions[0] if len(actions) == 1 else both(*actions) for actions in (some, more))
    forth, back = search(one, other, HERE), search(other, one, HERE)
    assert (forth.reward, forth.used) == (back.reward, back.used)
    if forth.reward == 1.0:
        off = {name: SHARES.get(name, False) for name in SearchOptions().on() if name not in forth.used}
        assert build({"name": "search", **off})(one, other, HERE).reward == 1.0


@given(QUERIES, QUERIES)
@settings(max_examples=400, deadline=None)
def test_queries_are_compared_symmetrically_and_no_used_switch_can_be_spared(one: str, other: str) -> None:
    left, right = ask(one), ask(other)
    forth = search(left, right, HERE)
    assert (forth.reward, forth.used) == (search(right, left, HERE).reward, search(right, left, HERE).used)
    off = {name: SHARES.get(name, False) for name in SearchOptions().on() if name not in forth.used}
    for name in forth.used:
        assert build({"name": "search", **off, name: SHARES.get(name, False)})(left, right, HERE).reward == 0.0


@given(st.lists(STEPS, min_size=1, max_size=3), st.randoms())
@settings(max_examples=200, deadline=None)
def test_an_action_equals_itself_however_it_is_written(steps: list[Action], random: Any) -> None:
    calls = list(both(*steps).calls)
    written = []
    for call in calls:
        arguments = json.loads(call.arguments)
        keys = list(arguments)
        random.shuffle(keys)
        text = json.dumps({key: arguments[key] for key in keys}, indent=random.choice((None, 2)), ensure_ascii=False)
        written.append(ToolCall(call.name, text))
    random.shuffle(written)
    if calls and "\\ud" not in json.dumps([call.arguments for call in written]):
        verdict = search(Action(None, tuple(written)), Action(None, tuple(calls)), HERE)
        assert (verdict.reason, verdict.used) == ("match", ())


def test_hostile_sizes_are_left_to_others_or_differ() -> None:
    long = "dam " * 100 + "a b"
    assert search(ask(long + " "), ask(long), HERE).reason == QUERY
    assert search(ask(long), ask(long), HERE).reward == 1.0
    assert search(do("search", query=long, topn=3), ask(long), HERE).reward == 1.0
    assert search(visit([PAGE] * 17), visit([PAGE] * 16 + ["b.example"]), HERE).reason == "differs:arguments"
    assert search(do("visit", url=["a"] * 16), do("visit", url=["a"] * 15 + ["b"]), HERE).reward == 0.0
    assert search(say("7 " + "x" * 1_000), say("7"), HERE).reason == "differs:answer"
    assert search(do("open", id=10**13), do("open", id=10**13 + 1), HERE).reward == 0.0
    assert marked_answer("answer" + " " * 100_000) is None
    assert marked_answer("Answer: x\n" + "y" * 30_000) is None
