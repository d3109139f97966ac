"""Artifacts: weights by their hash, kept with the run, and nothing that could run code."""

from __future__ import annotations

import copy
import gc
import io
import json
import os
import pickle
import random
import signal
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from invdesign.artifacts import (
    Artifact,
    Shelf,
    contents,
    find_artifacts,
    label_artifact,
    layouts,
    models,
    read_arrays,
    read_tensors,
    write_model,
)
from invdesign.artifacts.layouts import pack_tensors
from invdesign.errors import ArtifactError
from invdesign.report.text import shorten_setting
from invdesign.settings import STORED_FOLDER, Settings, load
from tests.plugins.weights import MODELS, SHIPPED, Weighted, write_linear
from tests.support import ROOT

TENSORS = {
    "halves": np.arange(6, dtype=np.float16).reshape(2, 3).T,
    "scalar": np.array(2.5),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 4), dtype=np.int64),
}
WEIGHTED = "tests.plugins.weights:Weighted"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with two weights."""
    return write_linear(tmp_path / "model", [0.5, 2.0])


def saved_npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


# Reading and writing.


def test_a_model_comes_back(tmp_path: Path) -> None:
    """Every tensor with its type, shape and values, also one that does not lie in the order of C; and the card."""
    write_model(tmp_path / "m", TENSORS, {"kind": "toy", "sizes": [1, 2]}, "# Toy\n")
    artifact = Artifact.read(tmp_path / "m")
    found = artifact.tensors()
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[name], tensor, strict=True)
    assert (artifact.name, artifact.card) == ("m", {"kind": "toy", "sizes": [1, 2]})
    assert artifact.size == (tmp_path / "m" / "model.safetensors").stat().st_size
    assert (tmp_path / "m" / "card.md").read_text() == "# Toy\n"
    with pytest.raises(ArtifactError, match="'m' is safetensors, expected npz"):
        artifact.arrays()


def test_arrays_come_back(tmp_path: Path) -> None:
    """An npz file, with texts and an array by columns."""
    words, table = np.array(["Li", "Cl"]), np.asfortranarray(np.arange(6.0).reshape(2, 3))
    nothing = np.zeros((0, 4), dtype=np.int8)
    path = saved_npz(tmp_path / "library.npz", words=words, table=table, nothing=nothing)
    artifact = Artifact.read(path)
    found = artifact.arrays()
    np.testing.assert_array_equal(found["nothing"], nothing, strict=True)
    np.testing.assert_array_equal(found["words"], words, strict=True)
    np.testing.assert_array_equal(found["table"], table, strict=True)
    assert artifact.card == {}


def test_equal_tensors_have_equal_hashes(tmp_path: Path) -> None:
    """Writing is deterministic: a model that is made again has the same hash."""
    first = write_model(tmp_path / "a", TENSORS, {}, "")
    again = write_model(tmp_path / "b", dict(reversed(TENSORS.items())), {}, "")
    assert first.sha256 == again.sha256


def test_only_numbers_are_written(tmp_path: Path) -> None:
    """Objects and texts have no place in safetensors, and a configuration is small plain JSON."""
    with pytest.raises(ArtifactError, match=r"'words' has the type <U2; numbers are written"):
        write_model(tmp_path / "m", {"words": np.array(["Li"])}, {}, "")
    with pytest.raises(ArtifactError, match="no plain JSON"):
        write_model(tmp_path / "m", {}, {"rate": float("nan")}, "")
    with pytest.raises(ArtifactError, match="at most 200000 are stored"):
        write_model(tmp_path / "m", {}, {"text": "x" * 300_000}, "")
    assert not (tmp_path / "m").exists()


def test_settings_hold_the_hash_alone(model: Path) -> None:
    """The JSON of a plug-in is small, gives the same plug-in, and its fingerprint changes with the weights."""
    plugin = Weighted(weights=Artifact.read(model))
    dump = plugin.model_dump_json()
    assert len(dump) < 500
    assert load("evaluators", json.loads(dump), folder=STORED_FOLDER, trust_code=True) == plugin
    other = Weighted(weights=Artifact.read(write_linear(model, [0.5, 2.5])))
    assert other.fingerprint != plugin.fingerprint
    assert hash(other.weights) != hash(plugin.weights)


def test_contents_are_freed_with_their_artifacts(tmp_path: Path) -> None:
    """Copies and the JSON of an artifact find what is in memory; with the last of them it goes."""
    artifact = Artifact.read(write_linear(tmp_path / "m", [3.0, 5.0]))
    sha256, dump = artifact.sha256, artifact.model_dump_json()
    copies = [
        copy.deepcopy(artifact),
        artifact.model_copy(),
        Artifact.model_validate_json(dump),
        pickle.loads(pickle.dumps(artifact)),
    ]
    del artifact
    assert all(item.tensors()["weights"][1] == 5.0 for item in copies)
    copies.clear()
    gc.collect()
    assert contents.find_in_use(sha256) is None
    with pytest.raises(ArtifactError, match="the content of the artifact 'm' was not found"):
        Artifact.model_validate_json(dump).content()


def test_artifacts_are_found_in_settings(model: Path, tmp_path: Path) -> None:
    """Wherever they stand in the JSON, one per content; what only looks like one is none."""
    one, two = Artifact.read(model), Artifact.read(saved_npz(tmp_path / "x.npz", a=np.ones(2)))
    dump = [
        {"a": [one.model_dump(mode="json")]},
        {"b": {"c": (two.model_dump(mode="json"),)}},
        {"d": one.model_dump()},
    ]
    assert find_artifacts(dump) == (one, two)
    assert find_artifacts({**one.model_dump(), "sha256": "no hash"}) == ()
    assert find_artifacts({"kind": "parameters", "x": [1, None, "text"]}) == ()


# Shipped models.


def test_a_shipped_model_by_its_name(tmp_path: Path) -> None:
    """The default, and the same by name; a path names a folder of one's own."""
    assert Weighted().weights == Artifact.read(SHIPPED)
    named = load("evaluators", {"kind": WEIGHTED, "weights": "default"}, folder=tmp_path, trust_code=True)
    assert named == Weighted()
    write_linear(tmp_path / "default", [7.0, 7.0])
    own = load("evaluators", {"kind": WEIGHTED, "weights": "./default"}, folder=tmp_path, trust_code=True)
    assert own.weights.tensors()["weights"][0] == 7.0


