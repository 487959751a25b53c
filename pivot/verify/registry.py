"""Verifiers by name, and a hash of what decides their verdicts."""

import hashlib
from pathlib import Path
from types import ModuleType

from pivot.errors import UserError
from pivot.prompt import completion
from pivot.trajectory import strict_json
from pivot.verify import arguments, exact, facts, functional, message, schema, types
from pivot.verify.types import Verifier

_VERIFIERS: dict[str, Verifier] = {"exact": exact.exact, "functional": functional.functional}
# The parser belongs to every verdict: it says what the action was.
_SHARED: tuple[ModuleType, ...] = (completion, strict_json, types)
_SOURCES: dict[str, tuple[ModuleType, ...]] = {
    "exact": (exact, *_SHARED),
    "functional": (functional, arguments, message, facts, schema, *_SHARED),
}


def verifier_names() -> tuple[str, ...]:
    """All names, sorted."""
    return tuple(sorted(_VERIFIERS))


def get_verifier(name: str) -> Verifier:
    """The verifier of this name; unknown names raise `UserError` listing the names."""
    if name not in _VERIFIERS:
        raise UserError(f"unknown verifier {name!r}; use one of {', '.join(verifier_names())}")
    return _VERIFIERS[name]


def verifier_sha(name: str) -> str:
    """16 hex digits of the verifier's source, to tell profiles of an older version from new ones."""
    get_verifier(name)
    digest = hashlib.sha256()
    for module in _SOURCES[name]:
        if module.__file__ is None:
            raise UserError(f"verifier {name!r}: {module.__name__} has no source file to hash; install the package")
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:16]
