"""Getting pictures and reading files: hostile bytes, hostile folders, hostile archives, no network, killed half-way."""

import contextlib
import errno
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile import USED, byte_files, encode, make_hostile, oriented, picture, sixteen_bit, ycck_jpeg
from PIL import Image

from vehicle_nb import archives, data, images, pool
from vehicle_nb.core import VehicleError
from vehicle_nb.data import BadImage, class_folders, get_data, list_files, list_images, map_files, read_image, unpack
from vehicle_nb.places import write_note

UNFIT = ("too small", "too thin", "hidden file", "a file manager's own file")  # judged by other functions


def far(a: Image.Image, b: Image.Image) -> float:
    "How far two pictures are apart: mean difference of a value, 0 to 255."
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


def tree(path: Path) -> dict[str, bytes]:
    "All files under `path` with their bytes."
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def make_raw(path: Path, classes=("bus", "car"), count: int = 3) -> Path:
    "A small raw folder of good pictures."
    for number, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for i in range(count):
            (path / name / f"{i}.jpg").write_bytes(encode(picture(1000 * number + i)))
    return path


def command(*args, **kwargs) -> subprocess.CompletedProcess:
    "Run `python -m vehicle_nb.data`."
    args = [sys.executable, "-m", "vehicle_nb.data", *map(str, args)]
    return subprocess.run(args, capture_output=True, text=True, timeout=120, **kwargs)


def refused(result: subprocess.CompletedProcess, *words: str) -> None:
    "Exit code 2, one sentence with these words, no traceback."
    said = result.stderr.strip().splitlines()
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr and said[-1].startswith("vehicle_data: ")
    for word in words:
        assert word in said[-1]


# -- bytes


@pytest.mark.parametrize("name", [n for n, (_, e) in byte_files().items() if not e.startswith(UNFIT)])
def test_bytes_are_used_or_refused_with_the_reason(name):
    content, expected = byte_files()[name]
    if expected == USED:
        img = read_image(content, 224)
        assert img.mode == "RGB" and img.size == img.info["original_size"] == (160, 120)
    else:
        with pytest.raises(BadImage) as error:
            read_image(content, 224)
        assert str(error.value).startswith(expected)


