"""Runs the server until it is told to end: one process, or several on one port, each with the instance opened."""

from __future__ import annotations

import errno
import gc
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from daglens.server import last_resort
from daglens.server.access import is_loopback
from daglens.server.draining import DrainingServer
from daglens.server.pushing import PushingProtocol
from daglens.server.settings import InvalidServerSetting, ServerSettings
from daglens.server.telemetry.logs import log_as_worker
from daglens.server.workers import become_workers
from daglens.storage.errors import DaglensError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from daglens.instance import Instance

log = logging.getLogger("daglens.server")

_BACKLOG = 2048
_KEEP_ALIVE_S = 75
_NO_LIMIT = 2**40
_GRACE_S = 30.0
"""How long a worker has to end: longer than requests are let finish and storages take to be closed."""


class InsecureBinding(DaglensError):
    """Whoever reaches this address could read and change everything: this server asks nobody who they are."""

    code = "INSECURE_BINDING"


class AddressInUse(DaglensError):
    """The server can't listen there."""

    code = "ADDRESS_IN_USE"


class NotForWorkers(DaglensError):
    """What is kept in the memory of one process can't be served by several."""

    code = "INVALID_SERVER_SETTING"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificate (with those between it and the root) and private key, both PEM."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """What the server speaks TLS by: 1.2 and newer.

        Raises:
            InvalidServerSetting: The files can't be read or don't fit.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        for path in (self.certificate, self.key):
            try:
                path.open("rb").close()
            except OSError as error:
                raise InvalidServerSetting(f"{path}: {error.strerror}.") from None
        try:
            # An empty password: a key that needs one is an error, and not a question on the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        except ssl.SSLError as error:
            raise InvalidServerSetting(
                f"{self.certificate} and {self.key} are no PEM certificate and its key without a password "
                f"({error.reason or 'unreadable'})."
            ) from None
        return context


def run(
    open_instance: Callable[[], Instance],
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    insecure: bool = False,
    tls: TlsFiles | None = None,
    workers: int = 1,
    announce: Callable[[str, Instance], None] | None = None,
    **settings: Any,
) -> None:
    """Serve until SIGTERM or SIGINT; then finish the requests under way, and close the instance.

    Args:
        open_instance: Opens the instance to serve; called when the address is ours.
        port: 0 takes a free one.
        insecure: Listen on an address other machines may reach, without access control.
        tls: Speak TLS.
        workers: Processes that answer on the port. With more than one this process only sees to them, and ends by
            SystemExit: see become_workers. Call it from the main thread then.
        announce: Called with the server's address (`http://127.0.0.1:3000`) when it answers.
        settings: `allowed_hosts`, `allowed_origins`, `path_prefix`, `read_only`, `tokens`, `limits`, `documents`,
            `documents_mode` of ServerSettings.of.

    Raises:
        InsecureBinding, AddressInUse, InvalidServerSetting, InvalidTokens, NotForWorkers, and what `open_instance`
            raises; in a worker, when there are several.
    """
    context = tls.context() if tls is not None else None
    listening = listen(host, port)
    try:
        from daglens.server.app import create_app

        worker = become_workers(workers, grace_s=_GRACE_S, on_end=listening.close) if workers > 1 else None
        if worker is not None:
            log_as_worker(worker.number)
        instance = open_instance()
        with instance:
            if worker is not None:
                _check_shared(instance)
            if not is_loopback(host) and host not in ("0.0.0.0", "::"):
                settings["allowed_hosts"] = (*settings.get("allowed_hosts", ()), host)
            chosen = ServerSettings.of(instance.settings, **settings)
            app = create_app(instance, chosen, neighbours=None if worker is None else worker.neighbours)
            # Before anything is answered; what dagster.yaml says of access is known only now.
            check_binding(host, insecure=insecure, guarded=not app.state.served.gate.is_open)
            if context is None and not is_loopback(host.strip("[]")) and not app.state.served.gate.is_open:
                log.warning(
                    "Tokens travel without encryption: give --tls-cert, or put a proxy that speaks TLS in front."
                )
            url = url_of(listening, tls=tls is not None)

            def ready() -> None:
                settle_garbage()
                if announce is not None and (worker is None or worker.is_first):
                    announce(url, instance)
                if worker is not None:
                    worker.ready()

            server = make_server(app, chosen, ready=ready, tls=context)
            server.on_shutdown = lambda: last_resort.end_in(chosen.drain_s + last_resort.GRACE_S)
            server.run(sockets=[listening])
    finally:
        listening.close()


def _check_shared(instance: Instance) -> None:
    for name in ("run_storage", "event_log_storage"):
        section = instance.sections[name]
        if section.class_name.startswith("InMemory"):
            raise NotForWorkers(
                f"{name} is {section.class_name}: leave --workers out, or choose another in dagster.yaml."
            )


def settle_garbage() -> None:
    """Let Python look less often, and not at what lives as long as the process, for objects that hold each other.

    Of the CPU time in which 500 viewers come and watch, Python's own setting spends 6.5 % on it, with pauses of 114 ms;
    this one 1.7 % and 23 ms (benchmarks/live.py, by gc.callbacks). What is frozen halves the longest pause. Looking
    seldom has its price: a connection that is closed leaves 20 kB which hold each other (uvicorn's protocol and its
    parser). Here that comes to 45 MiB and no more, however many close. With 50,000, 20, 20 it had come to that after
    2,000 and went on; the third generation would come after some 70,000, 1.4 GB (benchmarks/churn.py).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)


def check_binding(host: str, *, insecure: bool, guarded: bool = False) -> None:
    """Make sure that an address other machines may reach is guarded, or meant to be open.

    Raises:
        InsecureBinding
    """
    if not insecure and not guarded and not is_loopback(host.strip("[]")):
        raise InsecureBinding(
            f"{host} is not a loopback address. Give a file of tokens (--tokens FILE; `daglens tokens add` makes one), "
            "or say --insecure if everybody who reaches it may."
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        AddressInUse
    """
    try:
        family, kind, protocol, _, bound = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressInUse(f"{host}:{port}: {error.strerror or error}.") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(bound)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        hint = f" Another port: --port {port + 1}." if error.errno == errno.EADDRINUSE else ""
        raise AddressInUse(f"{host}:{port}: {error.strerror}.{hint}") from None
    return listening


def url_of(listening: socket.socket, *, tls: bool = False) -> str:
    """The address at which a listening socket is reached."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def make_server(
    app: Starlette,
    settings: ServerSettings,
    *,
    ready: Callable[[], None] | None = None,
    tls: ssl.SSLContext | None = None,
) -> DrainingServer:
    """The uvicorn server of an application; `ready` is called when it answers."""
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        ssl_context_factory=None if tls is None else (lambda *_: tls),
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        # Longer than proxies keep idle connections: one that they take up again isn't being closed here.
        timeout_keep_alive=_KEEP_ALIVE_S,
        # A message over it closes the socket with 1009, as RFC 6455 has it, before it is held whole.
        ws_max_size=settings.limits.max_body_bytes or _NO_LIMIT,
        # Compression costs 1.3–2.7 × the CPU of a feed (speed.md 3).
        ws_per_message_deflate=False,
        ws=PushingProtocol,
        ws_ping_interval=settings.ping_interval_s,
        ws_ping_timeout=max(20.0, settings.ping_interval_s * 5),
    )
    return DrainingServer(config, ready=ready or (lambda: None), drain=app.state.served.drain)
