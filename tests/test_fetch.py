"""Pictures from the web: only the open internet, at the address that was checked, within limits of size and time."""

import contextlib
import http.server
import shutil
import socket
import ssl
import subprocess
import threading
import time

import numpy as np
import pytest
from hostile import encode, picture

from vehicle_nb import fetch as fetching
from vehicle_nb.data import BadImage
from vehicle_nb.fetch import fetch_picture, is_public, is_url, load_image, picture_name
from vehicle_nb.inference import find_pictures

JPEG = encode(picture(3, (160, 100)))
PUBLIC = "93.184.215.14"


class Answers(http.server.BaseHTTPRequestHandler):
    "A server that is polite, slow, endless or lying, as the path asks."

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append((self.headers["Host"], self.path))
        with contextlib.suppress(OSError):  # the other side has hung up
            getattr(self, "do_" + self.path.strip("/").split("?")[0].split(".")[0].replace("%C3%BC", "ue"))()

    def send(self, data: bytes, status=200, length=None, kind="image/jpeg", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length != "none":
            self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_bus(self):
        self.send(JPEG)

    def do_gruen(self):
        self.send(JPEG)

    def do_called_text(self):
        self.send(JPEG, kind="text/html")

    def do_html(self):
        self.send(b"<!doctype html><html>no</html>", kind="image/jpeg")

    def do_nothing(self):
        self.send(b"")

    def do_missing(self):
        self.send(b"<html>", 404)

    def do_odd(self):
        self.send(b"<html>", 799)

    def do_chunked(self):
        self.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(JPEG), JPEG), length="none", **{"Transfer-Encoding": "chunked"})

    def do_without_length(self):
        self.send(JPEG, length="none")

    def do_cut(self):
        self.send(JPEG[:500], length=len(JPEG))

    def do_too_large(self):
        self.send(b"", length=10**12)

    def do_endless(self):
        self.send(b"\xff\xd8\xff", length="none")
        while True:
            self.wfile.write(bytes(2**16))

    def do_drip(self):
        self.send(b"\xff\xd8\xff", length=10**6)
        while True:
            self.wfile.write(b"\0")
            time.sleep(0.05)

    def do_dripping_head(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            self.wfile.write(b"X")
            time.sleep(0.05)

    def do_many_heads(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(100_000)))

    def do_silent(self):
        time.sleep(2)

    def do_nonsense(self):
        self.wfile.write(b"\x00\xff" * 5000)

    def do_moved(self):
        self.send(b"", 302, Location="/bus.jpg")

    def do_circle(self):
        self.send(b"", 301, Location="/circle")

    def do_inwards(self):
        self.send(b"", 302, Location="http://inside.example/bus.jpg")

    def do_to_file(self):
        self.send(b"", 302, Location="file:///etc/passwd")

    def do_to_address(self):
        self.send(b"", 307, Location="http://127.0.0.1/bus.jpg")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked = []
        self.place = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


def fetch(server, path: str, **limits) -> bytes:
    return fetch_picture(server.place + path, allow_private=True, **{"seconds": 5, **limits})


@pytest.mark.parametrize("path", ["/bus.jpg", "/called_text", "/chunked", "/without_length", "/moved", "/bus.jpg?a=ä&b=1", "/grün"])
def test_a_picture_is_fetched_whatever_the_server_calls_it(server, path):
    if path == "/gefäää":
        server.RequestHandlerClass.do_gruenae = Answers.do_bus
    assert fetch(server, path) == JPEG


REASONS = {
    "/html": "HTML page", "/nothing": "empty file", "/missing": "404 (Not Found)", "/odd": "799", "/cut": "broke off",
    "/too_large": "too large", "/endless": "too large", "/drip": "longer than", "/dripping_head": "longer than",
    "/silent": "longer than", "/nonsense": "could not be asked", "/many_heads": "could not be asked",
    "/circle": "on and on", "/to_file": "not a web address",
}  # fmt: skip


