"""The only place that speaks FUSE."""
