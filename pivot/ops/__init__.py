"""Running on a cluster: batch scripts, submission, attempts, health of nodes."""
