"""From a rule's service to the pool, address and TLS context with which it is reached.

Pools are shared by rules that ask for the same times, TLS contexts by those that ask for the same
trust; both stay as long as the process, for a pushed configuration usually asks for the same again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runtime.errors import ResolveError
from runtime.http1.client import Http1Client, Origin, OriginUnreachableError
from runtime.resolver import Resolver
from runtime.tls import TlsError, origin_context
from tunnel_client.core.ingress import Ingress, Rule
from tunnel_client.core.services import HttpService, OriginRequest, UnixService
from tunnel_client.errors import ConfigurationError


class Origins:
    """All services that requests are passed on to."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._clients: dict[tuple[float, float, int], Http1Client] = {}
        # What is shared by all origins with the same trust: an Origin with a TLS context and no
        # place.
        self._trusts: dict[tuple[str, bool], Origin] = {}
        self._routes: dict[Rule, tuple[Http1Client, Origin]] = {}

    def prepare(self, ingress: Ingress) -> None:
        """Get ready for these rules. Raises `ConfigurationError`; then nothing has changed."""
        routes: dict[Rule, tuple[Http1Client, Origin]] = {}
        for i, rule in enumerate(ingress.rules):
            service = rule.service
            if isinstance(service, HttpService | UnixService):
                try:
                    origin = self._origin(service, rule.origin_request)
                except TlsError as error:
                    place = f"ingress[{i}].originRequest.caPool"
                    raise ConfigurationError(f"{place}: {error}") from None
                routes[rule] = (self._client(rule.origin_request), origin)
        self._routes = routes

    def route(self, rule: Rule, host: str) -> tuple[Http1Client, Origin]:
        """Where requests of a prepared rule go; `host` is the visitor's, for `matchSNItoHost`."""
        client, origin = self._routes[rule]
        if rule.origin_request.match_sni_to_host and origin.tls is not None and host:
            origin = replace(origin, server_name=host)
        return client, origin

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _client(self, settings: OriginRequest) -> Http1Client:
        # Zero means no limit, as in other connectors.
        connect = settings.connect_timeout or 86_400.0
        key = (connect, settings.keep_alive_timeout, settings.keep_alive_connections)
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = Http1Client(
                resolve=self._resolve,
                connect_timeout_s=connect,
                keep_alive_s=settings.keep_alive_timeout,
                max_idle=settings.keep_alive_connections,
            )
        return client

    def _origin(self, service: HttpService | UnixService, settings: OriginRequest) -> Origin:
        plain = (
            Origin(unix_path=service.path)
            if isinstance(service, UnixService)
            else Origin(service.host, service.port)
        )
        if not service.tls:
            return plain
        key = (settings.ca_pool, settings.no_tls_verify)
        trust = self._trusts.get(key)
        if trust is None:
            context = origin_context(settings.ca_pool or None, verify=not settings.no_tls_verify)
            trust = self._trusts[key] = Origin(tls=context)
        name = settings.origin_server_name or plain.host or "localhost"
        return replace(plain, tls=trust.tls, server_name=name)

    async def _resolve(self, host: str) -> Sequence[str]:
        try:
            return await self._resolver.addresses(host)
        except ResolveError as error:
            raise OriginUnreachableError(str(error)) from None
