"""Verifiers from configuration: a name, a name with a preset or switches, or a composition of them.

exact                                                  a verifier as it is
tool_call:gym                                          one of its presets
{name: tool_call, preset: schema, parallel: f1}        switches on top of a preset
{first: [tool_call:schema, message]}                   compositions, see `pivot.verify.compose`
tool_call:schema | message                             the same as a text, which a recipe file can replace
{all: [...]}
{weighted: [{weight: 0.7, of: ...}, {weight: 0.3, of: ...}]}
functional                                             a name for a composition, see `NAMED`
"""

import dataclasses
import difflib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivot.errors import UserError
from pivot.verify import compose
from pivot.verify.kinds import KINDS, Kind
from pivot.verify.sources import digest as source_digest
from pivot.verify.types import Verifier

# Names for compositions.
NAMED: dict[str, Any] = {"functional": {"first": ["tool_call:schema", "message:guarded"]}}
COMPOSITIONS = ("first", "all", "weighted")
_TYPES: tuple[tuple[type, type | tuple[type, ...], str], ...] = (
    (bool, bool, "true or false"),
    (int, int, "a whole number"),
    (float, (int, float), "a number"),
    (str, str, "a text"),
)
_DEEPEST, _MOST_MEMBERS = 4, 16


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    there_are = f"there are {', '.join(names) or 'none'}"
    return f"did you mean {near[0]!r}? T{there_are[1:]}" if near else there_are


def _sha(kind: Kind, options: Any) -> str:
    digest = hashlib.sha256(repr(options).encode())
    digest.update(source_digest(kind.module.__name__))
    return digest.hexdigest()[:16]


def _wrong_type(kind: Kind, switches: Mapping[str, Any]) -> str | None:
    """What a switch of the wrong type should be; those that are None by default look after themselves."""
    defaults = kind.options()
    for key, value in switches.items():
        for known, allowed, wanted in _TYPES:
            right = isinstance(value, allowed) and (known is bool or not isinstance(value, bool))
            if type(getattr(defaults, key)) is known and not right:
                return f"{key} must be {wanted}, not {value!r}"
    return None


def _named(name: str, preset: str | None, switches: Mapping[str, Any], where: str) -> Verifier:
    if name not in KINDS:
        raise UserError(f"{where}: unknown verifier {name!r}; {_nearest(name, [*KINDS, *NAMED])}")
    kind = KINDS[name]
    if preset is not None and preset not in kind.presets:
        raise UserError(f"{where}: verifier {name!r} has no preset {preset!r}; {_nearest(preset, kind.presets)}")
    fields = {item.name for item in dataclasses.fields(kind.options)}
    for key in switches:
        if key not in fields:
            raise UserError(f"{where}: verifier {name!r} has no switch {key!r}; {_nearest(str(key), fields)}")
    if (wrong := _wrong_type(kind, switches)) is not None:
        raise UserError(f"{where}: verifier {name!r}: {wrong}")
    options = kind.options() if preset is None else kind.presets[preset]
    try:
        options = dataclasses.replace(options, **switches)
    except ValueError as error:
        raise UserError(f"{where}: verifier {name!r}: {error}") from None
    shown = name if preset is None else f"{name}:{preset}"
    return Verifier(shown, kind.make(options), _sha(kind, options), kind.threads(options))


def build(spec: Any, where: str = "verify.name") -> Verifier:
    """The verifier that a configuration value describes.

    Args:
        spec: A text or a mapping, see above.
        where: The configuration key it stands at, for errors.

    Raises:
        UserError: An unknown verifier, preset or switch, a switch's bad value, or a composition that is none, named.
    """
    return _build(spec, where, 0)


def _build(spec: Any, where: str, depth: int) -> Verifier:
    if isinstance(spec, str) and "|" in spec:
        return _composed("first", [member.strip() for member in spec.split("|")], where, depth + 1)
    if isinstance(spec, str):
        if spec in NAMED:
            return dataclasses.replace(_build(NAMED[spec], where, depth), name=spec)
        name, _, preset = spec.partition(":")
        return _named(name, preset or None, {}, where)
    if isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
        switches = {key: value for key, value in spec.items() if key not in ("name", "preset")}
        given = spec.get("preset")
        return _named(spec["name"], None if given is None else str(given), switches, where)
    if isinstance(spec, Mapping) and len(spec) == 1:
        kind, members = next(iter(spec.items()))
        if kind in COMPOSITIONS:
            return _composed(kind, members, f"{where}.{kind}", depth + 1)
    wanted = "write a name, a mapping with `name`, or one of first, all and weighted with its list"
    raise UserError(f"{where}: {str(spec)[:80]!r} is no verifier; {wanted}")


def _composed(kind: str, members: Any, where: str, depth: int) -> Verifier:
    if depth > _DEEPEST:
        raise UserError(f"{where}: compositions are nested deeper than {_DEEPEST}; flatten them")
    if not isinstance(members, list | tuple) or not 1 <= len(members) <= _MOST_MEMBERS:
        raise UserError(f"{where}: give a list of 1 to {_MOST_MEMBERS} verifiers")
    weights = [_weight(member, f"{where}[{n}]") for n, member in enumerate(members)] if kind == "weighted" else []
    specs = [member["of"] for member in members] if weights else members
    built = [_build(spec, f"{where}[{n}]", depth) for n, spec in enumerate(specs)]
    decide = {
        "first": lambda: compose.first(built),
        "all": lambda: compose.every(built),
        "weighted": lambda: compose.weighted(built, weights),
    }[kind]()
    digest = hashlib.sha256(f"{kind}:{weights}:{[verifier.sha for verifier in built]}".encode())
    digest.update(Path(compose.__file__).read_bytes())
    shown = ", ".join(verifier.name for verifier in built)
    threads = max(verifier.threads for verifier in built)
    return Verifier(f"{kind}({shown})", decide, digest.hexdigest()[:16], threads)


def _weight(member: Any, where: str) -> float:
    if not isinstance(member, Mapping) or set(member) != {"weight", "of"}:
        raise UserError(f"{where}: a weighted verifier is a mapping of `weight` and `of`")
    weight = member["weight"]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0.0 < weight <= 1e6:
        raise UserError(f"{where}.weight: {weight!r} is no number above 0 and up to 1000000")
    return float(weight)


@dataclass(frozen=True, slots=True)
class Verifiers:
    """Which verifier scores a candidate: the one of its domain, or one for all."""

    by_domain: Mapping[str, Verifier]
    for_all: Verifier | None = None

    def of(self, domain: str) -> Verifier:
        """The verifier of a domain; raises `UserError` for a domain without one."""
        if self.for_all is not None:
            return self.for_all
        if domain not in self.by_domain:
            raise UserError(
                f"no verifier for domain {domain!r}: add verify.domains.{domain}, or set verify.name for all "
                f"(there are {', '.join(sorted(self.by_domain)) or 'none'})"
            )
        return self.by_domain[domain]

    @property
    def sha(self) -> str:
        """16 hex digits over all of them."""
        used = {"*": self.for_all} if self.for_all is not None else dict(self.by_domain)
        text = "".join(f"{domain}={verifier.sha}\n" for domain, verifier in sorted(used.items()) if verifier)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def build_verifiers(name: str | None, domains: Mapping[str, Any]) -> Verifiers:
    """What `verify.name` and `verify.domains` describe; raises `UserError` as `build` does."""
    if name is not None:
        return Verifiers({}, build(name, "verify.name"))
    return Verifiers({domain: build(spec, f"verify.domains.{domain}") for domain, spec in domains.items()})
