"""The benchmark: a shaped blob server, workloads, and the mounts that are compared on it. `make bench` runs it."""
