"""The judge: asked both ways, its silence is an error and never a zero, its replies are kept, its key is not."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.errors import UserError
from pivot.trajectory import Action, ToolCall
from pivot.verify.ask import cached, endpoint
from pivot.verify.judge import DIFFERENT, EQUAL, Judge, JudgeError, make_judge, question, shown, verdict_of
from pivot.verify.types import DECIDED, ERROR, Context
from tests.unit.verify.judge_server import judge_server

KEY = "sk-secret-of-this-test"
EXPERT, OTHER = Action("It ships on Monday."), Action("Monday is when it ships.")
TOOLS = [{"type": "function", "function": {"name": "ship", "parameters": {}}}]
HISTORY = [{"role": "user", "content": "When does it ship?"}]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def options(url: str, **switches: object) -> Judge:
    return Judge(**({"url": url, "model": "m", "retries": 0, "timeout_s": 5.0} | switches))


def test_only_equal_both_ways_is_a_one() -> None:
    first_is_expert = {}

    def reply(text: str) -> str:
        first_is_expert[text.index(json.dumps(EXPERT.content)) < text.index(json.dumps(OTHER.content))] = text
        return f"Both say Monday. {EQUAL}"

    verdict = make_judge(Judge(), reply)(OTHER, EXPERT, Context(TOOLS, HISTORY))
    assert (verdict.reward, verdict.reason, verdict.used, verdict.status) == (1.0, "match", ("judge",), DECIDED)
    assert set(first_is_expert) == {True, False}
    assert all('["ship"]' in text and "When does it ship?" in text for text in first_is_expert.values())


@pytest.mark.parametrize(
    ("replies", "reason", "status", "asked"),
    [
        ([DIFFERENT], "judge_says_different", DECIDED, 1),
        ([EQUAL, DIFFERENT], "judge_contradicts_itself", DECIDED, 2),
        (["no idea"], "judge_unparsable", ERROR, 1),
        ([f"{EQUAL} or {DIFFERENT}?"], "judge_unparsable", ERROR, 1),
        ([EQUAL, ""], "judge_unparsable", ERROR, 2),
    ],
)
def test_every_other_reply_has_its_own_reason(replies: list[str], reason: str, status: str, asked: int) -> None:
    left = list(replies)
    verdict = make_judge(Judge(), lambda text: left.pop(0))(OTHER, EXPERT, Context())
    assert (verdict.reward, verdict.reason, verdict.status) == (0.0, reason, status)
    assert len(replies) - len(left) == asked


def test_what_needs_no_judge_does_not_ask_one() -> None:
    def never(text: str) -> str:
        raise AssertionError(text)

    decide = make_judge(Judge(longest=100), never)
    assert decide(EXPERT, EXPERT, Context()).reward == 1.0
    assert decide(Action("x", malformed="not_json"), EXPERT, Context()).reason == "malformed:not_json"
    assert decide(Action("x" * 200), EXPERT, Context()).reason == "too_long"


def test_one_way_is_asked_once() -> None:
    asked: list[str] = []
    decide = make_judge(Judge(both_ways=False), lambda text: (asked.append(text), EQUAL)[1])
    assert decide(OTHER, EXPERT, Context()).reward == 1.0
    assert len(asked) == 1


@given(st.text(), st.text(), st.text())
def test_what_the_policy_writes_stays_inside_its_quotation(content: str, name: str, arguments: str) -> None:
    action = Action(content, (ToolCall(name, arguments),))
    text = question(shown(EXPERT), shown(action), Context(), Judge())
    line = next(line for line in text.split("\n") if line.startswith("B: "))
    assert json.loads(line[3:]) == {"text": content, "tool_calls": [{"name": name, "arguments": arguments}]}
    assert text.split("\n")[-1].count(EQUAL) == 1


@given(st.text())
def test_a_verdict_is_read_only_when_there_is_exactly_one(text: str) -> None:
    assert verdict_of(f"{text} {EQUAL}") is True if "[[A" not in text else True
    if "[[A" not in text:
        with pytest.raises(JudgeError, match="judge_unparsable"):
            verdict_of(text)


def test_a_long_history_is_cut_to_its_newest_messages() -> None:
    history = [{"role": "user", "content": f"{n} " + "x" * 300} for n in range(50)]
    text = question("a", "b", Context((), history), Judge(history_messages=4, longest=700))
    assert '"49 ' in text
    assert '"48 ' in text
    assert '"47 ' not in text
    whole = question("a", "b", Context((), [{"role": "user", "content": "y" * 5000}]), Judge(longest=200))
    assert len(whole) < 2200
    assert "When" not in question("a", "b", Context((), HISTORY), Judge(history_messages=0))


def test_an_endpoint_is_asked_with_the_key_of_the_environment() -> None:
    with judge_server(lambda text, number: EQUAL) as (url, seen):
        verdict = make_judge(options(url), endpoint(options(url)))(OTHER, EXPERT, Context())
    assert verdict.reward == 1.0
    assert len(seen.questions) == 2
    assert set(seen.keys) == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"{}", "judge_status:500"),
        (401, b'{"error": {"message": "bad key"}}', "judge_status:401"),
        (200, b"not json", "judge_unparsable"),
        (200, b"[]", "judge_unparsable"),
        (200, b'{"choices": []}', "judge_unparsable"),
        (200, b'{"choices": [{"message": {"content": null}}]}', "judge_unparsable"),
    ],
)
def test_a_failing_endpoint_is_an_error_with_its_reason(status: int, body: bytes, reason: str) -> None:
    with judge_server(lambda text, number: (status, body)) as (url, _):
        verdict = make_judge(options(url), endpoint(options(url)))(OTHER, EXPERT, Context())
    assert (verdict.reward, verdict.reason, verdict.status) == (0.0, reason, ERROR)


def test_an_unreachable_and_a_slow_endpoint_are_errors() -> None:
    with judge_server(lambda text, number: EQUAL) as (url, _):
        pass  # the port is free again
    verdict = make_judge(options(url), endpoint(options(url)))(OTHER, EXPERT, Context())
    assert (verdict.reason, verdict.status) == ("judge_unreachable", ERROR)
    with judge_server(lambda text, number: EQUAL, delay_s=1.0) as (url, _):
        verdict = make_judge(options(url), endpoint(options(url, timeout_s=0.2)))(OTHER, EXPERT, Context())
    assert (verdict.reason, verdict.status) == ("judge_timeout", ERROR)


def test_a_hiccup_is_retried_a_bounded_number_of_times() -> None:
    with judge_server(lambda text, number: (503, b"{}") if number < 2 else EQUAL) as (url, seen):
        assert endpoint(options(url, retries=2))("q") == EQUAL
        assert len(seen.questions) == 3
    with judge_server(lambda text, number: (503, b"{}")) as (url, seen):
        with pytest.raises(JudgeError, match="judge_status:503"):
            endpoint(options(url, retries=1))("q")
        assert len(seen.questions) == 2


def test_replies_are_kept_by_content_and_the_key_is_not(tmp_path: Path) -> None:
    with judge_server(lambda text, number: f"reply {number}") as (url, seen):
        settings = options(url, cache=str(tmp_path / "judge"))
        ask = cached(endpoint(settings), settings)
        assert [ask("one"), ask("two"), ask("one")] == ["reply 0", "reply 1", "reply 0"]
        again = cached(endpoint(settings), settings)
        assert again("two") == "reply 1"
        other = options(url, cache=str(tmp_path / "judge"), model="another")
        assert cached(endpoint(other), other)("two") == "reply 2"
        files = sorted((tmp_path / "judge").rglob("*.json"))
        assert len(files) == 3
        files[0].write_text("{half")  # a damaged file is asked for again
        assert {ask("one"), ask("two")} <= {f"reply {n}" for n in range(4)}
    assert len(seen.questions) <= 4
    assert all(KEY not in path.read_text() for path in (tmp_path / "judge").rglob("*.json"))


def test_the_engine_of_the_context_is_asked() -> None:
    asked: list[tuple[str, int]] = []

    def ask(text: str, max_tokens: int) -> str:
        asked.append((text, max_tokens))
        return EQUAL

    decide = make_judge(Judge(max_tokens=77))
    assert decide(OTHER, EXPERT, Context(ask=ask)).reward == 1.0
    assert [tokens for _, tokens in asked] == [77, 77]
    verdict = decide(OTHER, EXPERT, Context(ask=lambda text, tokens: None))
    assert (verdict.reason, verdict.status) == ("judge_no_room", ERROR)
    assert decide(OTHER, EXPERT, Context()).reason == "judge_has_no_engine"
    with pytest.raises(ValueError, match="cache needs an endpoint"):
        Judge(cache="x")


def test_errors_are_not_kept(tmp_path: Path) -> None:
    with judge_server(lambda text, number: (500, b"{}") if number == 0 else EQUAL) as (url, _):
        settings = options(url, cache=str(tmp_path))
        ask = cached(endpoint(settings), settings)
        with pytest.raises(JudgeError):
            ask("q")
        assert ask("q") == EQUAL


def test_mistakes_in_the_settings_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"url 'example\.org'"):
        Judge(url="example.org")
    with pytest.raises(ValueError, match="model must name"):
        Judge(url="http://example.org/v1")
    with pytest.raises(ValueError, match="must not be negative"):
        Judge(retries=-1)
    with pytest.raises(ValueError, match="greater than 0"):
        Judge(concurrency=0)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="set the environment variable OPENAI_API_KEY"):
        endpoint(options("http://127.0.0.1:1/v1"))
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="choose another judge cache"):
        cached(lambda text: text, options("http://127.0.0.1:1/v1", cache=str(file / "x")))


def test_settings_that_cannot_change_a_verdict_are_not_in_its_hash() -> None:
    assert repr(options("http://a/v1", timeout_s=1.0, cache="x")) == repr(options("http://a/v1", concurrency=3))
    assert repr(options("http://a/v1", model="n")) != repr(options("http://a/v1"))
