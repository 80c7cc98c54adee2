"""The socket that the daemon listens on."""

import socket

from monitor.web import server


def test_answers_do_not_wait_until_the_client_has_acknowledged_their_headers() -> None:
    with (
        server._listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
