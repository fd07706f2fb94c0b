"""RunDetails: v1's widget for a notebook, as lines of text."""

from runtime.api.run import Run


class RunDetails:
    """What is shown of a run."""

    def __init__(self, run_instance: Run) -> None:
        self.run_instance = run_instance

    def show(self, render_lib: object = None, widget_settings: object = None) -> None:
        """Print the run, its status and where its log is; returns at once, as v1's does."""
        del render_lib, widget_settings
        details = self.run_instance.get_details()
        print(f"{self.run_instance!r}: {details['status']}")  # noqa: T201 # what it is for
        for path in details.get("logFiles", {}).values():
            print(f"log: {path}")  # noqa: T201 # as above

    def get_widget_data(self) -> dict[str, object]:
        """The run's details."""
        return self.run_instance.get_details()
