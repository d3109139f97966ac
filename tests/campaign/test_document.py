"""YAML 1.2 in, plain JSON types with lines out; nothing can run code, explode, or change its meaning silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.campaign.document import MAX_BYTES, MAX_DEPTH, parse_yaml, path_text, read_document
from invdesign.candidate import to_json
from invdesign.errors import CampaignError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("No", "No"),
        ("yes", "yes"),
        ("on", "on"),
        ("True", True),
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("+3", 3),
        ("-7", -7),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("2001-01-01", "2001-01-01"),
        ("12:30:45", "12:30:45"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("~", None),
        ("", None),
    ],
)
def test_scalars_mean_what_they_say(text: str, value: object) -> None:
    """Nobelium stays an element and a date stays text, while 1e-3 is the number every scientist writes."""
    found = parse_yaml(f"a: {text}\nb: [{text or '~'}]\n").value
    assert isinstance(found, dict)
    assert found["a"] == value
    assert type(found["a"]) is type(value)
    assert found["b"] == [value]


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(
            st.characters(
                codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029\ufeff\x85"
            ),
            max_size=8,
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text("abcde", min_size=1, max_size=3), inner, max_size=3),
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abcde", min_size=1, max_size=3), JSON, min_size=1, max_size=4))
def test_json_is_read_as_it_is(value: dict[str, Any]) -> None:
    """YAML is a superset of JSON: what a program writes as JSON comes back unchanged."""
    assert to_json(parse_yaml(to_json(value)).value) == to_json(value)


def test_every_place_has_its_line() -> None:
    """Keys, values and list items know their lines; what is missing belongs to what is around it."""
    document = parse_yaml("a:\n  b: 1\n  c:\n    - x\n    - {d: 2,\n       e: 3}\n")
    places = {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c", 1): 5,
        ("a", "c", 1, "e"): 6,
        ("a", "c", 1, "missing"): 5,
        ("z",): 1,
    }
    assert {place: document.line(place) for place in places} == places


def test_places_as_text() -> None:
    """A path reads as a person would point at it."""
    assert path_text(("evaluate", 3, "relax")) == "evaluate[3].relax"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r":1: \(top level\): the file is empty\. Make one with: invdesign init"),
        ("# nothing but a comment\n", "the file is empty"),
        ("a: *x\n", r":1: .*the alias \*x is not allowed: write the value out"),
        ("a: &x [1]\nb: [*x, *x]\n", r"2 mistakes\n.*:2: .*alias \*x(.|\n)*:2: .*alias \*x"),
        ("a: 1\nb: 2\na: 3\n", r":3: a: the key is given twice, first in line 1"),
        ("a:\n  b: 1\n  b: 1\n", r":3: a\.b: the key is given twice, first in line 2"),
        ("a: .nan\nb: [1, .inf]\n", r":1: a: \.nan is not a finite number\n.*:2: b\[1\]: \.inf is not"),
        ("a: 1e999", "1e999 is not a finite number"),
        ("a: " + "9" * 5000, r"a: 9{37}\.\.\. is not a finite number"),
        ("a: [1\nb: 2", r":2: .*not valid YAML: while parsing a flow sequence expected ',' or '\]'"),
        ("a:\n\tb: 1", r":2: .*not valid YAML: .*'\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2\n", r":2: .*not valid YAML: .*another document"),
        ("a: \x00", "not valid YAML: unacceptable character #x0000"),
        ("? [a]\n: 1\n", ":1: .*a key must be a word"),
        ("%YAML 1.1\n---\na: No\n", r"YAML 1\.1 is not read, only 1\.2 is: take the %YAML line out"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    """Each has its line, what is wrong and what to do; the file's name stands before all of it."""
    with pytest.raises(CampaignError, match=message) as caught:
        parse_yaml(text, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_depth_is_limited(depth: int) -> None:
    """Nesting deeper than any campaign is refused while it is read, before anything of it is built."""
    with pytest.raises(CampaignError, match="nested more than 32 levels deep"):
        parse_yaml("a: " + "[" * depth + "]" * depth)
    assert parse_yaml("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))


def test_tags_run_nothing(tmp_path: Path) -> None:
    """Python's tags and any others are refused, on scalars, lists and mappings alike; nothing is executed."""
    made = tmp_path / "made"
    text = (
        f"a: !!python/object/apply:os.mkdir ['{made}']\n"
        f"b: !!python/object/new:os.mkdir {{args: ['{made}']}}\n"
        f"c: !!python/name:os.mkdir ''\n"
        "d: !!set {x}\n"
        "e: !mine 3\n"
        "f: !!binary aGk=\n"
    )
    with pytest.raises(CampaignError, match="6 mistakes") as caught:
        parse_yaml(text)
    assert [mistake.path for mistake in caught.value.mistakes] == ["a", "b", "c", "d", "e", "f"]
    assert all("is not allowed" in mistake.message for mistake in caught.value.mistakes)
    assert not made.exists()


def test_aliases_do_not_multiply() -> None:
    """A billion laughs is refused as soon as its first alias is seen."""
    rows = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))
    with pytest.raises(CampaignError, match=r"the alias \*a0 is not allowed"):
        parse_yaml(f"a0: &a0 [lol]\n{rows}\n")


def test_unreadable_files(tmp_path: Path) -> None:
    """Too large, not UTF-8, a folder, missing: one line each, and the neighbours of a missing file are named."""
    (tmp_path / "large.yaml").write_text("#" * (MAX_BYTES + 1))
    (tmp_path / "latin.yaml").write_bytes("name: Überladung\n".encode("latin-1"))
    (tmp_path / "folder.yaml").mkdir()
    for name, message in {
        "large.yaml": "large.yaml is too large: 1.000001 MB, at most 1 MB are read",
        "latin.yaml": "latin.yaml is no UTF-8 text at line 1; save it as UTF-8",
        "folder.yaml": "folder.yaml is a folder; name a file in it",
        "lrage.yaml": r"there is no such file\. In .*: folder.yaml, large.yaml, latin.yaml\.",
        "nowhere/x.yaml": "there is no such file. Make one with: invdesign init",
    }.items():
        with pytest.raises(CampaignError, match=message):
            read_document(tmp_path / name)


def test_byte_order_mark(tmp_path: Path) -> None:
    """Editors on Windows begin files with one; it is not part of the first key."""
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\r\nseed: 1\r\n")
    assert read_document(path).value == {"name": "x", "seed": 1}
