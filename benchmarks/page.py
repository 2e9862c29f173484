"""How quickly does the page answer one visitor, and twenty at once? Does its memory grow over a thousand uploads?

    python benchmarks/page.py

Starts the page as a server, with an untrained mobilenet_v2 at 224 pixels (what a network has learned does not change its speed),
and visits it over real connections: the browser's own protocol (a websocket, uploads over HTTP) without the browser. Each visitor
uploads drawn photos of 2 megapixels. The clock runs from the end of the upload until the prediction has arrived. Server and
visitors share the machine: the result says how much processor time each of the two took.
"""

import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.cookiejar import CookieJar
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from common import parser, save, table
from PIL import Image
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websocket import create_connection  # websocket-client, which JupyterLab brings along

from vehicle_nb.demo.make import DEMO_CLASSES, draw_vehicle
from vehicle_nb.models.bundle import save_bundle
from vehicle_nb.models.registry import create_model
from vehicle_nb.parallel import cpu_count

ROOT = Path(__file__).resolve().parent.parent


def photos(count: int = 20) -> list[bytes]:
    "Drawings in the size of photos from the web, as JPEG."
    made = []
    for i in range(count):
        file = io.BytesIO()
        image = draw_vehicle(DEMO_CLASSES[i % len(DEMO_CLASSES)], 2_000_000_000 + i).resize((1600, 1200), Image.Resampling.BICUBIC)
        image.save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made


