"""Verifiers from configuration: names, presets, switches, compositions, hashes, and mistakes that name the key."""

from pathlib import Path
from typing import Any

import pytest

from pivot.errors import UserError
from pivot.trajectory import Action, ToolCall
from pivot.verify import Context, build, build_verifiers, message, sources
from pivot.verify.build import NAMED
from pivot.verify.kinds import KINDS

CALL = Action(None, (ToolCall("f", '{"a": 1}'),))


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("exact", "exact"),
        ("tool_call", "tool_call"),
        ("tool_call:gym", "tool_call:gym"),
        ({"name": "tool_call", "preset": "gym"}, "tool_call:gym"),
        ({"name": "message"}, "message"),
        ({"first": ["tool_call:schema", "message"]}, "first(tool_call:schema, message)"),
        ("exact | message", "first(exact, message)"),
        ({"all": ["exact", {"first": ["exact"]}]}, "all(exact, first(exact))"),
        ({"weighted": [{"weight": 1, "of": "exact"}, {"weight": 0.5, "of": "message"}]}, "weighted(exact, message)"),
        ("functional", "functional"),
    ],
)
def test_a_specification_becomes_a_verifier(spec: Any, name: str) -> None:
    verifier = build(spec)
    assert verifier.name == name
    assert len(verifier.sha) == 16
    assert verifier(CALL, CALL, Context()).reason == "match"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("fuzzy", "k: unknown verifier 'fuzzy'; there are "),
        ("exakt", "k: unknown verifier 'exakt'; did you mean 'exact'?"),
        ("tool_call:gim", "k: verifier 'tool_call' has no preset 'gim'; did you mean 'gym'?"),
        ("exact:gym", "k: verifier 'exact' has no preset 'gym'; there are none"),
        ({"name": "tool_call", "preset": 5}, "k: verifier 'tool_call' has no preset '5'"),
        ({"name": "tool_call", "paralel": "f1"}, "'tool_call' has no switch 'paralel'; did you mean 'parallel'?"),
        ({"name": "tool_call", "parallel": "some"}, "k: verifier 'tool_call': parallel must be one of covered, strict"),
        ({"name": "tool_call", "enum_case": "no"}, "'tool_call': enum_case must be true or false, not 'no'"),
        ({"name": "tool_call", "word_overlap": True}, "'tool_call': word_overlap must be a number, not True"),
        ({"name": "tool_call", "word_overlap": 2}, "'tool_call': word_overlap must be from 0 to 1"),
        ({"name": "tool_call", "arguments": 1}, "k: verifier 'tool_call': arguments must be a text, not 1"),
        (5, "k: '5' is no verifier; write a name"),
        ({}, "k: '{}' is no verifier"),
        ({"first": ["exact"], "all": ["exact"]}, "is no verifier; write a name, a mapping with `name`"),
        ({"frist": ["exact"]}, "is no verifier"),
        ({"first": []}, "k.first: give a list of 1 to 16 verifiers"),
        ({"first": "exact"}, "k.first: give a list"),
        ({"first": ["exact"] * 17}, "k.first: give a list"),
        ({"first": ["exact", "nope"]}, "k.first[1]: unknown verifier 'nope'"),
        ({"all": [{"first": [{"all": [{"first": [{"all": ["exact"]}]}]}]}]}, "nested deeper than 4"),
        ("exact | nope", "k[1]: unknown verifier 'nope'"),
        (["exact"], "is no verifier"),
        ({"weighted": ["exact"]}, "k.weighted[0]: a weighted verifier is a mapping of `weight` and `of`"),
        ({"weighted": [{"weight": 0, "of": "exact"}]}, "k.weighted[0].weight: 0 is no number above 0"),
        ({"weighted": [{"weight": float("nan"), "of": "exact"}]}, "k.weighted[0].weight: nan is no number"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_that_names_the_key(spec: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        build(spec, "k")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_kind_has_defaults_and_its_presets_are_its_options() -> None:
    for kind in KINDS.values():
        assert type(kind.options()) is kind.options
        assert all(type(preset) is kind.options for preset in kind.presets.values())
    assert NAMED.keys().isdisjoint(KINDS)


def test_the_hash_follows_source_and_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    specs: list[Any] = [
        "exact",
        "tool_call:gym",
        "tool_call:schema",
        {"name": "tool_call", "enum_case": False},
        {"first": ["tool_call:schema", "message"]},
        {"all": ["tool_call:schema", "message"]},
        {"weighted": [{"weight": 1, "of": "message"}]},
        {"weighted": [{"weight": 2, "of": "message"}]},
    ]
    before = [build(spec).sha for spec in specs]
    assert len(set(before)) == len(specs)
    assert build("tool_call").sha == build("tool_call:schema").sha
    edited = tmp_path / "message.py"
    edited.write_bytes(Path(str(message.__file__)).read_bytes() + b"\n")
    real = sources.source
    monkeypatch.setattr(sources, "source", lambda name: edited if name == message.__name__ else real(name))
    sources.digest.cache_clear()
    after = [build(spec).sha for spec in specs]
    sources.digest.cache_clear()
    assert [one == other for one, other in zip(before, after, strict=True)] == [True] * 4 + [False] * 4


def test_the_hash_reads_all_that_a_verifier_imports() -> None:
    def files(kind: str) -> set[str]:
        return {path.as_posix().split("/pivot/")[-1] for path in sources.sources(KINDS[kind].module.__name__)}

    assert {"verify/swe.py", "verify/prose.py", "verify/texts.py", "verify/schema.py"} <= files("swe")
    assert {"verify/shell_tree.py", "trajectory/strict_json.py"} <= files("swe")
    assert "verify/judge.py" not in files("swe")
    assert "prompt/completion.py" in files("exact")


def test_verifiers_are_found_by_domain_or_one_stands_for_all() -> None:
    by_domain = build_verifiers(None, {"tool_use": "tool_call:gym", "swe": {"name": "exact"}})
    assert by_domain.of("tool_use").name == "tool_call:gym"
    assert by_domain.of("swe").name == "exact"
    with pytest.raises(UserError, match=r"no verifier for domain 'orders': add verify.domains.orders, or"):
        by_domain.of("orders")
    assert build_verifiers("exact", {"swe": "tool_call"}).of("swe").name == "exact"
    assert build_verifiers("exact", {}).sha != build_verifiers("tool_call", {}).sha
    with pytest.raises(UserError, match=r"verify.domains.swe: unknown verifier 'nope'"):
        build_verifiers(None, {"swe": "nope"})
