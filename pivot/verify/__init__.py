"""Functional equivalence (paper eq. 6): would this action do what the expert's did?"""

from pivot.verify.build import Verifiers, build, build_verifiers
from pivot.verify.types import Context, Verdict, Verifier

__all__ = ["Context", "Verdict", "Verifier", "Verifiers", "build", "build_verifiers"]
