"""Pictures from the web: only the open internet, at the address that was checked, within limits of size and time."""

import contextlib
import http.server
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hostile import encode, random_image

from vehicle_nb.serving import image_input as image_input
from vehicle_nb.data.images import BadImage
from vehicle_nb.serving.image_input import fetch_image, is_public, is_url, load_image, image_name
from vehicle_nb.serving.predictor import find_images

JPEG = encode(random_image(3, (160, 100)))
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
    return fetch_image(server.place + path, allow_private=True, **{"timeout": 5, **limits})


@pytest.mark.parametrize("path", ["/bus.jpg", "/called_text", "/chunked", "/without_length", "/moved", "/bus.jpg?a=ä&b=1", "/grün"])
def test_a_picture_is_fetched_whatever_the_server_calls_it(server, path):
    if path == "/gefäää":
        server.RequestHandlerClass.do_gruenae = Answers.do_bus
    assert fetch(server, path) == JPEG


REASONS = {
    "/html": "HTML page", "/nothing": "empty file", "/missing": "404 (Not Found)", "/odd": "799", "/cut": "was lost",
    "/too_large": "too large", "/endless": "too large", "/drip": "longer than", "/dripping_head": "longer than",
    "/silent": "longer than", "/nonsense": "could not be reached", "/many_heads": "could not be reached",
    "/circle": "too many redirects", "/to_file": "not a web address",
}  # fmt: skip


@pytest.mark.parametrize("path", REASONS)
def test_each_bad_answer_has_its_reason_in_bounded_time(server, path):
    start = time.monotonic()
    with pytest.raises(BadImage) as error:
        fetch(server, path, timeout=1, max_bytes=10**6)
    assert REASONS[path] in str(error.value) and "\n" not in str(error.value)
    assert time.monotonic() - start < 2


PRIVATE = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1%eth0", "fc00::1",
    "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "2001:db8::1", "2001::1",
    "::127.0.0.1", "100::1",
    # IANA's registries of special-purpose addresses: what is not globally reachable, ends of the ranges and neighbours of exceptions
    "0.255.255.255", "10.255.255.255", "100.127.255.255", "127.255.255.255", "169.254.0.0", "172.31.255.255", "192.0.0.0",
    "192.0.0.7", "192.0.0.8", "192.0.0.11", "192.0.0.170", "192.0.0.171", "192.0.0.255", "192.0.2.255", "192.88.99.2",
    "192.168.255.255", "198.19.255.255", "198.51.100.7", "203.0.113.255", "::ffff:192.0.0.8", "64:ff9b::c000:8", "64:ff9b:1::1",
    "100:0:0:1::1", "2001:1::4", "2001:2::1", "2001:10::1", "2001:1ff::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2002:808:808::1",
    "3fff::1", "3fff:fff:ffff::1", "5f00::1", "fdff::1", "febf::1", "4000::1",
]  # fmt: skip
REACHABLE = [
    PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808",
    # globally reachable for IANA, although within or beside what is not
    "192.0.0.9", "192.0.0.10", "192.31.196.1", "192.52.193.1", "192.175.48.1", "::ffff:192.0.0.9", "2001:1::1", "2001:1::2",
    "2001:1::3", "2001:3::1", "2001:4:112::1", "2001:20::1", "2001:3f::1", "2620:4f:8000::1",
    "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:200::1", "2001:db9::1", "2003::1", "3ffe::1", "2000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", REACHABLE)
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
        fetch_image(url.format(server.server_port), timeout=5)
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
    assert fetch_image("http://rebind.example/bus.jpg", timeout=5) == JPEG
    assert web.asked == ["rebind.example"] and web.connected == [PUBLIC]
    assert server.asked == [("rebind.example", "/bus.jpg")]  # the server still hears its own name


def test_one_private_address_among_public_ones_is_enough_to_refuse(server, monkeypatch):
    web = Web(monkeypatch, server, {"both.example": [[PUBLIC, "10.0.0.1"]]})
    with pytest.raises(BadImage, match="private network"):
        fetch_image("http://both.example/bus.jpg")
    assert not web.connected


@pytest.mark.parametrize("path", ["/inwards", "/to_address"])
def test_every_redirect_is_checked_again(server, monkeypatch, path):
    web = Web(monkeypatch, server, {"fair.example": [[PUBLIC]], "inside.example": [["192.168.0.9"]]})
    with pytest.raises(BadImage, match="private network"):
        fetch_image("http://fair.example" + path, timeout=5)
    assert web.connected == [PUBLIC] and len(server.asked) == 1