@pytest.mark.parametrize("path", REASONS)
def test_each_bad_answer_has_its_reason_in_bounded_time(server, path):
    start = time.monotonic()
    with pytest.raises(BadImage) as error:
        fetch(server, path, seconds=1, most_bytes=10**6)
    assert REASONS[path] in str(error.value) and "\n" not in str(error.value)
    assert time.monotonic() - start < 2


PRIVATE = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1%eth0", "fc00::1",
    "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "2001:db8::1", "2001::1",
    "::127.0.0.1", "100::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address_is_not(address):
    assert is_public(address)


SPELLINGS = [
    "http://127.0.0.1:{}/bus.jpg", "http://localhost:{}/bus.jpg", "http://2130706433:{}/bus.jpg", "http://0x7f.1:{}/bus.jpg",
    "http://0177.0.0.1:{}/bus.jpg", "http://127.1:{}/bus.jpg", "http://0:{}/bus.jpg", "http://[::1]:{}/bus.jpg",
    "http://[::ffff:127.0.0.1]:{}/bus.jpg", "HTTP://LOCALHOST:{}/bus.jpg", "http://127。0。0。1:{}/bus.jpg",
]  # fmt: skip


@pytest.mark.parametrize("url", SPELLINGS)
def test_this_machine_is_refused_however_it_is_spelt(server, url):
    with pytest.raises(BadImage):
        fetch_picture(url.format(server.server_port), seconds=5)
    assert not server.asked


class Web:
    "A pretended internet: names and their addresses; all public addresses lead to one local server."

    def __init__(self, monkeypatch, server, names: dict[str, list[list[str]]]):
        self.names, self.asked, self.connected = names, [], []

        def look_up(host, port, **_):
            self.asked.append(host)
            answers = self.names.get(host, [[host]])
            found = answers.pop(0) if len(answers) > 1 else answers[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        def go(address, timeout):
            self.connected.append(address[0])
            if address[0] != PUBLIC:
                raise ConnectionRefusedError(111, "Connection refused")
            sock = socket.socket()
            sock.settimeout(timeout)
            sock.connect(("127.0.0.1", server.server_port))
            return sock

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        monkeypatch.setattr(socket, "create_connection", go)


def test_a_name_is_looked_up_once_and_the_checked_address_is_used(server, monkeypatch):
    web = Web(monkeypatch, server, {"rebind.example": [[PUBLIC], ["127.0.0.1"]]})
    assert fetch_picture("http://rebind.example/bus.jpg", seconds=5) == JPEG
    assert web.asked == ["rebind.example"] and web.connected == [PUBLIC]
    assert server.asked == [("rebind.example", "/bus.jpg")]  # the server still hears its own name


def test_one_private_address_among_public_ones_is_enough_to_refuse(server, monkeypatch):
    web = Web(monkeypatch, server, {"both.example": [[PUBLIC, "10.0.0.1"]]})
    with pytest.raises(BadImage, match="private network"):
        fetch_picture("http://both.example/bus.jpg")
    assert not web.connected


@pytest.mark.parametrize("path", ["/inwards", "/to_address"])
def test_every_redirect_is_checked_again(server, monkeypatch, path):
    web = Web(monkeypatch, server, {"fair.example": [[PUBLIC]], "inside.example": [["192.168.0.9"]]})
    with pytest.raises(BadImage, match="private network"):
        fetch_picture("http://fair.example" + path, seconds=5)
    assert web.connected == [PUBLIC] and len(server.asked) == 1


def test_the_second_address_is_tried_when_the_first_is_dead(server, monkeypatch):
    web = Web(monkeypatch, server, {"two.example": [["8.8.4.4", PUBLIC]]})
    assert fetch_picture("http://two.example/bus.jpg", seconds=5) == JPEG
    assert web.connected == ["8.8.4.4", PUBLIC]


def test_a_name_server_that_never_answers_ends_in_time(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2) or [])
    start = time.monotonic()
    with pytest.raises(BadImage, match="longer than"):
        fetch_picture("http://slow.example/bus.jpg", seconds=0.3)
    assert time.monotonic() - start < 2


