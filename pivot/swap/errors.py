"""What a weight swap refuses."""


class SwapError(RuntimeError):
    """A swap that would leave the engine with other weights than the policy's; the message says which."""