def test_a_shipped_model_is_found_by_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings from a store hold no name of a file, and need none."""
    dump = Weighted().weights.model_dump_json()
    monkeypatch.setattr(contents, "find_in_use", lambda sha256: None)
    stored = Artifact.model_validate_json(dump)
    stored._content = None
    assert stored.tensors()["weights"][1] == -0.25


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("defalt", r"'defalt' is neither a shipped model \(default\) nor a file .* Did you mean 'default'\?"),
        ("models/none", "there is no such file"),
        ("a\0b", "is no path"),
    ],
)
def test_a_model_that_is_not_there(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=message):
        load("evaluators", {"kind": WEIGHTED, "weights": name}, folder=tmp_path, trust_code=True)


@pytest.mark.parametrize("value", [3, None, ["model"], {"path": "model"}])
def test_what_names_no_artifact(value: Any, tmp_path: Path) -> None:
    """A campaign is told what is expected."""
    with pytest.raises(ValidationError, match=r"expected the path of a model folder, or of a .* file, got"):
        load("evaluators", {"kind": WEIGHTED, "weights": value}, folder=tmp_path, trust_code=True)


def test_people_read_name_and_hash() -> None:
    """In `validate` and reports a setting that is an artifact is one word and the start of its hash."""
    dump = Weighted().model_dump(mode="json")
    label = f"default (SHA-256 {dump['weights']['sha256'][:12]})"
    assert label_artifact(dump["weights"]) == label
    assert shorten_setting(dump["weights"]) == label
    assert label_artifact({**dump["weights"], "more": 1}) == label_artifact({"name": "x"}) == ""


def test_a_store_names_no_file(model: Path) -> None:
    """Neither by a path nor by the name of a shipped model."""
    for name in (str(model), "default"):
        with pytest.raises(ValidationError, match="settings in a store may not name a file"):
            load("evaluators", {"kind": WEIGHTED, "weights": name}, folder=STORED_FOLDER, trust_code=True)


def test_a_shelf_without_models() -> None:
    with pytest.raises(ArtifactError, match="tests ships no model 'default'; there are: "):
        Shelf("tests", "nowhere").default()
    assert MODELS.names() == ("default",)


# Pickles.


class Bomb:
    """Something that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (13,)


