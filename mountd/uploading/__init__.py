"""Files on their way to a store."""
