"""The worker: `__main__` starts, `worker` composes, `life` ends."""
