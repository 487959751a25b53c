"""Verifiers: is the policy's action as good as the expert's? Pure functions that give their reason."""

from pivot.verify.registry import get_verifier, verifier_names, verifier_sha
from pivot.verify.types import Verdict, Verifier

__all__ = ["Verdict", "Verifier", "get_verifier", "verifier_names", "verifier_sha"]
