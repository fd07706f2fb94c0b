"""Public notebooks, run as they are from a copy that the caller has: `make test-notebooks DIR=...`. None is kept here."""
