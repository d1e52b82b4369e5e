"""A host in a network of its own finds a server at its usual address, until it is cut off."""

import socket
import subprocess
import sys
import threading

import pytest

from loadtest import network
from loadtest.network import Network

pytestmark = pytest.mark.skipif(
    not network.can_be_made(), reason="This user may not make network namespaces."
)

#: Asks the server for each line it reads, and says what came back within a second.
HOST = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10) as server:
    for line in sys.stdin:
        server.sendall(line.encode())
        server.settimeout(1)
        try:
            print(server.recv(100).decode().strip() or "closed", flush=True)
        except OSError as error:
            print(type(error).__name__, flush=True)
"""


@pytest.fixture
def server():
    """A server of this network that answers in capitals; what it was sent."""
    taken = []

    def serve():
        connection, _ = listening.accept()
        with connection:
            while data := connection.recv(100):
                taken.append(data)
                connection.sendall(data.upper())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], taken


def test_a_host_is_cut_off_from_a_server_that_has_its_usual_address(server):
    port, taken = server
    with Network([port]) as own:
        command = [*own.entrance, sys.executable, "-c", HOST, str(port)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as host:

            def ask(word):
                host.stdin.write(f"{word}\n")
                return host.stdout.readline().strip()

            assert ask("one") == "ONE"
            own.proxies[port].hold_answers()
            assert ask("two") == "TimeoutError"
            assert taken == [b"one\n", b"two\n"]
            own.proxies[port].swallow()
            assert ask("three") == "TimeoutError"
            assert len(taken) == 2
            own.proxies[port].refuse()
            assert ask("four") in ("closed", "ConnectionResetError", "BrokenPipeError")


def test_nothing_else_is_there(server):
    port, _ = server
    with Network([]) as own:
        command = [*own.entrance, sys.executable, "-c", HOST, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, input="one\n")
    assert "ConnectionRefusedError" in done.stderr
