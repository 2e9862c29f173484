"""Where people keep data: mounted disks, links, read-only inputs, clouds; and whatever lies there that is not ours, which stays."""

import errno
import json
import multiprocessing.synchronize
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile import encode, random_image
from tiny import tiny_bundle, tiny_processed

from vehicle_nb.demo import make as demo
from vehicle_nb.evaluation import evaluate as evaluation
from vehicle_nb.data import dataset as loading
from vehicle_nb import files as places, parallel as pool
from vehicle_nb.core import VehicleError
from vehicle_nb.files import atomic_dir, atomic_write, file_lock, read_source_info, recover, swap_dir, work_dir
from vehicle_nb.data.sources import class_folders, get_data, list_files
from vehicle_nb.data.explore import explore
from vehicle_nb.data.dataset import PackedDataset, class_changes
from vehicle_nb.parallel import parallel_map
from vehicle_nb.data.preprocess import preprocess
from vehicle_nb.serving.hub import export_bundle


def tree(path: Path) -> dict[str, bytes]:
    "All files under `path` with their bytes, but for locks."
    files = (file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.endswith(".lock"))
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def make_raw(path: Path, classes=("bus", "car"), count: int = 8) -> Path:
    "A small raw folder of good pictures, all different; nobody has left a note in it."
    for name in classes:
        (path / name).mkdir(parents=True)
        for i in range(count):
            (path / name / f"{i}.jpg").write_bytes(encode(random_image(100 * sum(map(ord, name)) + i, (80, 64))))
    return path


def take(source: Path, dest: Path, **options) -> Path:
    "`vehicle_data --from SOURCE --output DEST`."
    return get_data(from_path=str(source), output=str(dest), quiet=True, **options)


def ready(raw: Path, dest: Path, **options) -> Path:
    "`vehicle_preprocess RAW --output DEST`, small and in this process."
    return preprocess(raw, dest, size=32, workers=1, quiet=True, **options)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return make_raw(tmp_path_factory.mktemp("photos") / "mine")


@pytest.fixture
def mounted(tmp_path):
    "A function that mounts a small disk at a folder; skips where that is not allowed."
    done = []

    def mount(*args: str, at: Path) -> Path:
        at.mkdir(parents=True, exist_ok=True)
        try:
            made = subprocess.run(["mount", *args, str(at)], capture_output=True).returncode == 0
        except OSError:
            made = False
        if not made:
            pytest.skip("needs the right to mount a file system")
        done.append(at)
        return at

    yield mount
    for at in reversed(done):
        subprocess.run(["umount", "-l", str(at)], check=True)


@pytest.fixture
def no_rename(monkeypatch):
    "A function that makes a folder behave as a mount point does: it cannot be renamed, nor anything onto it."
    real = os.replace

    def forbid(folder: Path, number: int, seen: bool) -> Path:
        def replace(source, target, **kwargs):
            if str(folder) in (str(source), str(target)):
                raise OSError(number, os.strerror(number))
            inside = [str(folder) in map(str, Path(path).parents) for path in (source, target)]
            if inside[0] != inside[1]:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            real(source, target, **kwargs)

        monkeypatch.setattr(os, "replace", replace)
        if seen:
            monkeypatch.setattr(places, "_is_mount", lambda path: path == folder)
        return folder

    return forbid


# --- what is not ours stays ----------------------------------------------------------------------------------------------


def refused(call, *words: str, place: Path):
    "It ends in one sentence with these words, and nothing below `place` has changed."
    before = tree(place)
    with pytest.raises(VehicleError) as error:
        call()
    assert all(word in str(error.value) for word in words), str(error.value)
    assert tree(place) == before


def test_a_folder_with_a_config_is_not_a_processed_set(photos, tmp_path):
    run = tiny_bundle(tmp_path / "run")
    refused(lambda: ready(photos, run), "model.safetensors", "Nothing was changed", place=tmp_path)
    web = tmp_path / "web"
    web.mkdir()
    (web / "config.json").write_text('{"name": "my-page"}')
    (web / "thesis.docx").write_text("three years of work")
    refused(lambda: ready(photos, web), "thesis.docx", place=tmp_path)


