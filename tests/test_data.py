"""Getting images and reading files: hostile bytes, hostile folders, hostile archives, no network, killed half-way."""

import errno
import io
import os
import re
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
import zlib
from pathlib import Path

import forks
import numpy as np
import pytest
from hostile import (
    USED,
    byte_files,
    chunk,
    deep_png,
    encode,
    heic,
    make_hostile,
    oriented,
    random_image,
    plain_tiff,
    sixteen_bit,
    ycck_jpeg,
)
from PIL import Image

from vehicle_nb import core, parallel as pool
from vehicle_nb.data import archives, images, sources as data
from vehicle_nb.core import VehicleError
from vehicle_nb.data.archives import unpack
from vehicle_nb.data.images import BadImage, read_image
from vehicle_nb.data.sources import class_folders, get_data, list_files, list_images
from vehicle_nb.parallel import parallel_map
from vehicle_nb.serving.image_input import load_image
from vehicle_nb.files import write_source_info

UNFIT = ("too small", "too thin", "hidden file", "a file manager's own file")  # judged by other functions


def far(a: Image.Image, b: Image.Image) -> float:
    "How far two images are apart: mean difference of a value, 0 to 255."
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


def tree(path: Path) -> dict[str, bytes]:
    "All files under `path` with their bytes."
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def make_raw(path: Path, classes=("bus", "car"), count: int = 3) -> Path:
    "A small raw folder of good images."
    for number, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for i in range(count):
            (path / name / f"{i}.jpg").write_bytes(encode(random_image(1000 * number + i)))
    return path


