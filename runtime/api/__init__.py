"""The v1 classes: names, signatures and errors as scripts know them, each a thin face over a room below."""