def test_the_second_address_is_tried_when_the_first_is_dead(server, monkeypatch):
    web = Web(monkeypatch, server, {"two.example": [["8.8.4.4", PUBLIC]]})
    assert fetch_image("http://two.example/bus.jpg", timeout=5) == JPEG
    assert web.connected == ["8.8.4.4", PUBLIC]


def test_a_name_server_that_never_answers_ends_in_time(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2) or [])
    start = time.monotonic()
    with pytest.raises(BadImage, match="longer than"):
        fetch_image("http://slow.example/bus.jpg", timeout=0.3)
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

    monkeypatch.setattr(image_input, "_trust", Context)
    assert fetch_image("https://safe.example/bus.jpg", timeout=5) == JPEG
    with pytest.raises(BadImage, match="certificate"):
        Web(monkeypatch, server, {"false.example": [[PUBLIC]]})
        fetch_image("https://false.example/bus.jpg", timeout=5)
    assert names == ["safe.example", "false.example"]


def secure_server(name: str, folder: Path) -> tuple[http.server.ThreadingHTTPServer, Path]:
    "A server with a certificate of its own for `name`, and the file that holds the certificate."
    key, own = folder / "key.pem", folder / "own.pem"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -addext subjectAltName=DNS:{name} -keyout"
    subprocess.run([*make.split(), key, "-out", own], check=True, capture_output=True)
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.load_cert_chain(own, key)
    secure = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    secure.asked, secure.socket = [], identity.wrap_socket(secure.socket, server_side=True)
    threading.Thread(target=secure.serve_forever, args=(0.02,), daemon=True).start()
    return secure, own


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl, which makes a certificate for this test, is not installed")
def test_a_real_certificate_opens_the_way_only_under_its_own_name(server, monkeypatch, tmp_path):
    secure, own = secure_server("localhost", tmp_path)
    url = f"https://localhost:{secure.server_port}/bus.jpg"
    with pytest.raises(BadImage, match="certificate"):
        fetch_image(url, allow_private=True)
    monkeypatch.setattr(image_input, "_trust", lambda: ssl.create_default_context(cafile=own))
    assert fetch_image(url, allow_private=True) == JPEG
    with pytest.raises(BadImage, match="longer than"):
        fetch_image(url.replace("bus.jpg", "drip"), timeout=1, allow_private=True)
    with pytest.raises(BadImage, match="certificate"):
        fetch_image(url.replace("localhost", "127.0.0.1"), allow_private=True)
    secure.shutdown()
    secure.server_close()


BAD = ["http://", "http:///x.jpg", "ftp://example.com/x.jpg", "http://[::1/x", "http://user:word@example.com/x.jpg", "bus.jpg",
       "http://example.com:99999/x", "http://example.com:x/", "https://" + "a" * 70 + ".com/", "http://a..b/", "file:///x", ""]  # fmt: skip


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_web_address_is_refused(url):
    with pytest.raises(BadImage) as error:
        fetch_image(url, timeout=2)
    assert "\n" not in str(error.value)


def test_line_ends_in_an_address_smuggle_nothing_into_the_request(server, monkeypatch):
    Web(monkeypatch, server, {"fair.example": [[PUBLIC]]})
    with contextlib.suppress(BadImage):
        fetch_image("http://fair.example/bus.jpg\r\nX-Evil: 1\r\n\r\nGET /html", timeout=2)
    assert len(server.asked) <= 1 and all("Evil" not in host for host, _ in server.asked)


def test_a_web_address_is_a_picture_like_any_other(server, monkeypatch, tmp_path):
    Web(monkeypatch, server, {"fair.example": [[PUBLIC]]})
    url = "http://fair.example/bus.jpg"
    assert is_url(url) and not is_url("http.jpg") and not is_url(b"http://") and image_name(url) == url
    (tmp_path / "a.jpg").write_bytes(JPEG)
    np.testing.assert_array_equal(np.array(load_image(url, 64)), np.array(load_image(tmp_path / "a.jpg", 64)))
    assert find_images([tmp_path]) == [tmp_path / "a.jpg"]


# --- behind a proxy ------------------------------------------------------------------------------------------------------


class Proxy(http.server.BaseHTTPRequestHandler):
    "A proxy that has one server behind it, whatever name it is asked for."

    def log_message(self, *_):
        pass

    def refuses(self) -> bool:
        self.server.asked.append((self.command, self.path, self.headers.get("Proxy-Authorization"), self.headers["Host"]))
        if self.server.status != 200:
            self.send_error(self.server.status)
        return self.server.status != 200

    def do_GET(self):
        if not self.refuses():
            moved = self.path.endswith("/moved")
            self.send_response(302 if moved else 200)
            self.send_header("Location", "http://10.0.0.1/bus.jpg")
            self.send_header("Content-Length", "0" if moved else str(len(JPEG)))
            self.end_headers()
            self.wfile.write(b"" if moved else JPEG)

    def do_CONNECT(self):
        if self.refuses():
            return
        self.send_response(200)
        self.end_headers()
        with socket.socket() as there:
            there.connect(("127.0.0.1", self.server.behind))
            pump = threading.Thread(target=copy_bytes, args=(there, self.connection), daemon=True)
            pump.start()
            copy_bytes(self.connection, there)
            pump.join(5)


