"""RunMarks: the part of v1's Run about what people say of it: tags, properties, its name."""

from collections.abc import Callable, Mapping
from typing import Any

from runtime.tracking import marks
from runtime.tracking.marks import Marks


class RunMarks:
    """A run that can be marked; whoever derives from it says where the marks are."""

    id: str

    def _read_marks(self) -> Marks:
        raise NotImplementedError

    def _change_marks(self, make: Callable[[Marks], Mapping[str, Any]]) -> None:
        raise NotImplementedError

    @property
    def name(self) -> str:
        """As `display_name`."""
        return self.display_name

    @property
    def display_name(self) -> str:
        """What people call the run; its id until they say."""
        return self._read_marks().display_name or self.id

    @display_name.setter
    def display_name(self, name: str) -> None:
        self._change_marks(lambda _: {"display_name": str(name)})

    def tag(self, key: str, value: Any = None) -> None:
        """Set one tag; without a value it is just there."""
        checked = marks.checked_key("tag", key)
        told = None if value is None else marks.text("tag", checked, value)
        self._change_marks(lambda now: {"tags": {**now.tags, checked: told}})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; those that are not named stay."""
        told = marks.texts("tag", tags)
        self._change_marks(lambda now: {"tags": {**now.tags, **told}})

    def remove_tags(self, tags: Any) -> None:
        """Take tags away: one name, or several."""
        gone = {tags} if isinstance(tags, str) else set(tags)
        self._change_marks(lambda now: {"tags": {key: now.tags[key] for key in now.tags if key not in gone}})

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Add properties, which never change.

        Raises:
            UserErrorException: one of them has another value already.
        """
        told = marks.texts("property", properties)
        self._change_marks(lambda now: {"properties": marks.added_properties(now, told)})

    def get_tags(self) -> dict[str, str | None]:
        """The tags."""
        return dict(self._read_marks().tags)

    def get_properties(self) -> dict[str, str]:
        """The properties."""
        return dict(self._read_marks().properties)

    tags = property(get_tags)
    properties = property(get_properties)