def test_a_processed_set_is_replaced_and_what_lies_beside_it_is_not(photos, tmp_path):
    dest = ready(photos, tmp_path / "processed")
    PackedDataset(dest, "train", quiet=True)  # the packed pixels are ours
    assert json.loads((ready(photos, dest, seed=7) / "config.json").read_text())["seed"] == 7
    for name in ("train/bus/mine.jpg", "notes.txt", ".git/HEAD", "test/extra/a.jpg"):
        (dest / name).parent.mkdir(exist_ok=True)
        (dest / name).write_text("precious")
        refused(lambda: ready(photos, dest), name, place=tmp_path)
        (dest / name).unlink()
    (dest / "train" / "bus" / "link").symlink_to(photos)
    refused(lambda: ready(photos, dest), "train/bus/link", place=photos)
    (dest / "train" / "bus" / "link").unlink()
    (dest / "Thumbs.db").touch()  # a file manager was here, which is nobody's work
    ready(photos, dest)
    assert not (dest / "Thumbs.db").exists()


def test_force_replaces_a_set_of_ours_and_nothing_else(photos, tmp_path):
    other = make_raw(tmp_path / "other", ("boat", "van"))
    raw = take(photos, tmp_path / "raw")
    refused(lambda: take(other, raw), "--force", place=tmp_path)
    take(other, raw, force=True)
    assert list(class_folders(raw)) == ["boat", "van"] and tree(raw).keys() >= tree(other).keys()
    (raw / "boat" / "0.jpg").rename(raw / "van" / "sorted by hand.jpg")
    refused(lambda: take(photos, raw, force=True), "van/sorted by hand.jpg", place=tmp_path)
    hand_made = make_raw(tmp_path / "hand_made")  # no note: somebody has put it there
    refused(lambda: take(other, hand_made, force=True), "bus/0.jpg", "13 more", place=tmp_path)
    (tmp_path / "file").write_text("precious")
    refused(lambda: take(other, tmp_path / "file", force=True), "is a file", place=tmp_path)


def test_force_deletes_no_folder_that_somebody_stands_or_lives_in(photos, tmp_path, monkeypatch):
    take(photos, tmp_path / "project" / "raw")
    monkeypatch.chdir(tmp_path / "project" / "raw" / "bus")
    for dest in (".", "..", "../..", str(tmp_path)):
        refused(lambda dest=dest: take(photos, Path(dest), force=True), "the current folder", place=tmp_path)
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", str(tmp_path / "project" / "raw"))
    for dest in (tmp_path / "project" / "raw", tmp_path / "project"):
        refused(lambda dest=dest: take(photos, dest, force=True), "your home", place=tmp_path)
        refused(lambda dest=dest: ready(photos, dest), "your home", place=tmp_path)


def test_a_disk_mounted_inside_a_set_is_not_emptied(photos, tmp_path, mounted):
    raw = take(photos, tmp_path / "raw")
    (mounted("-t", "tmpfs", "none", at=raw / "bus" / "card") / "holiday.jpg").write_text("precious")
    refused(lambda: take(photos, raw, force=True), "bus/card", place=tmp_path)


def test_the_demo_set_is_drawn_over_a_demo_set_alone(photos, tmp_path):
    mine = shutil.copytree(photos, tmp_path / "mine")
    draw = {"size": 32, "workers": 1, "quiet": True, "classes": ["bus"]}
    refused(lambda: demo.make_demo(mine, 1, **draw), "bus/0.jpg", place=tmp_path)
    for number in (3, 1):
        demo.make_demo(tmp_path / "set", number, **draw)
    assert [path.name for path in (tmp_path / "set" / "bus").iterdir()] == ["bus_0000.jpg"]


def test_an_exploration_writes_over_no_page_but_its_own(photos, tmp_path):
    for name in ("index.html", "files.csv"):
        web = tmp_path / name.split(".")[0]
        web.mkdir()
        (web / name).write_text("<h1>my thesis</h1>")
        refused(lambda web=web: explore(str(photos), str(web), workers=1, quiet=True), name, place=web)
    for _ in range(2):
        page = explore(str(photos), str(tmp_path / "audit"), workers=1, quiet=True)
    assert "made by vehicle_explore" in page.read_text()
    report = tmp_path / "report"
    report.mkdir()
    (report / "index.html").write_text(page.read_text().replace("made by vehicle_explore", "made by vehicle_evaluate"))
    refused(lambda: explore(str(photos), str(report), workers=1, quiet=True), "index.html", place=report)


