"""The revisions, oldest first: `revision` and `down_revision` in each say their order."""
