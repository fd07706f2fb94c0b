"""Extents kept near: on disk and in memory."""
