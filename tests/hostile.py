"""Files as the web, cameras, file managers and enemies make them; each comes with what must become of it."""

import functools
import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

USED = ""  # the file must be used; anything else is the beginning of the reason why it is set aside


def random_image(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    "A smooth image unlike that of any other seed: no two are near duplicates."
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def encode(img: Image.Image, kind: str = "JPEG", **options) -> bytes:
    "The bytes of an image file."
    file = io.BytesIO()
    img.save(file, kind, **options)
    return file.getvalue()


def heic(img: Image.Image, turned: bool = False) -> bytes:
    "A photo as iPhones write it; `turned`: the camera was held upright, which stands in the EXIF."
    exif = Image.Exif()
    if turned:
        img, exif[0x0112] = img.transpose(Image.Transpose.ROTATE_90), 6
    file = io.BytesIO()
    pillow_heif.from_pillow(img).save(file, quality=90, exif=exif.tobytes())
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    "One chunk of a PNG file."
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_bomb(side: int = 50_000) -> bytes:
    "A true PNG of `side`×`side` black pixels: 300 kB that want gigabytes."
    row, pack = bytes(1 + (side + 7) // 8), zlib.compressobj(1)
    data = b"".join(pack.compress(row) for _ in range(side)) + pack.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    "A small PNG whose comment unpacks to 100 MB."
    data = encode(random_image(900), "PNG")
    end = data.index(b"IDAT") - 4
    return data[:end] + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 1)) + data[end:]


def giant_jpeg() -> bytes:
    "A JPEG that says it has 65,000×65,000 pixels."
    data = bytearray(encode(random_image(901)))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", 65_000, 65_000)
    return bytes(data)


def ycck_jpeg(img: Image.Image) -> bytes:
    "A JPEG of four channels Y, Cb, Cr, K, as Photoshop writes for printers; Pillow itself cannot write one."
    inverse = Image.eval(img, lambda value: 255 - value).convert("YCbCr")
    bands = [Image.eval(band, lambda value: 255 - value) for band in inverse.split()]  # Pillow inverts when it saves
    data = encode(Image.merge("CMYK", [*bands, Image.new("L", img.size, 0)]), quality=95, subsampling=0)
    marker = data.index(b"Adobe") + 11  # the transform byte: 0 is CMYK, 2 is YCCK
    return data[:marker] + b"\x02" + data[marker + 1 :]


def sixteen_bit(seed: int) -> bytes:
    "A grey PNG of 16 bits a pixel."
    grey = np.asarray(random_image(seed).convert("L")).astype(np.uint16) * 257
    return encode(Image.fromarray(grey), "PNG")


def deep_png(values: np.ndarray, *more: bytes) -> bytes:
    "A PNG of 16 bits a channel (H×W, or H×W×2, 3 or 4); `more` are chunks between its head and its pixels."
    kind = {2: 0, 3: {2: 4, 3: 2, 4: 6}.get(values.shape[-1])}[values.ndim]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def plain_tiff(values: np.ndarray, tags: dict[int, int] | None = None, packed: bool = False) -> bytes:
    "A TIFF of any whole or floating-point numbers (H×W or H×W×3), in their own byte order; `packed`: by zlib."
    big = values.dtype.byteorder == ">"
    order, depth = ">" if big else "<", values.shape[2] if values.ndim == 3 else 1
    data = zlib.compress(values.tobytes()) if packed else values.tobytes()
    bits, sign = 8 * values.dtype.itemsize, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    fields = {256: values.shape[1], 257: values.shape[0], 258: bits, 259: 8 if packed else 1, 262: 2 if depth == 3 else 1}
    fields |= {273: 200, 277: depth, 278: values.shape[0], 279: len(data), 284: 1, 339: sign} | (tags or {})
    out = struct.pack(order + "2sHIH", b"MM" if big else b"II", 42, 8, len(fields))
    for tag, value in sorted(fields.items()):
        if tag in (258, 339) and depth == 3:  # three values do not fit into the field: they lie behind the list
            out += struct.pack(order + "HHII", tag, 3, 3, 180 if tag == 258 else 190)
        else:
            out += struct.pack(order + "HHII", tag, 4, 1, value)
    return out.ljust(180, b"\0") + struct.pack(order + "3HHH3H", *[bits] * 3, 0, 0, *[sign] * 3).ljust(20, b"\0") + data


