"""`pivot doctor`: is this machine, or this node of an allocation, fit for a recipe. Probes look, checks judge."""
