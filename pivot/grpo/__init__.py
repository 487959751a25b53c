"""Single-turn GRPO as pure functions on tensors (paper eq. 7): no torch.distributed, Megatron or vLLM here."""
