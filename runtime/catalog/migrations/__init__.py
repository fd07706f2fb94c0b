"""The history of the catalog's schema: one revision a file in `versions`, run by Alembic through `env`.

A revision is never changed once it was released, names tables by itself (not from `tables`, which is today's form), and
knows SQLite and PostgreSQL. There is no way down: a catalog of a newer schema is refused, and a copy is the way back.
"""
