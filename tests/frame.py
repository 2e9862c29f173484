"""Two sites in one: huggingface.co with a frame in it, and the Space that the frame shows, which hands on to a server of ours.

Browsers treat a frame of another site unlike a page (they keep cookies back), and only over HTTPS as they do on the web. So the
two names get a certificate of their own, made by openssl, and the browser is told where they are.
"""

import asyncio
import shutil
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

PAGE = "https://huggingface.co/spaces/someone/vehicles"
FRAME = b'<!doctype html><title>Space</title><iframe src="https://someone-vehicles.hf.space/" style="width:1200px;height:1400px"></iframe>'


def certificate(folder: Path) -> ssl.SSLContext:
    "Proof of both names, for whoever does not look closely."
    names = "subjectAltName=DNS:huggingface.co,DNS:*.hf.space"
    make = [shutil.which("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-addext", names]
    subprocess.run([*make, "-keyout", str(folder / "key.pem"), "-out", str(folder / "proof.pem")], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "proof.pem", folder / "key.pem")
    return context


async def hand_on(reader, writer):
    "All bytes of one direction of a connection."
    with suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def answer(reader, writer, port: int):
    "The page with the frame, or whatever the server at `port` says."
    with suppress(OSError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        if b"host: huggingface.co" in head.lower():
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n" + FRAME)
            await writer.drain()
            return writer.close()
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        outer.write(head)
        await asyncio.gather(hand_on(reader, outer), hand_on(inner, writer))


@contextmanager
def framed(address: str, folder: Path):
    "Show the server at `address` in the frame; yields what a browser must be told to find both sites."
    loop, port = asyncio.new_event_loop(), int(address.rsplit(":", 1)[1])
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    sites = asyncio.start_server(lambda r, w: answer(r, w, port), "127.0.0.1", 0, ssl=certificate(folder), limit=2**20)
    place = f"127.0.0.1:{asyncio.run_coroutine_threadsafe(sites, loop).result(30).sockets[0].getsockname()[1]}"
    try:
        yield f"--host-resolver-rules=MAP huggingface.co:443 {place},MAP someone-vehicles.hf.space:443 {place}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
