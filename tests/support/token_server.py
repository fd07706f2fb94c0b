"""Whoever gives tokens, played for azure-identity: Microsoft Entra's token endpoint, and a machine's metadata service.

There is no real one to be had without the cloud. It speaks both protocols as far as the real client needs them: discovery
and the client-credentials grant over TLS, and IMDS over plain http. What it gives are unsigned JSON web tokens with the
claims that Azurite (`--oauth basic`) checks.
"""

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import parse_qs, urlsplit

from tests.support.certificates import Certificate

TENANT, CLIENT, SECRET = "11111111-aaaa", "22222222-bbbb", "tok3n-s3rver-s3cret~value"  # nobody's


@dataclass
class TokenServer:
    """A running server. `secret` is what it takes, `lasts_s` how long its tokens are good."""

    endpoint: str
    secret: str = SECRET
    lasts_s: int = 3600
    asked: list[str] = field(default_factory=list)  # the paths of requests for a token
    scopes: list[str] = field(default_factory=list)

    def token(self) -> dict[str, object]:
        """The answer that has a token in it."""
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + self.lasts_s,
        }
        parts = [{"alg": "none", "typ": "JWT"}, claims]
        coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        told = {"token_type": "Bearer", "access_token": ".".join([*coded, "c2ln"]), "expires_in": self.lasts_s}
        return told | {"expires_on": str(now + self.lasts_s), "resource": "https://storage.azure.com/"}

    @staticmethod
    @contextmanager
    def start(certificate: Certificate | None = None) -> Iterator["TokenServer"]:
        """Run one: with a certificate Entra over https, without one the metadata service over http."""
        server = _Server(("127.0.0.1", 0), _Handler)
        scheme, host = "http", "127.0.0.1"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme, host = "https", "localhost"
        server.told = TokenServer(f"{scheme}://{host}:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.told
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    told: TokenServer

    def handle_error(self, *_: object) -> None:
        """A client that hangs up, or trusts nobody, is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    @property
    def _told(self) -> TokenServer:
        return cast("_Server", self.server).told

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.endswith("/.well-known/openid-configuration"):
            base = f"{self._told.endpoint}/{TENANT}"
            endpoints = {f"{name}_endpoint": f"{base}/oauth2/v2.0/{name}" for name in ("authorization", "token")}
            self._answer(200, {"issuer": f"{base}/v2.0", **endpoints})
        elif parts.path == "/metadata/identity/oauth2/token" and self.headers.get("Metadata") == "true":
            self._told.asked.append(self.path)
            wanted = parse_qs(parts.query)
            known = wanted.get("client_id", [CLIENT]) == [CLIENT]
            self._answer(200, self._told.token()) if known else self._answer(400, {"error": "invalid_request"})
        else:
            self._answer(400, {"error": "invalid_request", "error_description": "no such endpoint"})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._told.asked.append(self.path)
        self._told.scopes += form.get("scope", [])
        if form.get("client_id") == [CLIENT] and form.get("client_secret") == [self._told.secret]:
            self._answer(200, self._told.token())
        else:
            text = f"AADSTS7000215: Invalid client secret provided: {form.get('client_secret')}."
            self._answer(401, {"error": "invalid_client", "error_description": text})

    def _answer(self, status: int, told: dict[str, object]) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