def with_transparency(seed: int) -> bytes:
    "A PNG whose left half is transparent, with garbage colours below."
    img = random_image(seed).convert("RGBA")
    img.paste((255, 0, 255, 0), (0, 0, 80, 120))
    return encode(img, "PNG")


def oriented(img: Image.Image, orientation: int) -> bytes:
    "A JPEG that shows `img` upright, taken by a camera held in one of eight ways."
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    if orientation in stored:
        img = img.transpose(stored[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(img, quality=95, subsampling=0, exif=exif)


@functools.cache
def byte_files() -> dict[str, tuple[bytes, str]]:
    "Name: (bytes, what must become of the file)."
    animation = [random_image(seed) for seed in (40, 41, 42)]
    jpeg, progressive = encode(random_image(1)), encode(random_image(2), progressive=True)
    html = b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head></html>"
    files = {
        "zero bytes.jpg": (b"", "empty file"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "cut off"),
        "cut-progressive.jpg": (progressive[: len(progressive) // 2], "cut off"),
        "cut-filled.jpg": (jpeg[: len(jpeg) // 2].ljust(len(jpeg), b"\0"), "cut off"),
        "header-only.jpg": (jpeg[:40], "cut off"),
        "no-end.jpg": (encode(random_image(44))[:-2], USED),
        "last-bytes-missing.jpg": (encode(random_image(45))[:-60], USED),
        "last-bytes-missing-progressive.jpg": (encode(random_image(46), progressive=True)[:-60], USED),
        "cut.png": (encode(random_image(3), "PNG")[:4000], "cut off"),
        "cut.webp": (encode(random_image(4), "WEBP")[:900], "cut off"),
        "cut.gif": (encode(random_image(5).convert("P"), "GIF")[:3000], "cut off"),
        "page.jpg": (html, "not an image: an HTML page"),
        "page2.png": (b"\n\n  <HTML><body>not found</body></HTML>", "not an image: an HTML page"),
        "words.png": (b"There is no image here.\n", "not an image: a text file"),
        "drawing.jpg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "not an image: an SVG"),
        "manual.jpg": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "not an image: a PDF"),
        "program.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not an image"),
        "movie.jpg": (b"\0\0\0\x18ftypisom" + bytes(100), "not an image: a video"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "not an image: a Git LFS"),
        "noise.jpg": (np.random.default_rng(0).bytes(5000), "not an image: an unknown format"),
        "starts-well.jpg": (b"\xff\xd8\xff\xe0" + bytes(500), "damaged"),
        "broken.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "damaged: starts like HEIC"),
        "phone.heic": (heic(random_image(47)), USED),
        "cut.heic": (heic(random_image(48))[:-30], "cut off"),
        "new.jxl": (b"\xff\x0a" + bytes(200), "JPEG XL image"),
        "scan.dcm": (bytes(128) + b"DICM" + bytes(200), "not an image: a DICOM"),
        "drawing.psd": (b"8BPS\0\1" + bytes(200), "not an image: a Photoshop"),
        "bomb.png": (png_bomb(), "too many pixels"),
        "giant.jpg": (giant_jpeg(), "too many pixels"),
        "comment-bomb.png": (text_bomb(), "damaged"),
        "one-pixel.gif": (encode(Image.new("L", (1, 1)), "GIF"), "too small"),
        "strip.png": (encode(random_image(6, (1, 5000)), "PNG"), "too small"),
        "long.png": (encode(random_image(7, (20, 5000)), "PNG"), "too thin"),
        "no suffix": (encode(random_image(10)), USED),
        "really a png.jpg": (encode(random_image(11), "PNG"), USED),
        "really a jpeg.txt": (encode(random_image(12)), USED),
        "cmyk.jpg": (encode(random_image(13).convert("CMYK")), USED),
        "ycck.jpg": (ycck_jpeg(random_image(14)), USED),
        "sixteen bit.png": (sixteen_bit(15), USED),
        "palette.png": (encode(random_image(16).convert("P"), "PNG"), USED),
        "palette-transparent.png": (encode(random_image(17).convert("P"), "PNG", transparency=3), USED),
        "transparent.png": (with_transparency(18), USED),
        "grey.jpg": (encode(random_image(19).convert("L")), USED),
        "one bit.png": (encode(random_image(20).convert("1"), "PNG"), USED),
        "animated.gif": (encode(animation[0], "GIF", save_all=True, append_images=animation[1:]), USED),
        "animated.webp": (encode(random_image(43), "WEBP", save_all=True, append_images=animation[1:]), USED),
        "scan.tif": (encode(random_image(21), "TIFF"), USED),
        "bitmap.bmp": (encode(random_image(22), "BMP"), USED),
        "progressive.jpg": (encode(random_image(23), progressive=True), USED),
        "بِسيارة.jpg": (encode(random_image(30)), USED),
        "🚚🚌.jpg": (encode(random_image(31)), USED),
        "two\nlines.jpg": (encode(random_image(32)), USED),
        'quote",comma;.jpg': (encode(random_image(33)), USED),
        "=formula().jpg": (encode(random_image(34)), USED),
        "-rf.jpg": (encode(random_image(35)), USED),
        "é" * 125 + "x.jpg": (encode(random_image(36)), USED),  # 255 bytes
        "deep/er/nested.jpg": (encode(random_image(37)), USED),
        ".hidden.jpg": (encode(random_image(38)), "hidden file"),
        "._resource.jpg": (b"\0\5\x16\7", "hidden file"),
        ".DS_Store": (b"\0\0\0\1Bud1", "hidden file"),
        "Thumbs.db": (b"\xd0\xcf\x11\xe0", "a file manager's own file"),
        "damaged-exif.jpg": (encode(random_image(39), exif=b"Exif\0\0garbage garbage"), USED),
    }
    if "AVIF" in Image.registered_extensions().values():
        files["new.avif"] = (encode(random_image(24), "AVIF"), USED)
        files["cut.avif"] = (encode(random_image(25), "AVIF")[:800], "cut off")
    for orientation in range(1, 9):
        files[f"held-{orientation}.jpg"] = (oriented(random_image(50 + orientation), orientation), USED)
    return files


def make_hostile(folder: Path) -> dict[str, str]:
    "Fill `folder` with hostile files; returns `{name: what must become of it}`."
    expected = {}
    for name, (data, outcome) in byte_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        expected[name] = outcome
    name = os.fsdecode(b"latin1-\xe9.jpg")  # a name that is no UTF-8
    (folder / name).write_bytes(encode(random_image(60)))
    expected["latin1-\\xe9.jpg"] = USED
    (folder / "huge.jpg").write_bytes(b"\xff\xd8\xff")
    os.truncate(folder / "huge.jpg", 2**38)  # 256 GB that occupy no disk
    (folder / "locked.jpg").write_bytes(encode(random_image(61)))
    (folder / "locked.jpg").chmod(0)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "endless.jpg").symlink_to("/dev/zero")
    (folder / "nowhere.jpg").symlink_to("no/such/file")
    (folder / "loop-a.jpg").symlink_to("loop-b.jpg")
    (folder / "loop-b.jpg").symlink_to("loop-a.jpg")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "up").symlink_to("..", target_is_directory=True)
    (folder / "a folder.jpg").mkdir()  # empty, and named like an image
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # the path of a socket must be short
        server.bind("socket.jpg")
        os.chdir(here)
    expected |= {
        "huge.jpg": "too large",
        "locked.jpg": USED if os.access(folder / "locked.jpg", os.R_OK) else "no permission",
        "pipe.jpg": "not a regular file",
        "endless.jpg": "not a regular file",
        "socket.jpg": "not a regular file",
        "nowhere.jpg": "a broken link",
        "loop-a.jpg": "a broken link",
        "loop-b.jpg": "a broken link",
        "loop": "a link to a folder",
        "up": "a link to a folder",
    }
    return expected
