"""Pure values: the manifest and the arithmetic of extents."""