def copy_bytes(one: socket.socket, other: socket.socket):
    with contextlib.suppress(OSError):
        while data := one.recv(2**16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(monkeypatch):
    "The way out leads through a proxy alone, and the names of the open internet are unknown here."
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads, server.asked, server.status, server.behind = True, [], 200, None
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    server.place = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HTTP_PROXY", server.place)
    monkeypatch.setenv("HTTPS_PROXY", server.place)
    names = {"inside.example": "10.1.2.3", "known.example": PUBLIC, "localhost": "127.0.0.1"}

    def look_up(host, port, *_, **__):
        if host not in names and not re.fullmatch(r"(\d+\.){3}\d+|[\da-f:]*:[\da-f:]*", host):
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names.get(host, host), port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    go = socket.create_connection

    def connect(address, *rest):
        assert address[0] == "127.0.0.1", f"{address} was asked without the proxy"
        return go(address, *rest)

    monkeypatch.setattr(socket, "create_connection", connect)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["known.example", "unknown.example", "unknown.example:8080", PUBLIC])
def test_a_proxy_fetches_what_lies_in_the_open_internet(proxy, host):
    assert fetch_image(f"http://{host}/bus.jpg?a=1", timeout=5) == JPEG
    assert proxy.asked == [("GET", f"http://{host}/bus.jpg?a=1", None, host)]


INWARDS = [
    "127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "localhost", "localhost.", "inside.example", "printer", "db.internal",
    "nas.local", "box.home.arpa", "2130706433", "0x7f.0.0.1", "0x7f.1", "127.1", "a.localhost",
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", INWARDS)
def test_a_proxy_is_not_asked_for_what_lies_inside(proxy, scheme, host):
    with pytest.raises(BadImage, match="private network"):
        fetch_image(f"{scheme}://{host}/bus.jpg", timeout=5)
    assert not proxy.asked


def test_a_proxy_is_not_asked_to_follow_inwards(proxy):
    with pytest.raises(BadImage, match="private network"):
        fetch_image("http://known.example/moved", timeout=5)
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("host", ["169.254.169.254 x.com", "a b.example", "a\\b.example"])
def test_what_cannot_be_the_name_of_a_server_reaches_no_proxy(proxy, host):
    with pytest.raises(BadImage, match="not a web address"):
        fetch_image(f"https://{host}/bus.jpg", timeout=5)
    assert not proxy.asked


def test_no_proxy_and_this_machine_go_without_it(proxy, server, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "known.example")
    with pytest.raises(AssertionError, match="without the proxy"):
        fetch_image("http://known.example/bus.jpg", timeout=5)
    assert fetch(server, "/bus.jpg") == JPEG and not proxy.asked


def test_a_proxy_that_wants_a_password_or_says_no(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.place.replace("http://", "http://me:p%40ss@"))
    assert fetch_image("http://known.example/bus.jpg", timeout=5) == JPEG
    assert proxy.asked[0][2] == "Basic bWU6cEBzcw=="
    proxy.status = 407
    with pytest.raises(BadImage, match=r"proxy answered 407 \(Proxy Authentication Required\)"):
        fetch_image("https://known.example/bus.jpg", timeout=5)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:secret@127.0.0.1:1")
    with pytest.raises(BadImage, match="is not supported") as error:
        fetch_image("https://known.example/bus.jpg", timeout=5)
    assert "secret" not in str(error.value)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl, which makes a certificate for this test, is not installed")
def test_through_a_proxy_the_servers_own_certificate_counts(proxy, monkeypatch, tmp_path):
    secure, own = secure_server("unknown.example", tmp_path)
    proxy.behind = secure.server_port
    monkeypatch.setattr(image_input, "_trust", lambda: ssl.create_default_context(cafile=own))
    assert fetch_image("https://unknown.example/bus.jpg", timeout=10) == JPEG
    assert proxy.asked == [("CONNECT", "unknown.example:443", None, "unknown.example:443")]
    assert secure.asked == [("unknown.example", "/bus.jpg")], "the proxy sees no path, the server hears its own name"
    with pytest.raises(BadImage, match="certificate"):
        fetch_image("https://other.example/bus.jpg", timeout=10)
    secure.shutdown()
    secure.server_close()