def test_an_evaluation_replaces_no_page_but_its_own(tmp_path, monkeypatch):
    bundle, web = tiny_bundle(tmp_path / "run"), tmp_path / "web"
    web.mkdir()
    (web / "index.html").write_text("<h1>my thesis</h1>")
    with monkeypatch.context() as patch:  # it says so at once, not after all the work
        patch.setattr(evaluation, "collect", lambda *_, **__: pytest.fail("it has begun to work"))
        refused(lambda: evaluation.evaluate(bundle, tmp_path / "set", output=web), "index.html", place=web)
    processed = tiny_processed(tmp_path / "processed")
    for _ in range(2):
        report = evaluation.evaluate(bundle, processed, quiet=True)
    assert "made by vehicle_evaluate" in (report["path"] / "index.html").read_text()
    (report["path"] / "notes.txt").write_text("precious")
    refused(lambda: evaluation.evaluate(bundle, processed, quiet=True), "notes.txt", place=report["path"])


def test_an_export_replaces_no_zip_but_its_own(tmp_path, monkeypatch):
    bundle = tiny_bundle(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("run.zip", "w") as holiday:
        holiday.writestr("beach.jpg", b"precious")
    refused(lambda: export_bundle(bundle), "run.zip", place=tmp_path)
    Path("run.zip").unlink()
    for _ in range(2):
        file = export_bundle(bundle)
    with zipfile.ZipFile(file) as packed:
        assert packed.comment == b"made by vehicle_export" and packed.testzip() is None


def test_an_onnx_file_of_somebody_else_is_kept(tmp_path):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    bundle = tiny_bundle(tmp_path / "run")
    (bundle / "model.onnx").write_bytes(b"my own network")
    refused(lambda: export_bundle(bundle, tmp_path / "a.zip", onnx=True), "model.onnx", place=tmp_path)
    (bundle / "model.onnx").unlink()
    for _ in range(2):
        export_bundle(bundle, tmp_path / "a.zip", onnx=True)
        (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes() + b"spoilt")  # ours still, to be written again


# --- mounted disks, and links to them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bind", [False, True], ids=["disk", "folder of the same disk"])
def test_on_a_mounted_disk(photos, tmp_path, mounted, bind):
    args = ["-t", "tmpfs", "-o", "size=50m", "none"]
    for name in ("raw", "processed", "report"):
        (tmp_path / f"big_{name}").mkdir()
        mounted(*(["--bind", str(tmp_path / f"big_{name}")] if bind else args), at=tmp_path / "data" / name)
    raw, processed = tmp_path / "data" / "raw", tmp_path / "data" / "processed"
    (raw / "lost+found").mkdir()  # as a fresh disk has it
    take(photos, raw)
    assert list(class_folders(raw)) == ["bus", "car"] and len(list_files(raw)) == 16 and (raw / "lost+found").is_dir()
    wanted = tree(ready(raw, tmp_path / "calm"))
    assert tree(ready(raw, processed)) == wanted
    assert tree(ready(raw, processed, seed=7)) == tree(ready(raw, tmp_path / "calm", seed=7)) != wanted
    take(make_raw(tmp_path / "other", ("boat", "van")), raw, force=True)
    assert list(class_folders(raw)) == ["boat", "van"]
    for number in (3, 1):
        demo.make_demo(tmp_path / "data" / "report", number, size=32, workers=1, classes=["bus"], quiet=True)
    assert sorted(tree(tmp_path / "data" / "report")) == [".source.json", "bus/bus_0000.jpg"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["processed", "raw", "report"]


@pytest.mark.parametrize("seen", [True, False], ids=["seen before", "noticed when it is renamed"])
@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
def test_where_a_folder_cannot_be_renamed(photos, tmp_path, no_rename, number, seen):
    calm = [tree(ready(photos, tmp_path / "calm", seed=seed)) for seed in (1, 2)]
    dest = tmp_path / "processed"
    dest.mkdir()
    no_rename(dest, number, seen)
    for seed, wanted in zip((1, 2), calm, strict=True):
        assert tree(ready(photos, dest, seed=seed)) == wanted
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".") and path.name.endswith(".work")) == []