def command(*args, **kwargs) -> subprocess.CompletedProcess:
    "Run `python -m vehicle_nb.data.sources`."
    return forks.run("vehicle_nb.data.sources", *args, **kwargs)


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
        whole = encode(random_image(1), kind)
        for length in range(0, len(whole), max(1, len(whole) // 60)):
            try:
                assert read_image(whole[:length], 224).mode == "RGB"
            except BadImage as error:
                assert len(str(error)) > 8


def test_damage_anywhere_is_read_or_refused():
    rng, refused, read = np.random.default_rng(1), 0, 0
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "PPM", "ICO"):
        whole = np.frombuffer(encode(random_image(1), kind), np.uint8)
        for _ in range(40):
            broken = whole.copy()
            broken[rng.integers(0, len(whole), 5)] = rng.integers(0, 256, 5)
            try:
                assert read_image(broken.tobytes(), 224).mode == "RGB"
                read += 1
            except BadImage as error:
                assert len(str(error)) > 8
                refused += 1
    assert min(read, refused) > 40, "some damage is seen in the image, some makes it unreadable"


def test_colours_survive():
    img = random_image(70)
    assert far(read_image(encode(img.convert("CMYK"), quality=95, subsampling=0)), img) < 3
    assert far(read_image(ycck_jpeg(img)), img) < 6
    palette = img.convert("P", palette=Image.Palette.ADAPTIVE)
    assert far(read_image(encode(palette, "PNG")), palette.convert("RGB")) == 0
    grey = random_image(15).convert("L").convert("RGB")
    assert far(read_image(sixteen_bit(15)), grey) < 1  # Pillow's own convert would make nearly all of it white
    assert far(read_image(encode(Image.fromarray(np.float32(np.asarray(grey)[..., 0]) / 255), "TIFF")), grey) < 1


GREY = np.asarray(random_image(15).convert("L")).astype(np.uint16)
RGB = np.asarray(random_image(15)).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_and_colours_of_any_depth_look_like_the_8_bits_that_they_were_made_of(bits):
    wide, colours, solid = GREY << (bits - 8), RGB << (bits - 8), np.full((120, 160, 1), 2**bits - 1, np.uint16)
    grey = Image.fromarray(GREY.astype(np.uint8)).convert("RGB")
    files = [deep_png(wide), encode(Image.fromarray(wide), "TIFF"), plain_tiff(wide), plain_tiff(wide.astype(">u2"))]
    files += [plain_tiff(wide, packed=True), plain_tiff(wide.astype(np.uint32)), plain_tiff(wide.astype(np.float32))]
    files += [deep_png(np.dstack([wide, solid]))]  # with transparency
    files += [plain_tiff(65535 // 2 ** (16 - bits) - wide, {262: 0})] if bits < 16 else []  # its 0 is white
    files += [deep_png(wide, chunk(b"sBIT", bytes([bits]))), plain_tiff(wide, {281: 2**bits - 1})]
    for content in files:
        got = read_image(content, 224)
        assert far(got, grey) < 1.1 and abs(np.std(got) - np.std(grey)) < 1
        assert got.info["note"] == f"scaled from {bits} bits"
    files = [deep_png(colours), deep_png(np.dstack([colours, solid])), plain_tiff(colours), plain_tiff(colours.astype(">u2"))]
    files += [plain_tiff(colours, packed=True), b"P6 160 120 65535\n" + colours.astype(">u2").tobytes()]
    for content in files:
        got = read_image(content, 224)
        assert far(got, random_image(15)) < 1.1
        assert got.info["note"] == f"scaled from {bits} bits"


def test_numbers_of_other_kinds_have_a_known_black_and_white():
    unit = GREY.astype(np.float32) / 255
    grey = Image.fromarray(GREY.astype(np.uint8)).convert("RGB")
    hounsfield = (GREY.astype(np.int16) * 8) - 1024  # computed tomography: air is -1000, water 0
    holes = unit.copy()
    holes[:3, :3] = np.nan, np.inf, -np.inf
    for values, note, black, white in (
        (unit, "0 to 1", 0, 255), (unit * 2 - 1, "-1 to 1", 0, 255), (unit * 4, "0 to 4", 0, 255), (holes, "0 to 1", 0, 255),
        (hounsfield, "-1024 to 1023", 0, 254), (hounsfield.astype(np.float32), "-1024 to 1023", 0, 254),
        (GREY.astype(np.int32) * 1000, "18 bits|20 bits", 0, 62),
    ):  # fmt: skip
        got = read_image(plain_tiff(values), 224)
        shown = Image.eval(grey, lambda v, black=black, white=white: black + v * (white - black) / 255)
        assert far(got, shown) < 1.1, note
        assert any(part in got.info["note"] for part in note.split("|"))
    with pytest.raises(BadImage, match="NaN or infinite"):
        read_image(plain_tiff(holes * np.nan))


def test_a_dark_image_of_a_stated_depth_stays_dark():
    dark = GREY // 2  # of a camera of 12 bits: at most 127 of 4,095
    for content in (deep_png(dark, chunk(b"sBIT", b"\x0c")), plain_tiff(dark, {281: 4095}), plain_tiff(dark, {341: 4000})):
        assert np.asarray(read_image(content)).max() < 10
    assert np.asarray(read_image(plain_tiff(dark, {281: 65535}))).mean() > 50  # what writers put there by habit


@pytest.mark.parametrize("unit", [1, 16, 257])
def test_a_transparent_value_of_16_bits_becomes_white(unit):
    left = np.arange(160) < 80
    for values, hole in ((np.where(left, 5, GREY), b"\0\x05"), (np.where(left[:, None], 5, RGB), b"\0\x05" * 3)):
        hole = np.frombuffer(hole, ">u2") * unit
        pixels = np.asarray(read_image(deep_png(values * unit, chunk(b"tRNS", hole.astype(">u2").tobytes())))).astype(int)
        assert (pixels[:, :80] == 255).all()
        assert np.abs(pixels[:, 80:] - (values if values.ndim == 3 else values[:, :, None])[:, 80:]).max() < 2


def test_a_image_in_memory_is_scaled_as_a_file_is():
    opened = Image.open(io.BytesIO(deep_png(GREY << 4)))
    assert far(load_image(opened), read_image(deep_png(GREY << 4))) == 0


def test_what_is_transparent_becomes_white():
    img = random_image(71).convert("RGBA")
    img.paste((255, 0, 255, 0), (0, 0, 80, 120))
    for content in (encode(img, "PNG"), encode(img, "WEBP", lossless=True)):
        pixels = np.asarray(read_image(content)).astype(int)
        assert (pixels[:, :75] == 255).all()
        assert np.abs(pixels[:, 85:] - np.asarray(random_image(71))[:, 85:]).mean() < 8
    half = np.asarray(read_image(encode(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG")))
    assert abs(int(half[0, 0, 0]) - 127) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size_hint", [None, 40])
def test_images_stand_upright(orientation, size_hint):
    img = random_image(72)
    got = read_image(oriented(img, orientation), size_hint)
    assert got.info["original_size"] == img.size
    assert far(got, img.resize(got.size, Image.Resampling.BOX)) < 4


def test_an_animation_gives_its_first_frame():
    frames = [random_image(seed) for seed in (80, 81, 82)]
    for kind, near in (("GIF", 12), ("WEBP", 6), ("PNG", 1)):
        content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        assert far(read_image(content), frames[0]) < near


@pytest.mark.parametrize("turned", [False, True])
def test_heic_is_read_wherever_a_image_is(turned, tmp_path):
    raw = make_raw(tmp_path / "raw", count=0)
    for seed in range(10):
        (raw / ("bus" if seed % 2 else "car") / f"{seed}.HEIC").write_bytes(heic(random_image(seed), turned))
    content = (raw / "bus" / "1.HEIC").read_bytes()
    for source in (content, raw / "bus" / "1.HEIC", io.BytesIO(content)):
        assert far(load_image(source, 224), random_image(1)) < 4
    found = list(parallel_map(read_small, [path for _, path in list_images(raw)], workers=2, quiet=True))
    assert len(found) == 10 and all(far(img, random_image(int(path.stem))) < 4 for path, img in found)
    code = "import sys; from vehicle_nb.data.images import read_image; print(read_image(sys.argv[1]).size)"  # a process that never saw one
    done = subprocess.run([sys.executable, "-c", code, raw / "bus" / "1.HEIC"], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "(160, 120)", done.stderr


def read_small(path: Path) -> Image.Image:
    return read_image(path, 224)


def test_no_reason_tells_a_visitor_to_install_anything():
    for content, outcome in byte_files().values():
        try:
            read_image(content)
        except BadImage as error:
            assert "install" not in str(error) and outcome != USED


def test_a_big_jpeg_is_decoded_small_and_looks_the_same():
    big = random_image(73, (4000, 3000))
    content = encode(big, quality=90)
    small = read_image(content, 224)
    assert 448 <= max(small.size) < 1000 and small.info["original_size"] == (4000, 3000)
    assert far(small, big.resize(small.size, Image.Resampling.BOX)) < 2
    assert read_image(content).size == (4000, 3000)  # without a hint: every pixel


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"grey": True}])
def test_a_jpeg_that_lacks_only_its_end_is_used(options):
    rough = np.random.default_rng(0).normal(0, 6, (480, 640, 3))
    img = Image.fromarray((np.asarray(random_image(75, (640, 480))) + rough).clip(0, 255).astype(np.uint8))
    img = img.convert("L") if options.pop("grey", False) else img
    whole = encode(img, quality=90, **options)
    for kept in (len(whole) - 1, len(whole) - 2, len(whole) - 10, len(whole) - 100, round(0.96 * len(whole))):
        got = read_image(whole[:kept], 640)
        missing = got.info["note"].removeprefix("the end is missing: ")
        assert missing.startswith("less than 1 %" if len(whole) - kept <= 100 else ("1 %", "3 %", "4 %", "5 %", "6 %", "7 %"))
        top, shown = (whole_img.crop((0, 0, 640, 416)) for whole_img in (read_image(whole, 640), got))
        assert far(top, shown) < 0.6  # a progressive one may lack the finest detail of its last pass
    for share in (0.5, 0.2) if "progressive" in options else (0.8, 0.5, 0.2):
        for content in (whole[: int(share * len(whole))], whole[: int(share * len(whole))].ljust(len(whole), b"\0")):
            with pytest.raises(BadImage, match="cut off"):
                read_image(content, 640)


def test_a_jpeg_of_200_megapixels_is_read_small_and_others_are_refused():
    grey = Image.new("L", (16_320, 12_240), 180)
    grey.paste(40, (0, 0, 8160, 12_240))
    with tempfile.TemporaryFile() as file:
        grey.save(file, "JPEG", quality=50)
        file.seek(0)
        small = read_image(file, 224)
        assert small.info["original_size"] == (16_320, 12_240) and 448 <= max(small.size) < 2100
        assert np.asarray(small)[100, [10, -10], 0].tolist() == [40, 180]
        file.seek(0)
        with pytest.raises(BadImage, match="too many pixels: 16,320×12,240"):
            read_image(file)
    with pytest.raises(BadImage, match="too many pixels"):
        read_image(encode(Image.new("1", (16_320, 12_240)), "PNG"), 224)


def test_sources_may_be_paths_bytes_and_open_files(tmp_path):
    content = encode(random_image(74))
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
    rows = {core.path_text(path.relative_to(tmp_path / "bus")): why for name, path, why in list_files(tmp_path) if name == "bus"}
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
    with pytest.raises(VehicleError, match="no images"):
        class_folders(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(VehicleError, match="is not a folder"):
        class_folders(tmp_path / "file")
    one = make_raw(tmp_path / "one", ("bus",))
    with pytest.raises(VehicleError, match=r"only one class.*bus"):
        class_folders(one)
    make_raw(tmp_path / "split" / "train")
    make_raw(tmp_path / "split" / "test")
    assert list(class_folders(tmp_path / "split")) == ["bus", "car"]


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
        get_data(from_path=str(archive), output=str(tmp_path / "in" / "raw"), quiet=True)
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
    assert unpack(tmp_path / "a.tar", tmp_path / "tar", quiet=True) == 3
    assert list(tree(tmp_path / "tar")) == ["bus/out/planted.jpg"]

    link = zipfile.ZipInfo("bus/out")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    (tmp_path / "zip").mkdir()
    assert unpack(tmp_path / "a.zip", tmp_path / "zip", quiet=True) == 1
    assert not tree(tmp_path / "zip")


def test_an_archive_cannot_fill_the_disk(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bus/zeros.jpg", bytes(50_000_000))
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    write_tar(tmp_path / "bomb.tgz", {"bus/zeros.jpg": bytes(50_000_000)})
    for name in ("bomb.zip", "bomb.tgz"):
        with pytest.raises(VehicleError, match=r"more than 5.0 MB.*--max_gb"):
            get_data(from_path=str(tmp_path / name), output=str(tmp_path / "raw"), max_gb=0.005, quiet=True)
        assert not (tmp_path / "raw").exists() and not (tmp_path / ".raw.work").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_archives_of_all_kinds(tmp_path, mode):
    members = {f"set/{name}/{i}.jpg": encode(random_image(i)) for name in ("bus", "car") for i in range(2)}
    members |= {"set/bus/" + "ü" * 140 + ".jpg": b"name too long for any disk", "set/car/سيارة🚚.jpg": b"x"}
    archive = write_zip(tmp_path / "a", members) if mode == "zip" else write_tar(tmp_path / "a", members, mode)
    raw = get_data(from_path=str(archive), output=str(tmp_path / "raw"), quiet=True)
    assert list(class_folders(raw)) == ["bus", "car"] and len(list_images(raw)) == 6
    assert (raw / "bus" / "0.jpg").read_bytes() == encode(random_image(0))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_a_cut_off_archive_leaves_nothing(tmp_path, mode):
    noise = {f"{name}/{i}.jpg": np.random.default_rng(i).bytes(20_000) for name in ("bus", "car") for i in range(9)}
    whole = write_zip(tmp_path / "a", noise) if mode == "zip" else write_tar(tmp_path / "a", noise, mode)
    content = whole.read_bytes()
    for share in (0.03, 0.5, 0.97):
        (tmp_path / "cut").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(VehicleError, match="cut off"):
            get_data(from_path=str(tmp_path / "cut"), output=str(tmp_path / "raw"), quiet=True)
        assert not (tmp_path / "raw").exists()


def with_raw_names(path: Path, words: list[str], code: str, extra: bool = False) -> Path:
    "A ZIP archive with a folder for each word, in a code page that it does not tell; `extra`: but Info-ZIP's field does."
    plain = {word: "Z" * (len(word.encode(code)) - 1) + chr(ord("a") + n) for n, word in enumerate(words)}
    with zipfile.ZipFile(path, "w") as archive:
        for n, (word, stand_in) in enumerate(plain.items()):
            info = zipfile.ZipInfo(f"{stand_in}/1.jpg")
            if extra:
                true = f"{word}/1.jpg".encode()
                crc = zlib.crc32(word.encode(code) + b"/1.jpg")
                info.extra = struct.pack("<HHBL", 0x7075, 5 + len(true), 1, crc) + true
            archive.writestr(info, encode(random_image(n)))
    content = path.read_bytes()
    for word, stand_in in plain.items():
        content = content.replace(f"{stand_in}/".encode(), word.encode(code) + b"/")
    path.write_bytes(content)
    return path


NAMES = [
    ("gbk", "卡车 自行车"), ("gbk", "健康 患病"), ("gbk", "猫 狗"), ("big5", "卡車 自行車"),
    ("cp932", "トラック 自転車"), ("cp932", "りんご みかん"), ("cp949", "트럭 자전거"), ("cp949", "고양이 개"),
    ("cp866", "Грузовик Велосипед"), ("cp1251", "кошка собака"), ("cp850", "Müllwagen Straßenbahn"),
    ("cp1252", "Müllwagen Straßenbahn"), ("cp1252", "Straßenbahn bus"), ("cp850", "Vélo camion"),
    ("cp1252", "Vélo camion"), ("cp850", "Caminhão Ônibus"), ("cp1252", "Caminhão Ônibus"), ("cp850", "Fähre Zug"),
    ("cp1252", "Fähre Zug"), ("cp852", "Ciężarówka Łódź"), ("utf-8", "卡车 Müllwagen"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "words"), NAMES)
def test_names_in_a_code_page_that_nobody_tells(code, words, tmp_path):
    archive = with_raw_names(tmp_path / "a.zip", words.split(), code)
    raw = get_data(from_path=str(archive), output=str(tmp_path / "raw"), quiet=True)
    assert list(class_folders(raw)) == sorted(words.split())
    with tarfile.open(tmp_path / "a.tar", "w", encoding=code) as tar:
        for n, word in enumerate(words.split()):
            info = tarfile.TarInfo(f"{word}/1.jpg")
            info.size = len(encode(random_image(n)))
            tar.addfile(info, io.BytesIO(encode(random_image(n))))
    raw = get_data(from_path=str(tmp_path / "a.tar"), output=str(tmp_path / "tar"), quiet=True)
    assert list(class_folders(raw)) == sorted(words.split())


def test_names_that_are_told_are_not_guessed(tmp_path):
    words = ["Φορτηγό", "Ποδήλατο"]  # Greek is not among the guesses
    archive = with_raw_names(tmp_path / "a.zip", words, "cp737", extra=True)
    assert list(class_folders(get_data(from_path=str(archive), output=str(tmp_path / "raw"), quiet=True))) == sorted(words)
    guessed = with_raw_names(tmp_path / "b.zip", words, "cp737")
    raw = get_data(from_path=str(guessed), output=str(tmp_path / "other"), quiet=True)
    assert len(class_folders(raw)) == 2 and all(name.isprintable() for name in class_folders(raw))


@pytest.mark.parametrize("folders", [True, False])
def test_an_archive_from_windows_with_backslashes(folders, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        names = ["set\\", "set\\bus\\", "set\\car\\"] if folders else []
        for name in [*names, "set\\bus\\1.jpg", "set\\car\\1.jpg"]:
            info = zipfile.ZipInfo("X")
            info.filename, info.create_system = name, 0
            archive.writestr(info, b"" if name.endswith("\\") else b"x")
    (tmp_path / "out").mkdir()
    assert unpack(tmp_path / "a.zip", tmp_path / "out", quiet=True) == 0
    assert sorted(tree(tmp_path / "out")) == ["set/bus/1.jpg", "set/car/1.jpg"]


def test_links_within_an_archive_become_copies(tmp_path):
    links = [(tarfile.LNKTYPE, "van/1.jpg", "pool/1.jpg"), (tarfile.SYMTYPE, "van/2.jpg", "../pool/1.jpg")]
    links += [(tarfile.SYMTYPE, "tram/1.jpg", "../van/2.jpg"), (tarfile.SYMTYPE, "van/out.jpg", "../../1.jpg")]
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for kind, name, target in links[::-1]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        info = tarfile.TarInfo("pool/1.jpg")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"van"))
    (tmp_path / "1.jpg").write_bytes(b"secret")
    (tmp_path / "out").mkdir()
    assert unpack(tmp_path / "a.tar.gz", tmp_path / "out", quiet=True) == 1
    assert tree(tmp_path / "out") == dict.fromkeys(["pool/1.jpg", "van/1.jpg", "van/2.jpg", "tram/1.jpg"], b"van")
    with pytest.raises(VehicleError, match="more than"):  # copies count
        unpack(tmp_path / "a.tar.gz", (tmp_path / "small").mkdir() or tmp_path / "small", 8, quiet=True)


def test_nothing_is_overwritten_and_names_that_look_alike_are_told(tmp_path, capsys):
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("Bus/1.jpg", "bus/1.jpg", "bus/1.jpg", "Citroe\u0308n/1.jpg", "Citro\u00ebn/1.jpg", "van /1.jpg", "van/1.jpg"):
            archive.writestr(name, encode(random_image(len(archive.namelist()))))
        archive.writestr("wheels/bike/1.jpg", b"x")
        archive.writestr("wheels/moto/1.jpg", b"x")
    with pytest.raises(VehicleError, match=r"wheels holds folders \(bike, moto\).*--layout folders.*--layout innermost"):
        get_data(from_path=str(tmp_path / "a.zip"), output=str(tmp_path / "raw"))
    raw = get_data(from_path=str(tmp_path / "a.zip"), output=str(tmp_path / "raw"), layout="folders")
    contents = [path.read_bytes() for _, path in list_images(raw)]
    assert len(contents) == 9 and all(encode(random_image(n)) in contents for n in range(7))
    said = capsys.readouterr().out
    assert "'Bus', 'bus'; 'Citroe\u0308n', 'Citro\u00ebn'; 'van', 'van '" in said


def test_archives_that_cannot_be_read_say_what_they_are(tmp_path):
    deflated = bytearray(write_zip(tmp_path / "a.zip", {"bus/1.jpg": b"x", "car/1.jpg": b"y"}).read_bytes())
    whole = bytes(deflated)
    for mark, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        for found in re.finditer(re.escape(mark), whole):
            deflated[found.start() + at] = 9
    end = whole.index(b"PK\5\6")
    true_split = whole[:end] + b"PK\5\6\2\0\2\0" + whole[end + 8 :]  # it says that it lies on the third disk
    for name, content, words in (
        ("d64.zip", bytes(deflated), ("Deflate64", "7-Zip", "vehicle_data --from")),
        ("half.zip", whole[len(whole) // 2 :], ("half.z01", "are missing", "Join all parts")),
        ("true.zip", true_split, ("true.z01 to true.z02", "are missing")),
        ("half.z01", whole[: len(whole) // 2], ("one part of a split archive",)),
        ("set.zip.001", whole[: len(whole) // 2], ("one part of a split archive",)),
        ("cut.zip", whole[: len(whole) // 2], ("cut off", "Download it again")),
        ("page.zip", b"<!DOCTYPE html><html>Sign in", ("a web page", "signed in")),
        ("a.7z", b"7z\xbc\xaf" + bytes(99), ("a 7-Zip archive", "vehicle_data --from FOLDER")),
        ("words.zip", b"Dear diary", ("not a readable archive",)),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VehicleError) as error:
            get_data(from_path=str(tmp_path / name), output=str(tmp_path / "raw"), quiet=True)
        assert all(word in str(error.value) for word in (name, *words)), str(error.value)
    write_zip(tmp_path / "outer.zip", {"train.7z": b"7z\xbc\xaf", "sample.csv": b"id"})
    with pytest.raises(VehicleError, match=r"outer.zip: There are no images, only archives \(train.7z\)"):
        get_data(from_path=str(tmp_path / "outer.zip"), output=str(tmp_path / "raw"), quiet=True)
    write_zip(tmp_path / "both.zip", {"bus": b"x", "bus/1.jpg": b"x"})
    with pytest.raises(VehicleError, match="'bus' is both a file and a folder"):
        get_data(from_path=str(tmp_path / "both.zip"), output=str(tmp_path / "raw"), quiet=True)


@pytest.mark.parametrize("name", ["fire\ttruck", "fire\ntruck", "bus\r", "\x1b[31mbus", "bus\u2028"])
def test_a_class_name_that_would_break_a_table_is_refused(name, tmp_path):
    make_raw(tmp_path / "raw", ("car", name))
    for refuse in (class_folders, lambda path: get_data(from_path=str(path), output=str(tmp_path / "new"), quiet=True)):
        with pytest.raises(VehicleError) as error:
            refuse(tmp_path / "raw")
        assert repr(name) in str(error.value) and "Rename the folder" in str(error.value) and str(error.value).isprintable()


def test_odd_archives(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!" + bytes(1000))
    refused(command("--from", tmp_path / "a.rar", "--output", tmp_path / "raw"), "a RAR archive", "7-Zip")
    refused(command("--from", tmp_path / "none.zip", "--output", tmp_path / "raw"), "none.zip")
    write_zip(tmp_path / "flat.zip", {"1.jpg": b"x", "2.jpg": b"y"})
    refused(command("--from", tmp_path / "flat.zip", "--output", tmp_path / "raw"), "no class folders", "flat.zip")
    locked = bytearray(write_zip(tmp_path / "locked.zip", {"bus/1.jpg": b"x"}).read_bytes())
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    refused(command("--from", tmp_path / "locked.zip", "--output", tmp_path / "raw"), "encrypted")
    assert not (tmp_path / "raw").exists()


# -- the command


def test_a_folder_of_ones_own(tmp_path):
    source = make_raw(tmp_path / "mine")
    os.mkfifo(source / "bus" / "pipe")
    before = tree(source / "car")
    done = command("--from", source, "--output", tmp_path / "raw")
    assert done.returncode == 0 and "6 files in 2 classes" in done.stdout and "vehicle_preprocess" in done.stdout
    assert tree(tmp_path / "raw" / "car") == before == tree(source / "car")
    again = command("--from", source, "--output", tmp_path / "raw")
    assert again.returncode == 0 and "already" in again.stdout
    other = make_raw(tmp_path / "other", ("boat", "van"))
    refused(command("--from", other, "--output", tmp_path / "raw"), "--force")
    assert list(class_folders(tmp_path / "raw")) == ["bus", "car"]
    assert command("--from", other, "--output", tmp_path / "raw", "--force").returncode == 0
    assert list(class_folders(tmp_path / "raw")) == ["boat", "van"]


def test_the_demo_set(tmp_path):
    done = command("--demo", "--per_class", 2, "--output", tmp_path / "raw", "--quiet")
    assert done.returncode == 0, done.stderr
    assert len(class_folders(tmp_path / "raw")) == 20 and len(list_images(tmp_path / "raw")) == 40


def test_mistakes_of_the_command(tmp_path):
    refused(command(), "Choose one source")
    refused(command("--demo", "--kaggle"), "Choose one source")
    refused(command("--kaggle", "--handle", "https://kaggle.com/x", "--output", tmp_path / "raw"), "owner/name")
    (tmp_path / "file").write_text("")
    refused(command("--demo", "--output", tmp_path / "file" / "raw"), "Cannot write")
    refused(command("--demo", "--output", "."), "is the current folder")
    refused(command("--demo", "--max_gb", "nan", "--output", tmp_path / "raw"), "--max_gb")


@pytest.mark.parametrize("dest", ["mine", "mine/raw", "."], ids=["same", "inside", "around"])
def test_a_set_is_never_taken_from_where_it_goes(tmp_path, dest):
    source = make_raw(tmp_path / "mine")
    before = tree(source)
    with pytest.raises(VehicleError, match="must not contain each other"):
        get_data(from_path=str(source), output=str(tmp_path / dest), force=True, quiet=True)
    assert tree(source) == before


def test_killed_while_one_set_takes_the_place_of_another(tmp_path, monkeypatch):
    old, source = make_raw(tmp_path / "raw"), make_raw(tmp_path / "mine", ("boat", "van"))
    write_source_info(old, {"source": "kaggle"})
    before, work = tree(old), tmp_path / ".raw.work"
    work.mkdir()
    old.rename(work / "old")  # as kill -9 between the two renames leaves it
    with pytest.raises(VehicleError, match="--force"):
        get_data(from_path=str(source), output=str(old), quiet=True)
    assert tree(old) == before
    monkeypatch.setattr(data, "write_source_info", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        get_data(from_path=str(source), output=str(old), force=True, quiet=True)
    assert tree(old) == before


def test_without_network_there_is_a_way(tmp_path, monkeypatch):
    import kagglehub

    def no_network(handle):
        raise ConnectionError("HTTPSConnectionPool(host='api.kaggle.com', port=443): Max retries exceeded")

    monkeypatch.setattr(kagglehub, "dataset_download", no_network)
    with pytest.raises(VehicleError, match=r"no network.*browser.*--from.*--demo"):
        get_data(kaggle=True, output=str(tmp_path / "raw"), quiet=True)
    assert not (tmp_path / "raw").exists()


def test_a_kaggle_set_is_taken_from_the_cache(tmp_path, monkeypatch):
    import kagglehub

    cache, asked = make_raw(tmp_path / "cache" / "vehicle_data").parent, []
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: asked.append(handle) or str(cache))
    raw = get_data(kaggle=True, handle="someone/vehicles", output=str(tmp_path / "raw"), quiet=True)
    assert asked == ["someone/vehicles"] and list(class_folders(raw)) == ["bus", "car"]


def test_disk_full_leaves_the_old_set(tmp_path, monkeypatch):
    old = make_raw(tmp_path / "raw")
    write_source_info(old, {"source": "kaggle"})
    before, source = tree(old), make_raw(tmp_path / "mine", ("boat", "van"))

    def full(self, source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives.CopyMeter, "copy", full)
    with pytest.raises(VehicleError, match="disk is full"):
        get_data(from_path=str(source), output=str(old), force=True, quiet=True)
    assert tree(old) == before


def test_killed_while_unpacking(tmp_path):
    members = {f"{name}/{i}.jpg": np.random.default_rng(i).bytes(300) for name in ("bus", "car") for i in range(2000)}
    write_tar(tmp_path / "a.tgz", members)
    args = ["--from", tmp_path / "a.tgz", "--output", tmp_path / "raw"]
    process = forks.Forked("vehicle_nb.data.sources", *args)
    half = tmp_path / ".raw.work" / "unpacked" / "bus"
    while not (half.exists() and len(list(half.iterdir())) > 50):
        assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "raw").exists()  # no half set
    assert command(*args).returncode == 0
    assert len(list_images(tmp_path / "raw")) == 4000 and not (tmp_path / ".raw.work").exists()


# -- workers


def _square_or_die(number: int) -> int:
    if number in (77, 300):
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
    return number**2


def test_a_worker_that_dies_costs_one_file():
    got = dict(parallel_map(_square_or_die, range(1000), 2, quiet=True, on_crash=lambda number: "lost"))
    assert got.pop(77) == got.pop(300) == "lost"
    assert got == {n: n**2 for n in range(1000) if n not in (77, 300)}
    with pytest.raises(VehicleError, match="77"):
        dict(parallel_map(_square_or_die, range(60, 100), 2, quiet=True))


def test_workers_share_the_memory_for_decoding(monkeypatch):
    monkeypatch.setattr(pool, "_budget", (threading.Lock(), threading.Semaphore(pool.MEMORY_UNITS)))
    held, most, rng = [0], [0], np.random.default_rng(0)

    def decode(needed: int):
        for _ in range(20):
            with pool.reserve_memory(needed):
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
    assert 2**28 < most[0] <= pool.MEMORY_UNIT * pool.MEMORY_UNITS
    bomb = Image.new("RGB", (1, 1))
    bomb.format, bomb.info = "JPEG", {"progressive": 1}
    assert images._decoding_bytes(bomb, (13_000, 13_000)) > 10**9
    bomb.info = {}
    assert images._decoding_bytes(bomb, (13_000, 13_000)) < 100


def _fail(number: int):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_in_a_worker_comes_back():
    with pytest.raises(OSError, match="No space"):
        dict(parallel_map(_fail, range(100), 2, quiet=True))


SLEEPERS = """
import os, sys, time
from vehicle_nb.parallel import parallel_map
def slow(i):
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
    time.sleep(30)
for _ in parallel_map(slow, range(64), 2, quiet=True): pass
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