def test_https_asks_for_the_servers_name_and_refuses_a_certificate_that_is_not_its_own(server, monkeypatch):
    Web(monkeypatch, server, {"safe.example": [[PUBLIC]]})
    names = []

    class Context:
        def wrap_socket(self, sock, server_hostname):
            names.append(server_hostname)
            if server_hostname == "false.example":
                raise ssl.SSLCertVerificationError("no")
            return sock

    monkeypatch.setattr(fetching, "_trust", Context)
    assert fetch_picture("https://safe.example/bus.jpg", seconds=5) == JPEG
    with pytest.raises(BadImage, match="certificate"):
        Web(monkeypatch, server, {"false.example": [[PUBLIC]]})
        fetch_picture("https://false.example/bus.jpg", seconds=5)
    assert names == ["safe.example", "false.example"]


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl, which makes a certificate for this test, is not installed")
def test_a_real_certificate_opens_the_way_only_under_its_own_name(server, monkeypatch, tmp_path):
    key, own = tmp_path / "key.pem", tmp_path / "own.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout"
    subprocess.run([*make.split(), key, "-out", own], check=True, capture_output=True)
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.load_cert_chain(own, key)
    secure = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    secure.asked, secure.socket = [], identity.wrap_socket(secure.socket, server_side=True)
    threading.Thread(target=secure.serve_forever, args=(0.02,), daemon=True).start()
    url = f"https://localhost:{secure.server_port}/bus.jpg"
    with pytest.raises(BadImage, match="certificate"):
        fetch_picture(url, allow_private=True)
    monkeypatch.setattr(fetching, "_trust", lambda: ssl.create_default_context(cafile=own))
    assert fetch_picture(url, allow_private=True) == JPEG
    with pytest.raises(BadImage, match="longer than"):
        fetch_picture(url.replace("bus.jpg", "drip"), seconds=1, allow_private=True)
    with pytest.raises(BadImage, match="certificate"):
        fetch_picture(url.replace("localhost", "127.0.0.1"), allow_private=True)
    secure.shutdown()
    secure.server_close()


BAD = ["http://", "http:///x.jpg", "ftp://example.com/x.jpg", "http://[::1/x", "http://user:word@example.com/x.jpg", "bus.jpg",
       "http://example.com:99999/x", "http://example.com:x/", "https://" + "a" * 70 + ".com/", "http://a..b/", "file:///x", ""]  # fmt: skip


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_web_address_is_refused(url):
    with pytest.raises(BadImage) as error:
        fetch_picture(url, seconds=2)
    assert "\n" not in str(error.value)


def test_line_ends_in_an_address_smuggle_nothing_into_the_request(server, monkeypatch):
    Web(monkeypatch, server, {"fair.example": [[PUBLIC]]})
    with contextlib.suppress(BadImage):
        fetch_picture("http://fair.example/bus.jpg\r\nX-Evil: 1\r\n\r\nGET /html", seconds=2)
    assert len(server.asked) <= 1 and all("Evil" not in host for host, _ in server.asked)


def test_a_web_address_is_a_picture_like_any_other(server, monkeypatch, tmp_path):
    Web(monkeypatch, server, {"fair.example": [[PUBLIC]]})
    url = "http://fair.example/bus.jpg"
    assert is_url(url) and not is_url("http.jpg") and not is_url(b"http://") and picture_name(url) == url
    (tmp_path / "a.jpg").write_bytes(JPEG)
    np.testing.assert_array_equal(np.array(load_image(url, 64)), np.array(load_image(tmp_path / "a.jpg", 64)))
    assert find_pictures([tmp_path]) == [tmp_path / "a.jpg"]
