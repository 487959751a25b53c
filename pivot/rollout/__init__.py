"""The colocated vLLM engine.

Call `prepare_environment` at the top of a program, before anything imports torch or vLLM. Importing this
package imports neither: the engine's module is loaded when `Engine` is first asked for.
"""

from typing import TYPE_CHECKING, Any

from pivot.rollout.environment import prepare_environment
from pivot.rollout.placement import Placement
from pivot.rollout.types import Completion, Sampling

if TYPE_CHECKING:
    from pivot.rollout.engine import Engine

__all__ = ["Completion", "Engine", "Placement", "Sampling", "prepare_environment"]


def __getattr__(name: str) -> Any:
    if name == "Engine":
        from pivot.rollout.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