@pytest.mark.parametrize(
    "name", ["weights.pt", "model.PTH", "optimizer.pkl", "last.ckpt", "pytorch_model.bin"]
)
def test_a_pickle_by_its_name(name: str, model: Path) -> None:
    """Beside the weights or alone, whatever is in it."""
    (model / name).write_bytes(b"harmless")
    with pytest.raises(
        ValidationError, match=rf"model: {name} is a pickle by its name: .*Or take {name} out"
    ):
        Artifact.read(model)
    with pytest.raises(ValidationError, match=f"{name} is a pickle by its name"):
        Artifact.read(model / name)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_by_its_content(protocol: int, model: Path) -> None:
    """In a file of any name, that of the weights included."""
    for name in ("notes.txt", "model.safetensors"):
        (model / name).write_bytes(pickle.dumps(Bomb(), protocol))
        with pytest.raises(ValidationError, match=f"{name} begins as a pickle"):
            Artifact.read(model)
    with pytest.raises(ValidationError, match=r"model.safetensors begins as a pickle"):
        Artifact.read(model / "model.safetensors")


def test_an_archive_around_a_pickle(model: Path) -> None:
    """Files of torch under another name."""
    with zipfile.ZipFile(model / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    with pytest.raises(ValidationError, match="is an archive, as torch writes around a pickle"):
        Artifact.read(model)
    renamed = (model / "model.safetensors").rename(model.parent / "x.npz")
    with pytest.raises(ValidationError, match=r"no npz file: it holds 'archive/data\.pkl'"):
        Artifact.read(renamed)


def test_an_array_of_objects(tmp_path: Path) -> None:
    """Numpy would read it by pickle."""
    path = saved_npz(tmp_path / "x.npz", a=np.array([Bomb()], dtype=object))
    with pytest.raises(ValidationError, match="holds Python objects as a pickle"):
        Artifact.read(path)


def test_pipes_are_not_waited_for(model: Path) -> None:
    """A pipe in the folder, or in the place of the weights."""
    os.mkfifo(model / "pipe")
    with pytest.raises(ValidationError, match="pipe is a pipe or a device"):
        Artifact.read(model)


# Damage.


def test_a_hash_that_does_not_match(model: Path) -> None:
    """Weights of another model: both hashes are named."""
    other = write_linear(model.parent / "other", [9.0, 9.0])
    expected = Artifact.read(model).sha256
    (other / "model.safetensors").replace(model / "model.safetensors")
    found = contents.hash_bytes((model / "model.safetensors").read_bytes())
    with pytest.raises(ValidationError, match=f"does not match its card: .*{expected}, the file has {found}"):
        Artifact.read(model)


def config_with(model: Path, **changes: Any) -> None:
    config = json.loads((model / "config.json").read_text()) | changes
    (model / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format": 2, "made_by": "9.9"},
            r"has the format 2, and invdesign \S+ reads 1 \(made by 9\.9\): use the version",
        ),
        ({"format": None}, "has the format None"),
        ({"sha256": "1234"}, "expected the SHA-256 hash of model.safetensors under 'sha256', got 1234"),
    ],
)
def test_a_configuration_of_another_version(changes: dict[str, Any], message: str, model: Path) -> None:
    config_with(model, **changes)
    with pytest.raises(ValidationError, match=message):
        Artifact.read(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "holds weights of version 2 of linear, and version 1 is read: update invdesign"),
        ({"version": 0}, "version 0 of linear, and version 1 is read: train the model again"),
        (
            {"kind": "quadratic"},
            "is a model of the kind 'quadratic'; expected is a model folder of the kind 'linear'",
        ),
    ],
)
def test_weights_of_another_version(changes: dict[str, Any], message: str, model: Path) -> None:
    """A plug-in says which kind and version it reads; the campaign is refused, not the first evaluation."""
    config_with(model, **changes)
    with pytest.raises(ValidationError, match=message):
        load("evaluators", {"kind": WEIGHTED, "weights": str(model)}, trust_code=True)