def _two_sets(tmp_path: Path, inside: bool) -> tuple[Path, Path, list[dict]]:
    "A folder with an old set, and the work folder with the new one; what each looks like."
    dest = tmp_path / "set"
    shutil.rmtree(dest, ignore_errors=True)
    dest.mkdir(parents=True)
    work = dest / ".work" if inside else tmp_path / ".set.work"
    shutil.rmtree(work, ignore_errors=True)
    sets = []
    for place, version, names in ((dest, "old", ("bus", "car", "config.json")), (work / "new", "new", ("bus", "van", "config.json"))):
        for name in names:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("json"):
                (place / name).write_text(version)
            else:
                (place / name).mkdir()
                (place / name / "1.jpg").write_text(version)
        sets.append(tree(place) if place != dest else {k: v for k, v in tree(place).items() if not k.startswith(".work")})
    return dest, work, sets


@pytest.mark.parametrize("copied", [False, True], ids=["renamed", "copied"])
@pytest.mark.parametrize("inside", [True, False])
def test_killed_at_any_moment_one_of_the_two_sets_is_there(tmp_path, monkeypatch, inside, copied):
    real, real_remove, outcomes = (os.replace, places._remove, [])
    for step in range(40):
        dest, work, (old, new) = _two_sets(tmp_path, inside)
        left = iter(range(step))

        def tick(left=left):
            if next(left, None) is None:
                raise SystemExit("power cut")  # and all that would mend it is cut off, too

        def replace(source, target, tick=tick):
            tick()
            crossing = Path(source).parent.name != Path(target).parent.name
            if copied and crossing and Path(source).is_dir():  # as an overlay of a container refuses it
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            real(source, target)

        def remove(path, tick=tick):
            tick()
            if path.is_dir():
                next(path.iterdir()).unlink()  # half of it, if it is killed now
            tick()
            real_remove(path)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            patch.setattr(places, "_remove", remove)
            try:
                swap_dir(work, dest)
                ended = True
            except SystemExit:
                ended = False
            if not ended and inside and (work / "old").exists():
                assert not (dest / "config.json").exists() or tree_of(dest) in (old, new)  # nobody takes a mixture for a set
        recover(dest)
        outcomes.append(tree_of(dest) == new)
        assert tree_of(dest) in (old, new), (step, tree_of(dest))
        if ended:
            break
    assert outcomes[0] is False and outcomes[-1] is True and outcomes == sorted(outcomes)


def tree_of(dest: Path) -> dict[str, bytes]:
    "The set alone, without a work folder inside."
    return {name: content for name, content in tree(dest).items() if not name.startswith(".")}


def test_a_half_replaced_raw_folder_is_not_read(photos, tmp_path, monkeypatch):
    raw = take(photos, tmp_path / "raw")
    monkeypatch.setattr(places, "_is_mount", lambda path: path == raw)
    (raw / ".work" / "old").mkdir(parents=True)
    (raw / "car").rename(raw / ".work" / "old" / "car")
    with pytest.raises(VehicleError, match="vehicle_data command again"):
        ready(raw, tmp_path / "processed")
    take(photos, raw)
    assert list(class_folders(raw)) == ["bus", "car"] and not (raw / ".work").exists()


def test_a_link_to_another_disk_stays_a_link(photos, tmp_path):
    (tmp_path / "big" / "raw").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    for name in ("raw", "processed"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "big" / name)  # "processed" is not there yet
    raw, processed = take(photos, tmp_path / "data" / "raw"), tmp_path / "data" / "processed"
    for seed in (1, 2):
        ready(raw, processed, seed=seed)
    assert raw.is_symlink() and processed.is_symlink()
    assert list(class_folders(tmp_path / "big" / "raw")) == ["bus", "car"]
    assert json.loads((tmp_path / "big" / "processed" / "config.json").read_text())["seed"] == 2
    with atomic_write(tmp_path / "big" / "file", "w") as file:
        file.write("1")
    (tmp_path / "data" / "file").symlink_to(tmp_path / "big" / "file")
    with atomic_write(tmp_path / "data" / "file", "w") as file:
        file.write("2")
    assert (tmp_path / "data" / "file").is_symlink() and (tmp_path / "big" / "file").read_text() == "2"
    (tmp_path / "data" / "lost").symlink_to(tmp_path / "unplugged" / "raw")
    for call in (lambda: take(photos, tmp_path / "data" / "lost"), lambda: ready(photos, tmp_path / "data" / "lost")):
        with pytest.raises(VehicleError, match=r"unplugged.*which does not exist"):
            call()
    assert not (tmp_path / "unplugged").exists()


