"""`azureml.telemetry`: v1's switch of what it sent home. Nothing is sent, so there is nothing to switch."""


def set_diagnostics_collection(send_diagnostics: bool = True, verbosity: int = 0) -> None:  # noqa: FBT001, FBT002 # v1's
    """Accepted, and without effect."""
    del send_diagnostics, verbosity


def get_diagnostics_collection_info(component_name: object = None, path: object = None) -> tuple[bool, None]:
    """Nothing is collected."""
    del component_name, path
    return False, None