def test_a_file_without_a_card(model: Path) -> None:
    """Single weights say nothing about their kind."""
    with pytest.raises(ValidationError, match=r"'model\.safetensors' is no model with a card"):
        load("evaluators", {"kind": WEIGHTED, "weights": str(model / "model.safetensors")}, trust_code=True)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "[1, 2]", "expected a mapping"),
        ("config.json", "{", "config.json is no JSON"),
        ("config.json", '{"a": ' * 90 + "1" + "}" * 90, "nested more than"),
        ("config.json", '{"a": NaN}', "not a finite number"),
        ("config.json", " " * 300_000, "too large"),
        ("config.json", None, "holds no config.json"),
        ("model.safetensors", None, "holds no model.safetensors"),
        ("model.safetensors", "", "does not match its card"),
    ],
)
def test_a_damaged_folder(name: str, text: str | None, message: str, model: Path) -> None:
    (model / name).unlink()
    if text is not None:
        (model / name).write_text(text)
    with pytest.raises(ValidationError, match=message):
        Artifact.read(model)


def test_a_truncated_file(tmp_path: Path) -> None:
    """Cut at any place, or with something behind it: never other numbers, and never a stack trace."""
    whole = pack_tensors(TENSORS)
    path = tmp_path / "w.safetensors"
    for length in (0, 4, 8, 60, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValidationError, match=r"cut short|no safetensors file"):
            Artifact.read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValidationError, match="damaged: it holds"):
        Artifact.read(path)
    archive = saved_npz(tmp_path / "x.npz", a=np.arange(1000))
    packed = archive.read_bytes()
    for length in (0, 30, len(packed) // 2, len(packed) - 1):
        archive.write_bytes(packed[:length])
        with pytest.raises(ValidationError, match="cut short or damaged"):
            Artifact.read(archive)


def with_header(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack("<Q", 2**63) + b"{}", "claims a header of 9223372036854775808"),
        (with_header(b"\xff\xfe"), "its header is no JSON"),
        (with_header([]), "no table"),
        (with_header({"a": 3}), "no table"),
        (with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, "4"]}}), "no table"),
        (
            with_header({"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}, b"1234"),
            "damaged",
        ),
        (with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"), "damaged"),
        (
            with_header({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
            "the type BF16",
        ),
        (with_header({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, b"1234"), "the type"),
        (with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 4]}}, b"1234"), "damaged"),
    ],
)
def test_hostile_headers(data: bytes, message: str) -> None:
    """Refused before anything of that size is made."""
    with pytest.raises(ArtifactError, match=message):
        read_tensors(data)