def start(home: Path, arch: str) -> tuple[subprocess.Popen, str]:
    "The page on a free port, with one model."
    torch.manual_seed(0)
    config = {"arch": arch, "classes": list(DEMO_CLASSES), "image_size": 224, "input_size": 224}
    save_bundle(home / "models" / "load", create_model(arch, len(DEMO_CLASSES)), config)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {**os.environ, "VEHICLE_RUNS": str(home / "models"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.headless=true",
               f"--server.port={port}", "--server.address=127.0.0.1"]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
            return process, f"127.0.0.1:{port}"
        except OSError:
            time.sleep(0.25)
    process.kill()
    raise SystemExit("The page does not start.")


class Visitor:
    "One person's browser, as far as the server can tell."

    def __init__(self, place: str):
        self.place = place
        self.http = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies := CookieJar()))
        self.http.open(f"http://{place}/_stcore/health").close()
        self.http.open(f"http://{place}/_stcore/host-config").close()
        self.xsrf = next((c.value for c in cookies if "xsrf" in c.name), "")
        self.socket = create_connection(f"ws://{place}/_stcore/stream", subprotocols=["streamlit"], origin=f"http://{place}",
                                        cookie="; ".join(f"{c.name}={c.value}" for c in cookies), timeout=120)  # fmt: skip
        self.session = self.uploader = ""
        self.rerun()
        self.until(lambda message: message.WhichOneof("type") == "script_finished")

    def rerun(self, files=()):
        "Run the page again, with these files in its upload field."
        message = BackMsg()
        message.rerun_script.context_info.locale = "en-US"
        if files:
            widget = WidgetState(id=self.uploader)
            for name, size, urls in files:
                widget.file_uploader_state_value.uploaded_file_info.add(name=name, size=size, file_id=urls.file_id, file_urls=urls)
            message.rerun_script.widget_states.widgets.append(widget)
        self.socket.send_binary(message.SerializeToString())

    def until(self, condition) -> ForwardMsg:
        "Read messages of the page until one meets the condition."
        while True:
            message = ForwardMsg.FromString(self.socket.recv())
            if message.WhichOneof("type") == "new_session":
                self.session = message.new_session.initialize.session_id
            element = message.delta.new_element
            if element.WhichOneof("type") == "file_uploader" and not element.file_uploader.accept_directory:
                self.uploader = element.file_uploader.id
            if condition(message):
                return message

    def ask(self, name: str, data: bytes) -> tuple[float, float]:
        "Upload an image; seconds that the upload took, and seconds from its end to the answer."
        request = BackMsg()
        request.file_urls_request.request_id = name
        request.file_urls_request.file_names.append(name)
        request.file_urls_request.session_id = self.session
        begin = time.perf_counter()
        self.socket.send_binary(request.SerializeToString())
        reply = self.until(lambda m: m.WhichOneof("type") == "file_urls_response")
        urls = reply.file_urls_response.file_urls[0]
        self.put(urls.upload_url, name, data)
        there = time.perf_counter()
        self.rerun([(name, len(data), urls)])
        self.until(lambda m: 'class="sign ' in m.delta.new_element.html.body)
        answered = time.perf_counter()
        self.until(lambda m: m.WhichOneof("type") == "script_finished")
        return there - begin, answered - there

    def put(self, path: str, name: str, data: bytes):
        "Send a file as a browser does."
        boundary = "----a-boundary-that-no-image-holds"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: image/jpeg\r\n\r\n'
        body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
        self.send("PUT", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def send(self, method: str, path: str, body: bytes | None = None, headers: dict | None = None):
        "One request over HTTP, with the token against forgery."
        headers = {"X-Xsrftoken": self.xsrf, **(headers or {})}
        request = urllib.request.Request(f"http://{self.place}/{path.lstrip('/')}", body, headers, method=method)
        self.http.open(request, timeout=60).close()


def one_visitor(place: str, images: list[bytes], times: int) -> list[float]:
    "Seconds of each answer when nobody else is there; the first two warm things up and are left out."
    visitor = Visitor(place)
    return [visitor.ask(f"{i}.jpg", images[i % len(images)])[1] for i in range(times + 2)][2:]


def cpu_seconds(process: psutil.Process) -> float:
    "Processor time of all threads of a process since it began."
    times = process.cpu_times()
    return times.user + times.system


def many_visitors(place: str, images: list[bytes], count: int, repeats: int, server: psutil.Process) -> tuple[list[float], dict]:
    "Seconds of each answer when `count` visitors upload in the same moment, several times; who took the processor."
    visitors = [Visitor(place) for _ in range(count)]
    sides = {"server": server, "visitors": psutil.Process()}
    before, began = {side: cpu_seconds(process) for side, process in sides.items()}, time.perf_counter()
    gate, seconds, problems = threading.Barrier(count), [], []

    def visit(number: int):
        try:
            for repeat in range(repeats):
                gate.wait(300)
                seconds.append(visitors[number].ask(f"{number}-{repeat}.jpg", images[(number + repeat) % len(images)])[1])
        except Exception as error:
            problems.append(error)
            gate.abort()

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    took = (time.perf_counter() - began) * cpu_count()
    return seconds, {side: round((cpu_seconds(process) - before[side]) / took, 3) for side, process in sides.items()}


def memory(place: str, images: list[bytes], server: psutil.Process, uploads: int) -> list[float]:
    "Megabytes of the server after each tenth of the uploads; in each tenth one visitor uploads one image after the other, then leaves."
    megabytes = [server.memory_info().rss / 2**20]
    for tenth in range(10):
        visitor = Visitor(place)
        for i in range(uploads // 10):
            visitor.ask(f"{tenth}-{i}.jpg", images[i % len(images)])
        visitor.socket.close()
        megabytes.append(server.memory_info().rss / 2**20)
        print(f"  {(tenth + 1) * (uploads // 10):>5} uploads: {megabytes[-1]:.0f} MB", flush=True)
    return megabytes


def milliseconds(seconds: list[float]) -> dict:
    "Median and 95th percentile."
    ordered = sorted(seconds)
    return {f"p{p}, ms": round(1000 * ordered[round(p / 100 * (len(ordered) - 1))]) for p in (50, 95)}


def main():
    parse = parser(__doc__)
    parse.add_argument("--arch", default="mobilenet_v2")
    parse.add_argument("--visitors", type=int, default=20, help="how many upload in the same moment")
    parse.add_argument("--repeats", type=int, default=5, help="how often they do")
    parse.add_argument("--uploads", type=int, default=1000, help="one after the other, for the memory")
    args = parse.parse_args()
    images = photos()
    with tempfile.TemporaryDirectory() as home:
        process, place = start(Path(home), args.arch)
        try:
            server = psutil.Process(process.pid)
            one = one_visitor(place, images, 2 * args.visitors)
            many, shares = many_visitors(place, images, args.visitors, args.repeats, server)
            megabytes = memory(place, images, server, args.uploads)
        finally:
            process.terminate()
            process.wait(30)
    rows = [{"visitors": 1} | milliseconds(one), {"visitors": args.visitors} | milliseconds(many)]
    table(rows)
    growth = megabytes[-1] / megabytes[1] - 1
    print(f"memory after a tenth of the uploads {megabytes[1]:.0f} MB, after all {megabytes[-1]:.0f} MB: {growth:+.1%}")
    save(args.name, streamlit=version("streamlit"), arch=args.arch, rows=rows, one_seconds=one, many_seconds=many, share_of_cores=shares,
         uploads=args.uploads, growth_after_the_first_tenth=growth, megabytes=megabytes)  # fmt: skip


if __name__ == "__main__":
    main()
