"""Tests here import Megatron by themselves, which works on a CPU only after this."""

import pivot.policy  # noqa: F401