def test_every_prefix_of_a_file_is_read_or_refused():
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        whole = encode(picture(1), kind)
        for length in range(0, len(whole), max(1, len(whole) // 60)):
            try:
                assert read_image(whole[:length], 224).mode == "RGB"
            except BadImage as error:
                assert len(str(error)) > 8


def test_damage_anywhere_is_read_or_refused():
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "PPM", "ICO"):
        whole = np.frombuffer(encode(picture(1), kind), np.uint8)
        for _ in range(40):
            broken = whole.copy()
            broken[rng.integers(0, len(whole), 5)] = rng.integers(0, 256, 5)
            with contextlib.suppress(BadImage):
                read_image(broken.tobytes(), 224)


def test_colours_survive():
    img = picture(70)
    assert far(read_image(encode(img.convert("CMYK"), quality=95, subsampling=0)), img) < 3
    assert far(read_image(ycck_jpeg(img)), img) < 6
    palette = img.convert("P", palette=Image.Palette.ADAPTIVE)
    assert far(read_image(encode(palette, "PNG")), palette.convert("RGB")) == 0
    grey = picture(15).convert("L").convert("RGB")
    assert far(read_image(sixteen_bit(15)), grey) < 1  # Pillow's own convert would make nearly all of it white
    assert far(read_image(encode(Image.fromarray(np.float32(np.asarray(grey)[..., 0]) / 255), "TIFF")), grey) < 1


def test_what_is_transparent_becomes_white():
    img = picture(71).convert("RGBA")
    img.paste((255, 0, 255, 0), (0, 0, 80, 120))
    for content in (encode(img, "PNG"), encode(img, "WEBP", lossless=True)):
        pixels = np.asarray(read_image(content)).astype(int)
        assert (pixels[:, :75] == 255).all()
        assert np.abs(pixels[:, 85:] - np.asarray(picture(71))[:, 85:]).mean() < 8
    half = np.asarray(read_image(encode(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG")))
    assert abs(int(half[0, 0, 0]) - 127) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size_hint", [None, 40])
def test_pictures_stand_upright(orientation, size_hint):
    img = picture(72)
    got = read_image(oriented(img, orientation), size_hint)
    assert got.info["original_size"] == img.size
    assert far(got, img.resize(got.size, Image.Resampling.BOX)) < 4


def test_an_animation_gives_its_first_frame():
    frames = [picture(seed) for seed in (80, 81, 82)]
    for kind, near in (("GIF", 12), ("WEBP", 6), ("PNG", 1)):
        content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        assert far(read_image(content), frames[0]) < near


def test_a_big_jpeg_is_decoded_small_and_looks_the_same():
    big = picture(73, (4000, 3000))
    content = encode(big, quality=90)
    small = read_image(content, 224)
    assert 448 <= max(small.size) < 1000 and small.info["original_size"] == (4000, 3000)
    assert far(small, big.resize(small.size, Image.Resampling.BOX)) < 2
    assert read_image(content).size == (4000, 3000)  # without a hint: every pixel


def test_sources_may_be_paths_bytes_and_open_files(tmp_path):
    content = encode(picture(74))
    (tmp_path / "a.jpg").write_bytes(content)
    for source in (tmp_path / "a.jpg", str(tmp_path / "a.jpg"), content, io.BytesIO(content)):
        assert read_image(source).size == (160, 120)
    with pytest.raises(BadImage, match="no such file"):
        read_image(tmp_path / "b.jpg")
    with pytest.raises(BadImage, match="a folder"):
        read_image(tmp_path)


def test_no_permission_is_a_reason(tmp_path, monkeypatch):
    def locked(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(images.os, "open", locked)
    with pytest.raises(BadImage, match="no permission"):
        read_image(tmp_path / "a.jpg")


# -- folders


def test_a_hostile_folder_is_listed_to_the_end(tmp_path):
    make_raw(tmp_path)
    expected = make_hostile(tmp_path / "bus")
    rows = {data.path_text(path.relative_to(tmp_path / "bus")): why for name, path, why in list_files(tmp_path) if name == "bus"}
    for name, outcome in expected.items():
        known_by_its_place = outcome.startswith(("hidden", "a file", "not a regular", "a broken", "a link"))
        assert rows[name].startswith(outcome) if known_by_its_place else rows[name] == "", name
    assert set(rows) == set(expected) | {"0.jpg", "1.jpg", "2.jpg"}
    with pytest.raises(BadImage, match="too large"):
        read_image(tmp_path / "bus" / "huge.jpg")
    for name in ("pipe.jpg", "endless.jpg", "nowhere.jpg", "loop-a.jpg", "socket.jpg"):  # asked directly, none blocks
        with pytest.raises(BadImage):
            read_image(tmp_path / "bus" / name)


def test_the_order_of_the_directory_does_not_matter(tmp_path):
    names = [f"{name}.jpg" for name in ("b", "a", "Z", "ä", "10", "9", "a b")]
    for order, place in ((names, "one"), (names[::-1], "two")):
        for kind in ("car", "bus"):
            (tmp_path / place / kind).mkdir(parents=True)
            for name in order:
                (tmp_path / place / kind / name).write_bytes(b"x")
    one, two = ([(c, p.relative_to(tmp_path / place)) for c, p in list_images(tmp_path / place)] for place in ("one", "two"))
    assert one == two and len(one) == 14


def test_classes_are_the_folders(tmp_path):
    raw = make_raw(tmp_path / "a" / "b" / "vehicle_data", ("car", "tramway électrique", "bus"))
    assert list(class_folders(raw)) == ["bus", "car", "tramway électrique"]
    assert class_folders(tmp_path) == class_folders(raw)  # lone folders are stepped through
    (raw / ".ipynb_checkpoints").mkdir()
    (tmp_path / "a" / "__MACOSX").mkdir()
    (tmp_path / "a" / "README.txt").write_text("about this set")
    (raw / "loop").symlink_to(tmp_path)
    assert list(class_folders(tmp_path)) == ["bus", "car", "tramway électrique"]
    assert ("", raw / "loop", "a link to a folder (not followed)") in list_files(tmp_path)


def test_a_linked_class_folder_is_followed(tmp_path):
    raw, far_away = make_raw(tmp_path / "raw"), make_raw(tmp_path / "disk2", ("boat",))
    (raw / "boat").symlink_to(far_away / "boat")
    assert len([1 for name, _ in list_images(raw) if name == "boat"]) == 3


def test_folders_that_are_no_raw_folder(tmp_path):
    with pytest.raises(VehicleError, match=r"does not exist.*vehicle_data --demo"):
        class_folders(tmp_path / "nothing")
    with pytest.raises(VehicleError, match="no class folders"):
        class_folders(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(VehicleError, match="is not a folder"):
        class_folders(tmp_path / "file")
    one = make_raw(tmp_path / "one", ("bus",))
    with pytest.raises(VehicleError, match=r"only one class.*bus"):
        class_folders(one)
    make_raw(tmp_path / "split" / "train")
    make_raw(tmp_path / "split" / "test")
    with pytest.raises(VehicleError, match="splits"):
        class_folders(tmp_path / "split")


# -- archives


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["../evil.jpg", "bus/../../evil.jpg", "/tmp/evil.jpg", "..\\evil.jpg", "C:\\evil.jpg"])
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_archives_do_not_reach_outside(tmp_path, name, write):
    archive = write(tmp_path / "a.bin", {"bus/1.jpg": b"x", name: b"evil"})
    with pytest.raises(VehicleError, match="refused"):
        get_data(from_path=str(archive), dest=str(tmp_path / "in" / "raw"), show_progress=False)
    assert not list(tmp_path.rglob("*evil*")) and not (tmp_path / "in" / "raw").exists()
    assert not Path("/tmp/evil.jpg").exists()


def test_links_and_devices_in_archives_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "bus/out"), (tarfile.LNKTYPE, "bus/hard"), (tarfile.FIFOTYPE, "bus/pipe")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "../../secret"
            archive.addfile(info)
        info = tarfile.TarInfo("bus/out/planted.jpg")  # would land behind the link, were it made
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    (tmp_path / "tar").mkdir()
    assert unpack(tmp_path / "a.tar", tmp_path / "tar", show_progress=False) == 3
    assert list(tree(tmp_path / "tar")) == ["bus/out/planted.jpg"]

    link = zipfile.ZipInfo("bus/out")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    (tmp_path / "zip").mkdir()
    assert unpack(tmp_path / "a.zip", tmp_path / "zip", show_progress=False) == 1
    assert not tree(tmp_path / "zip")


def test_an_archive_cannot_fill_the_disk(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bus/zeros.jpg", bytes(50_000_000))
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    write_tar(tmp_path / "bomb.tgz", {"bus/zeros.jpg": bytes(50_000_000)})
    for name in ("bomb.zip", "bomb.tgz"):
        with pytest.raises(VehicleError, match=r"more than 5.0 MB.*--max_gb"):
            get_data(from_path=str(tmp_path / name), dest=str(tmp_path / "raw"), max_gb=0.005, show_progress=False)
        assert not (tmp_path / "raw").exists() and not (tmp_path / ".raw.work").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_archives_of_all_kinds(tmp_path, mode):
    members = {f"set/{name}/{i}.jpg": encode(picture(i)) for name in ("bus", "car") for i in range(2)}
    members |= {"set/bus/" + "ü" * 140 + ".jpg": b"name too long for any disk", "set/car/سيارة🚚.jpg": b"x"}
    archive = write_zip(tmp_path / "a", members) if mode == "zip" else write_tar(tmp_path / "a", members, mode)
    raw = get_data(from_path=str(archive), dest=str(tmp_path / "raw"), show_progress=False)
    assert list(class_folders(raw)) == ["bus", "car"] and len(list_images(raw)) == 6
    assert (raw / "set" / "bus" / "0.jpg").read_bytes() == encode(picture(0))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_a_cut_off_archive_leaves_nothing(tmp_path, mode):
    noise = {f"{name}/{i}.jpg": np.random.default_rng(i).bytes(20_000) for name in ("bus", "car") for i in range(9)}
    whole = write_zip(tmp_path / "a", noise) if mode == "zip" else write_tar(tmp_path / "a", noise, mode)
    content = whole.read_bytes()
    for share in (0.03, 0.5, 0.97):
        (tmp_path / "cut").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(VehicleError, match="cut off"):
            get_data(from_path=str(tmp_path / "cut"), dest=str(tmp_path / "raw"), show_progress=False)
        assert not (tmp_path / "raw").exists()


def test_odd_archives(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!" + bytes(1000))
    refused(command("--from", tmp_path / "a.rar", "--dest", tmp_path / "raw"), "no archive")
    refused(command("--from", tmp_path / "none.zip", "--dest", tmp_path / "raw"), "none.zip")
    write_zip(tmp_path / "flat.zip", {"1.jpg": b"x", "2.jpg": b"y"})
    refused(command("--from", tmp_path / "flat.zip", "--dest", tmp_path / "raw"), "no class folders", "flat.zip")
    locked = bytearray(write_zip(tmp_path / "locked.zip", {"bus/1.jpg": b"x"}).read_bytes())
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    refused(command("--from", tmp_path / "locked.zip", "--dest", tmp_path / "raw"), "encrypted")
    assert not (tmp_path / "raw").exists()


# -- the command


def test_a_folder_of_ones_own(tmp_path):
    source = make_raw(tmp_path / "mine")
    os.mkfifo(source / "bus" / "pipe")
    before = tree(source / "car")
    done = command("--from", source, "--dest", tmp_path / "raw")
    assert done.returncode == 0 and "6 files in 2 classes" in done.stdout and "vehicle_preprocess" in done.stdout
    assert tree(tmp_path / "raw" / "car") == before == tree(source / "car")
    again = command("--from", source, "--dest", tmp_path / "raw")
    assert again.returncode == 0 and "already" in again.stdout
    other = make_raw(tmp_path / "other", ("boat", "van"))
    refused(command("--from", other, "--dest", tmp_path / "raw"), "--force")
    assert list(class_folders(tmp_path / "raw")) == ["bus", "car"]
    assert command("--from", other, "--dest", tmp_path / "raw", "--force").returncode == 0
    assert list(class_folders(tmp_path / "raw")) == ["boat", "van"]


def test_the_demo_set(tmp_path):
    done = command("--demo", "--per_class", 2, "--dest", tmp_path / "raw", "--no-show_progress")
    assert done.returncode == 0, done.stderr
    assert len(class_folders(tmp_path / "raw")) == 20 and len(list_images(tmp_path / "raw")) == 40


def test_mistakes_of_the_command(tmp_path):
    refused(command(), "Choose one source")
    refused(command("--demo", "--kaggle"), "Choose one source")
    refused(command("--kaggle", "--handle", "https://kaggle.com/x", "--dest", tmp_path / "raw"), "owner/name")
    (tmp_path / "file").write_text("")
    refused(command("--demo", "--dest", tmp_path / "file" / "raw"), "cannot be written")
    refused(command("--demo", "--dest", "."), "folder that you are in")
    refused(command("--demo", "--max_gb", "nan", "--dest", tmp_path / "raw"), "--max_gb")


@pytest.mark.parametrize("dest", ["mine", "mine/raw", "."], ids=["same", "inside", "around"])
def test_a_set_is_never_taken_from_where_it_goes(tmp_path, dest):
    source = make_raw(tmp_path / "mine")
    before = tree(source)
    with pytest.raises(VehicleError, match="beside each other"):
        get_data(from_path=str(source), dest=str(tmp_path / dest), force=True, show_progress=False)
    assert tree(source) == before


def test_killed_while_one_set_takes_the_place_of_another(tmp_path, monkeypatch):
    old, source = make_raw(tmp_path / "raw"), make_raw(tmp_path / "mine", ("boat", "van"))
    write_note(old, {"source": "kaggle"})
    before, work = tree(old), tmp_path / ".raw.work"
    work.mkdir()
    old.rename(work / "old")  # as kill -9 between the two renames leaves it
    with pytest.raises(VehicleError, match="--force"):
        get_data(from_path=str(source), dest=str(old), show_progress=False)
    assert tree(old) == before
    monkeypatch.setattr(data, "write_note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        get_data(from_path=str(source), dest=str(old), force=True, show_progress=False)
    assert tree(old) == before


def test_without_network_there_is_a_way(tmp_path, monkeypatch):
    import kagglehub

    def no_network(handle):
        raise ConnectionError("HTTPSConnectionPool(host='api.kaggle.com', port=443): Max retries exceeded")

    monkeypatch.setattr(kagglehub, "dataset_download", no_network)
    with pytest.raises(VehicleError, match=r"no network.*browser.*--from.*--demo"):
        get_data(kaggle=True, dest=str(tmp_path / "raw"), show_progress=False)
    assert not (tmp_path / "raw").exists()


def test_a_kaggle_set_is_taken_from_the_cache(tmp_path, monkeypatch):
    import kagglehub

    cache, asked = make_raw(tmp_path / "cache" / "vehicle_data").parent, []
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: asked.append(handle) or str(cache))
    raw = get_data(kaggle=True, handle="someone/vehicles", dest=str(tmp_path / "raw"), show_progress=False)
    assert asked == ["someone/vehicles"] and list(class_folders(raw)) == ["bus", "car"]


def test_disk_full_leaves_the_old_set(tmp_path, monkeypatch):
    old = make_raw(tmp_path / "raw")
    write_note(old, {"source": "kaggle"})
    before, source = tree(old), make_raw(tmp_path / "mine", ("boat", "van"))

    def full(self, source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives.Meter, "copy", full)
    with pytest.raises(VehicleError, match="disk is full"):
        get_data(from_path=str(source), dest=str(old), force=True, show_progress=False)
    assert tree(old) == before


def test_killed_while_unpacking(tmp_path):
    members = {f"{name}/{i}.jpg": np.random.default_rng(i).bytes(300) for name in ("bus", "car") for i in range(4000)}
    write_tar(tmp_path / "a.tgz", members)
    args = [sys.executable, "-m", "vehicle_nb.data", "--from", tmp_path / "a.tgz", "--dest", tmp_path / "raw"]
    process = subprocess.Popen(args, stderr=subprocess.DEVNULL)
    half = tmp_path / ".raw.work" / "new" / "bus"
    while not (half.exists() and len(list(half.iterdir())) > 50):
        assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "raw").exists()  # no half set
    assert command(*args[3:]).returncode == 0
    assert len(list_images(tmp_path / "raw")) == 8000 and not (tmp_path / ".raw.work").exists()


# -- workers


def _square_or_die(number: int) -> int:
    if number in (77, 300):
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
    return number**2


def test_a_worker_that_dies_costs_one_file():
    got = dict(map_files(_square_or_die, range(1000), 2, show_progress=False, lost=lambda number: "lost"))
    assert got.pop(77) == got.pop(300) == "lost"
    assert got == {n: n**2 for n in range(1000) if n not in (77, 300)}
    with pytest.raises(VehicleError, match="77"):
        dict(map_files(_square_or_die, range(60, 100), 2, show_progress=False))


def test_workers_share_the_memory_for_decoding(monkeypatch):
    monkeypatch.setattr(pool, "_budget", (threading.Lock(), threading.Semaphore(pool.UNITS)))
    held, most, rng = [0], [0], np.random.default_rng(0)

    def decode(needed: int):
        for _ in range(20):
            with pool.share_memory(needed):
                held[0] += needed
                most[0] = max(most[0], held[0])
                time.sleep(0.0005)
                held[0] -= needed

    threads = [threading.Thread(target=decode, args=[int(n)], daemon=True) for n in rng.integers(1, 2**29, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "they wait for each other"
    assert 2**28 < most[0] <= pool.UNIT * pool.UNITS
    bomb = Image.new("RGB", (1, 1))
    bomb.format, bomb.info = "JPEG", {"progressive": 1}
    assert images._decoding_bytes(bomb, (13_000, 13_000)) > 10**9
    bomb.info = {}
    assert images._decoding_bytes(bomb, (13_000, 13_000)) < 100


def _fail(number: int):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_in_a_worker_comes_back():
    with pytest.raises(OSError, match="No space"):
        dict(map_files(_fail, range(100), 2, show_progress=False))


SLEEPERS = """
import os, sys, time
from vehicle_nb.data import map_files
def slow(i):
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
    time.sleep(30)
for _ in map_files(slow, range(64), 2, show_progress=False): pass
"""


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SLEEPERS, tmp_path])
    while len(pids := [int(name) for name in os.listdir(tmp_path)]) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    deadline = time.time() + 5
    while alive := [pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and "Z" not in _state(pid)]:
        assert time.time() < deadline, f"still there: {alive}"
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"