# --- read-only sets ------------------------------------------------------------------------------------------------------


def test_a_set_on_a_read_only_disk(tmp_path, monkeypatch, mounted):
    tiny_processed(tmp_path / "set")
    mounted("--bind", str(tmp_path / "set"), at=tmp_path / "ro")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path / "ro")], check=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packed = PackedDataset(tmp_path / "ro", "train", quiet=True)
    assert packed.path.is_relative_to(tmp_path / "cache" / "vehicle_nb")
    np.testing.assert_array_equal(packed.images, PackedDataset(tmp_path / "set", "train", quiet=True).images)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_set_that_takes_no_files(tmp_path, monkeypatch, capsys, number):
    processed, real = tiny_processed(tmp_path / f"set{number}"), tempfile_of(loading)
    wanted = np.array(PackedDataset(shutil.copytree(processed, tmp_path / "copy"), "val", quiet=True).images)

    def mkstemp(*args, dir, **kwargs):
        if Path(dir).is_relative_to(processed) or (not home and Path(dir).is_relative_to(tmp_path / "cache")):
            raise OSError(number, os.strerror(number))
        return real(*args, dir=dir, **kwargs)

    monkeypatch.setattr(loading.tempfile, "mkstemp", mkstemp)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(loading.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    for home in (False, True):
        packed = PackedDataset(processed, "val")
        np.testing.assert_array_equal(packed.images, wanted)
        assert packed.path.is_relative_to(tmp_path / ("cache" if home else "tmp"))
        assert f"its packed pixels are in {packed.path.parent}" in capsys.readouterr().err
        shutil.rmtree(tmp_path / "tmp", ignore_errors=True)
    assert PackedDataset(processed, "val").path == packed.path and not capsys.readouterr().err  # found again, without a word


def tempfile_of(module):
    return module.tempfile.mkstemp


def test_a_full_disk_is_no_reason_to_fill_another(tmp_path, monkeypatch):
    processed = tiny_processed(tmp_path / "set")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(loading, "_write_pixels", full)
    with pytest.raises(VehicleError, match="free some space there"):
        PackedDataset(processed, "train", quiet=True)
    assert not (tmp_path / "cache").exists()


def test_packed_pixels_that_were_cut_off(tmp_path):
    processed = tiny_processed(tmp_path / "set")
    packed = PackedDataset(processed, "train", quiet=True)
    wanted, size = np.array(packed.images), packed.path.stat().st_size
    for kept in (0, 60, 128, size // 2, size - 1, size + 1):
        os.truncate(packed.path, kept)
        np.testing.assert_array_equal(PackedDataset(processed, "train", quiet=True).images, wanted)
    code = (
        "import os, sys\nfrom vehicle_nb.data.dataset import PackedDataset\n"
        f"packed = PackedDataset({str(processed)!r}, 'train', quiet=True)\npacked.__getitems__([0])\nos.truncate(packed.path, 5000)\n"
        "packed[18] if sys.argv[1:] else packed.__getitems__([18])"
    )
    for more in ([], ["one"]):  # it would die of SIGBUS
        ended = subprocess.run([sys.executable, "-c", code, *more], capture_output=True, text=True)
        assert ended.returncode == 1 and "was cut off while it was in use" in ended.stderr.splitlines()[-1]


# --- disks without locks, permissions, shared memory ---------------------------------------------------------------------


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def no_locks(request, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(file, operation):
        if operation & (fcntl.LOCK_EX | fcntl.LOCK_SH):
            raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)
    return request.param


def test_a_disk_without_locks(photos, tmp_path, no_locks, recwarn):
    raw = take(photos, tmp_path / "raw")
    explore(str(raw), str(tmp_path / "audit"), workers=1, quiet=True)
    processed = ready(raw, tmp_path / "processed")
    assert len(PackedDataset(processed, "train", quiet=True).images) == len(PackedDataset(processed, "train").files)
    with file_lock(raw), pytest.raises(VehicleError, match=r"Another process is writing.*delete .*\.raw\.lock-held"):
        take(photos, raw, force=True)
    take(photos, raw, force=True)
    assert not [str(warning.message) for warning in recwarn if "flock" in str(warning.message)]
    assert not list(tmp_path.glob(".*held*"))


def test_a_lock_of_a_dead_process_blocks_nobody(tmp_path, no_locks):
    code = (
        "import errno, fcntl, os\n"
        f"def flock(file, operation): raise OSError({no_locks}, 'no locks')\n"
        "fcntl.flock = flock\nfrom vehicle_nb.files import file_lock\n"
        f"with file_lock({str(tmp_path / 'set')!r}): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code])
    assert (tmp_path / ".set.lock-held").exists()
    with file_lock(tmp_path / "set"):
        pass
    assert not (tmp_path / ".set.lock-held").exists()


def test_a_disk_without_permissions(photos, tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    bundle = tiny_bundle(tmp_path / "run")
    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(os, "link", refuse)
    raw = take(photos, tmp_path / "raw")
    assert "made by" in explore(str(raw), str(tmp_path / "audit"), workers=1, quiet=True).read_text()
    processed = ready(raw, tmp_path / "processed")
    assert len(PackedDataset(processed, "train", quiet=True)) + 2 * len(PackedDataset(processed, "val", quiet=True)) == 16
    assert zipfile.ZipFile(export_bundle(bundle, tmp_path / "run.zip")).testzip() is None
    with atomic_dir(tmp_path / "set") as folder:
        (folder / "a").write_text("1")
    assert tree(tmp_path / "set") == {"a": b"1"}


def test_no_shared_memory(photos, tmp_path, monkeypatch, capsys):
    def missing(self, *args, **kwargs):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")  # as sem_open says without /dev/shm

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", missing)
    assert not pool.supports_semaphores()
    assert dict(parallel_map(abs, range(-10, 0), 2, quiet=True)) == {n: -n for n in range(-10, 0)}
    assert capsys.readouterr().err.count("/dev/shm") == 1
    raw = demo.make_demo(tmp_path / "raw", 4, size=32, workers=2, classes=["bus", "kayak"], quiet=True)
    assert len(list(preprocess(raw, tmp_path / "processed", size=32, workers=2, quiet=True).rglob("*.jpg"))) == 8


# --- a class that came later ---------------------------------------------------------------------------------------------


def test_a_class_that_came_later_is_noticed(photos, tmp_path, monkeypatch):
    from vehicle_nb.train import find_data

    monkeypatch.chdir(tmp_path)
    raw = take(photos, Path("data/raw"))
    processed, said = ready(raw, Path("data/processed")), []
    find_data(str(processed), str(raw), said.append)
    assert said == []
    make_raw(raw.parent / "more", ("tram",))
    (raw.parent / "more" / "tram").rename(raw / "tram")
    find_data(str(processed), str(raw), said.append)
    assert said == [
        "data/raw now has tram, unlike data/processed, which was made from it earlier. "
        "To train on the folders as they are now, run first: vehicle_preprocess"
    ]
    assert class_changes(processed, make_raw(tmp_path / "unlike", ("boat", "car"))) == ""  # the set was made from other pictures
    ready(raw, processed)
    shutil.rmtree(raw / "car")
    assert "no longer has car" in class_changes(processed, raw)
    assert json.loads((processed / "config.json").read_text())["classes"] == ["bus", "car", "tram"]


def test_a_note_that_cannot_be_read_is_none(tmp_path):
    for text in (b"", b"[]", b'{"files": 3}', b"\xff"):
        (tmp_path / ".source.json").write_bytes(text)
        assert read_source_info(tmp_path)[1] <= {".source.json"}
    assert work_dir(tmp_path / "set") == tmp_path / ".set.work"