def npz_with(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return stream.getvalue()


def npy_header(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_a_zip_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says how large it is, one that lies about it, and an array that claims more than there is."""
    monkeypatch.setattr(layouts, "MAX_UNPACKED_BYTES", 100_000)
    bomb = npz_with("a.npy", npy_header((200_000,), "|u1") + bytes(200_000))
    assert len(bomb) < 2_000
    with pytest.raises(ArtifactError, match=r"unpacks to 0\.2001\d+ MB in 1 arrays; at most 0\.1 MB"):
        read_arrays(bomb)
    size = struct.pack("<L", 200_000 + len(npy_header((200_000,), "|u1")))
    with pytest.raises(ArtifactError, match=r"damaged|describes"):
        read_arrays(bomb.replace(size, struct.pack("<L", 500)))
    with pytest.raises(ArtifactError, match="holds 8 bytes, and its header describes 8000000000000000000"):
        read_arrays(npz_with("a.npy", npy_header((10**18,)) + bytes(8)))
    with pytest.raises(ArtifactError, match="is no array that is read"):
        read_arrays(npz_with("a.npy", b"text"))


@pytest.mark.parametrize("part", ["tensors", "archive", "array"])
def test_flipped_bits(part: str) -> None:
    """Damage at any place is refused in words, or changes a number that no checksum covers; nothing else happens."""
    draw = random.Random(4)
    array = npy_header((3, 2)) + np.arange(6.0).tobytes()
    whole = {"tensors": pack_tensors(TENSORS), "archive": npz_with("a.npy", array), "array": array}[part]
    refused = 0
    for _ in range(800):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            data[draw.randrange(len(data))] = draw.choice([0, 255, ord("("), ord("9"), draw.randrange(256)])
        try:
            if part == "tensors":
                read_tensors(bytes(data))
            else:
                read_arrays(npz_with("a.npy", bytes(data)) if part == "array" else bytes(data))
        except ArtifactError:
            refused += 1
    assert refused > 300


# Interruptions.


def test_writing_that_fails_keeps_the_old_model(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full at any of the files: the old model or the new one, never a mixture."""
    before = Artifact.read(model)
    after = Artifact.read(write_linear(model.parent / "copy", [4.0, 4.0]))
    original, seen = models._write_file, []
    for allowed in range(3):
        count = iter(range(10))

        def write(path: Path, data: bytes, allowed: int = allowed, count: Any = count) -> None:
            if next(count) >= allowed:
                raise OSError(28, "No space left on device")
            original(path, data)

        monkeypatch.setattr(models, "_write_file", write)
        with pytest.raises(
            ArtifactError, match=r"No space left on device. A model that was there before is whole"
        ):
            write_linear(model, [4.0, 4.0])
        seen.append(Artifact.read(model).sha256)
    assert seen == [before.sha256, before.sha256, after.sha256]


def test_writing_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL before each file operation, again and again: what is read is one of the two models, and whole."""
    folder = tmp_path / "model"
    known = {write_linear(tmp_path / str(n), [float(n), 1.0]).name: n for n in range(2)}
    hashes = {Artifact.read(tmp_path / name).sha256 for name in known}
    write_linear(folder, [0.0, 1.0])
    died = 0
    for attempt in range(40):
        child = os.fork()
        if child == 0:
            _die_before(attempt % 16)
            write_linear(folder, [float(attempt % 2), 1.0])
            os._exit(0)
        died += os.waitpid(child, 0)[1] == signal.SIGKILL
        assert Artifact.read(folder).sha256 in hashes
    assert died > 10
    write_linear(folder, [1.0, 1.0])
    assert Artifact.read(folder).tensors()["weights"][0] == 1.0
    assert not (folder / models.NEXT_WEIGHTS).exists()


def _die_before(operations: int) -> None:
    """Kill this process before the file operation of that number."""
    left = [operations]
    for name in ("open", "fsync", "replace", "unlink", "rename"):
        original = getattr(os, name)

        def counted(*args: Any, _original: Any = original, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return _original(*args, **options)

        setattr(os, name, counted)


def test_reading_loads_no_torch() -> None:
    """Weights are read without it."""
    from tests.test_imports import HEAVY, loaded

    code = f"""
from invdesign.artifacts import Artifact
Artifact.read({str(SHIPPED)!r}).tensors()
"""
    assert loaded(code) & HEAVY == set()
    assert (ROOT / "tests/data/models/default").is_dir()


def test_artifacts_are_fields_of_any_settings() -> None:
    """A plug-in in another one keeps its artifact, too."""

    class Outer(Settings):
        inner: tuple[Artifact, ...]

    made = Outer(inner=(Weighted().weights,))
    assert find_artifacts(made.model_dump(mode="json")["inner"]) == (Weighted().weights,)


def test_a_header_whose_length_looks_like_a_pickle(tmp_path: Path) -> None:
    """A safetensors file with a header of 640 bytes begins with the bytes of a pickle, and is none."""
    for pad in range(200):
        write_model(
            tmp_path / "m", {"x" * (1 + pad): np.zeros(3)}, {"kind": "k", "version": 1}, "# A model\n"
        )
        first = (tmp_path / "m" / "model.safetensors").read_bytes()[:9]
        assert Artifact.read(tmp_path / "m").tensors()
        if first[0] == 0x80:
            return
    data = bytearray((tmp_path / "m" / "model.safetensors").read_bytes())
    size = int.from_bytes(data[:8], "little")
    grown = (0x280).to_bytes(8, "little") + bytes(data[8 : 8 + size]).ljust(0x280) + bytes(data[8 + size :])
    (tmp_path / "grown.safetensors").write_bytes(grown)
    assert grown[:2] == b"\x80\x02"
    assert Artifact.read(tmp_path / "grown.safetensors").tensors()
