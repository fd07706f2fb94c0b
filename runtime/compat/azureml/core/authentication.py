"""`azureml.core.authentication`: v1's ways to sign in, all accepted and none needed.

A workspace here is a folder, so nobody has to be convinced. What is handed over (a secret, perhaps) is dropped at once.
"""


class AbstractAuthentication:
    """Who calls, as v1 wanted to know it."""

    def __init__(self, *_: object, **__: object) -> None:
        return


class InteractiveLoginAuthentication(AbstractAuthentication):
    """By a browser; none is opened."""


class ServicePrincipalAuthentication(AbstractAuthentication):
    """By a service principal; its secret is not kept."""


class MsiAuthentication(AbstractAuthentication):
    """By the machine's identity."""


class AzureCliAuthentication(AbstractAuthentication):
    """As whoever `az login` knows; it is not asked."""


class TokenAuthentication(AbstractAuthentication):
    """By a token; the function that gets one is not called."""


class ArmTokenAuthentication(AbstractAuthentication):
    """By a token; it is not kept."""
