"""`pivot demo`: the whole loop on the embedded world, phase by phase, and its summary."""
