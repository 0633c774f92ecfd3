"""Who may reach the HTTP service: loopback, or TLS and a token; else it does not start."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from node.errors import SettingsError
from node.settings import Settings, WebSettings

_SHORTEST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class WebAccess:
    """What the service asks of a caller."""

    #: None: plain HTTP, on loopback only.
    tls: ssl.SSLContext | None
    #: "": none is asked for, on loopback only.
    token: str


def web_access(settings: Settings) -> WebAccess:
    """Return what the service asks of a caller.

    Raises
    ------
    SettingsError
        If it is off, its certificate cannot be used, or its token is missing or short.
    """
    web = settings.web
    if web.port is None:
        raise SettingsError("the HTTP service is off: say web.port in the settings")
    tls, token = _tls(web), _token(settings)
    if not web.loopback and (tls is None or not token):  # the settings refuse it as well
        raise SettingsError("web.bind leaves this computer without TLS and token")
    return WebAccess(tls=tls, token=token)


def _token(settings: Settings) -> str:
    name = settings.web.token_env
    if not name:
        return ""
    token = settings.secrets.get(name, "")
    if not token:
        raise SettingsError(f"the environment variable {name} (web.token_env) is not set")
    plain = token.isascii() and token.isprintable() and token == token.strip()
    if len(token) < _SHORTEST_TOKEN or not plain:
        raise SettingsError(
            f"the token in {name} (web.token_env) must be {_SHORTEST_TOKEN} or more plain "
            "characters, no space at its ends; `openssl rand -hex 32` makes one"
        )
    return token


def _tls(web: WebSettings) -> ssl.SSLContext | None:
    if web.tls_certificate is None or web.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password of its own a locked key would ask on the terminal.
        context.load_cert_chain(web.tls_certificate, web.tls_key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"web.tls_certificate {web.tls_certificate} and web.tls_key {web.tls_key} cannot be "
            f"used: {_reason(error)}; give PEM files, certificate with its chain, key without "
            "password"
        ) from error
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "no PEM, or a key with a password").replace("_", " ").lower()
    return str(getattr(error, "strerror", "") or error)
