"""Mining: profile candidates with local rollouts, keep the ones that still carry a signal."""
