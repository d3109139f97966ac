"""Settings of space groups by names, numbers, Hall symbols and codes in use."""

from __future__ import annotations

import re

import gemmi
import numpy as np

from invdesign.structures.reading.cif_symmetry import Setting, SymmetryError, have_same_operations


def find_settings(
    name: str | None, number: int | None, hall: str | None, code: str | None
) -> list[list[Setting]]:
    """Find the possible settings of a space group.

    They are grouped, the likeliest group first.

    Args:
        name: Hermann-Mauguin symbol, as ICSD, COD or programs write it.
        number: number in the International Tables.
        hall: Hall symbol.
        code: code of the coordinate system, such as `2` or `h`.

    Raises:
        SymmetryError: they are unknown, or contradict each other.
    """
    by_hall, hall_number = _find_by_hall(hall) if hall else (None, None)
    if by_hall is not None and name is None and number in {None, hall_number}:
        return [[by_hall]]
    if name is None and number is None:
        return []
    tiers = _find_by_name(name, code) if name is not None else _find_by_number(number, code)
    numbers = {entry.number for tier in tiers for entry in tier}
    if number is not None and number not in numbers:
        raise SymmetryError(
            f"the space group {name!r} is number {min(numbers)} of the International Tables, "
            f"the file says {number}; correct one of them"
        )
    if by_hall is None:
        return [[_make_setting(entry) for entry in tier] for tier in tiers]
    named = [entry for tier in tiers for entry in tier]
    if not any(have_same_operations(by_hall, _make_setting(entry)) for entry in named):
        raise SymmetryError(
            f"the Hall symbol {hall!r} is not of the space group "
            f"{name if name is not None else number}; correct one of them"
        )
    return [[by_hall]]


def _find_by_hall(hall: str) -> tuple[Setting, int | None]:
    """Find the setting and number of a Hall symbol.

    The number is None where the tables lack the setting.
    """
    if not is_hall(hall):
        raise SymmetryError(f"the Hall symbol {hall[:40]!r} is not known")
    group = gemmi.symops_from_hall(hall)
    entry = gemmi.find_spacegroup_by_ops(group)
    if entry is not None:
        return _make_setting(entry), int(entry.number)
    return _from_group(f"Hall symbol {hall}", group), None


def is_hall(hall: str) -> bool:
    """True if the text `hall` is a Hall symbol."""
    if len(hall) > 40:
        return False
    try:
        return len(gemmi.symops_from_hall(hall)) > 0
    except (RuntimeError, ValueError):
        return False


def _make_setting(entry: gemmi.SpaceGroup) -> Setting:
    return _from_group(describe_entry(entry), entry.operations())


def _from_group(name: str, group: gemmi.GroupOps) -> Setting:
    operations = list(group)
    rotations = np.array([operation.rot for operation in operations], dtype=np.int64) // gemmi.Op.DEN
    translations = np.array([operation.tran for operation in operations], dtype=float) / gemmi.Op.DEN % 1.0
    return Setting(name, rotations, translations)


def describe_entry(entry: gemmi.SpaceGroup) -> str:
    """Name a table's `entry` with origin or axes."""
    words = {
        "1": ", origin choice 1",
        "2": ", origin choice 2",
        "H": ", hexagonal axes",
        "R": ", rhombohedral axes",
    }
    return entry.hm + words.get(entry.ext, "")


Entries = list[gemmi.SpaceGroup]


def _find_by_number(number: int | None, code: str | None) -> list[Entries]:
    entries = [entry for entry in gemmi.spacegroup_table() if entry.number == number]
    if not entries:
        raise SymmetryError(
            f"there is no space group number {number}; the International Tables have 1 to 230"
        )
    usual = next((entry for entry in entries if entry.is_reference_setting()), entries[0])
    return _choose_settings([[entry for entry in entries if entry.hm == usual.hm]], code, str(number))


def _find_by_name(name: str, code: str | None) -> list[Entries]:
    base, suffix = _split_suffix(name)
    for key, extension in _list_spellings(base, suffix):
        tiers = [tier for keys in _key_tables() if (tier := keys.get(key))]
        if tiers:
            return _choose_settings(tiers, extension or code, name)
    entry = gemmi.find_spacegroup_by_name(base) if len(base) < 60 else None
    if entry is None:
        raise SymmetryError(f"the space group {name[:60]!r} is not known")
    same = [other for other in gemmi.spacegroup_table() if other.hm == entry.hm]
    return _choose_settings([same], suffix or code, name)


_WORDS = (
    (re.compile(r"[\[(,;]?\s*origin\s*(?:choice|at)?\s*([12])\s*[\])]?", re.IGNORECASE), r":\1"),
    (re.compile(r"[\[(,;]?\s*hex(?:agonal)?\.?\s*(?:axes|setting)\s*[\])]?", re.IGNORECASE), ":h"),
    (re.compile(r"[\[(,;]?\s*rhomb(?:ohedral)?\.?\s*(?:axes|setting)\s*[\])]?", re.IGNORECASE), ":r"),
    (re.compile(r"\(\s*(?:no\.?|#|nr\.?)?\s*\d{2,3}\s*\)", re.IGNORECASE), ""),
    (re.compile(r"\(?\s*(?:no\.|#|nr\.)\s*\d{1,3}\s*\)?", re.IGNORECASE), ""),
    (re.compile("([1346])\\s*[\u0304\u0305\u0306]|(?:\\\\bar|\\\\overline)\\{?([1346])\\}?"), r"-\1\2"),
    (re.compile(r"(?<=[2346])\(([1-5])\)|(?<=[2346])_\{?([1-5])\}?"), r"\1\2"),
)
_SYMBOL = re.compile(r"-[1346](?:/[a-dmne])?|[2346][1-5]?(?:/[a-dmne])?|1|[a-dmne]")


def _split_suffix(name: str) -> tuple[str, str]:
    """Split a name into its symbol and its setting.

    The symbol is in lower case without blanks, and the setting follows a colon.
    """
    text = name.strip()[:100]
    for pattern, replacement in _WORDS:
        text = pattern.sub(replacement, text)
    text = text.replace("_", " ").replace("−", "-").replace("–", "-").replace("$", "")
    text = " ".join(_shorten_full_symbol(text.split()))
    base, _, suffix = text.lower().replace(" ", "").partition(":")
    return base, suffix


def _shorten_full_symbol(words: list[str]) -> list[str]:
    """Shorten a full Hermann-Mauguin symbol.

    P 21/n 21/m 21/a is P n m a, and F 4/m -3 2/m is F m -3 m.
    """
    axes = words[1:4]
    if len(axes) < 2 or ("1" in axes and axes[0] != "-3") or not any("/" in axis for axis in axes):
        return words
    short = [axes[0], *(re.sub(r"^2[1]?/", "", axis) for axis in axes[1:])]
    if axes[1].startswith(("2", "-3")) and (
        (len(axes) > 2 and not axes[0].startswith(("4", "6"))) or axes[1] == "-3"
    ):
        short[0] = re.sub(r"^[24]\d?/", "", short[0])
    return [words[0], *short, *words[4:]]


def _list_spellings(base: str, suffix: str) -> list[tuple[str, str]]:
    """List other spellings of a symbol, each with its setting."""
    spellings = [(base, suffix)]
    words = _SYMBOL.findall(base[1:])
    if "".join(words) == base[1:]:
        spellings.append(("".join(_shorten_full_symbol([base[:1], *words])), suffix))
    if not suffix:
        endings = ("rs", "hs", "h", "r", "s", "z", "1", "2")
        spellings += [
            (base.removesuffix(ending), ending)
            for ending in endings
            if base.endswith(ending) and len(base) > len(ending) + 1
        ]
    return spellings


_TABLES: list[dict[str, Entries]] = []


def _key_tables() -> list[dict[str, Entries]]:
    """Tables of settings by compact name, in the order of search.

    Full symbols; short ones of the unique axis b; short ones of other axes; old ones; e-glides.
    """
    if not _TABLES:
        full: dict[str, Entries] = {}
        short: dict[str, Entries] = {}
        other: dict[str, Entries] = {}
        old: dict[str, Entries] = {}
        for entry in gemmi.spacegroup_table():
            words = entry.hm.lower().split()
            full.setdefault("".join(words), []).append(entry)
            if 3 <= entry.number <= 15:
                key = "".join(word for word in words if word != "1") or "".join(words)
                (short if words[1] == "1" and words[-1] == "1" else other).setdefault(key, []).append(entry)
            if entry.number >= 195:
                old.setdefault("".join(words).replace("-3", "3"), []).append(entry)
        _TABLES.extend((full, short, other, old, _list_double_glides()))
    return _TABLES


def _list_double_glides() -> dict[str, Entries]:
    """Settings by symbols with the double glide e (IUCr, 1992).

    It stands for either of two glides. The choice sets the origin. The usual setting has one meaning, others may have
    two.
    """
    found: dict[str, Entries] = {}
    usual: dict[str, Entries] = {}
    for entry in gemmi.spacegroup_table():
        if entry.number not in {39, 41, 64, 67, 68}:
            continue
        words = entry.hm.lower().split()
        for k in (1, 2, 3):
            if words[k] in {"a", "b", "c"}:
                key = "".join([*words[:k], "e", *words[k + 1 :]])
                found.setdefault(key, []).append(entry)
                if entry.is_reference_setting() or (entry.number == 68 and entry.hm == "C c c a"):
                    usual.setdefault(key, []).append(entry)
    return {**found, **usual}


def _choose_settings(tiers: list[Entries], wanted: str | None, name: str) -> list[Entries]:
    """Choose the settings of a suffix or code.

    All where none is stated.

    Raises:
        SymmetryError: the suffix is unknown for this group.
    """
    if not wanted or wanted.strip() in {"?", "."}:
        return tiers
    key = wanted.lower().strip().removesuffix("abc")
    extensions = {entry.ext for tier in tiers for entry in tier}
    if "R" in extensions:
        key = {"rs": "r", "s": "r", "hs": "h", "z": "h"}.get(key, key)
    elif "2" in extensions:
        key = {"s": "1", "z": "2"}.get(key, key)
    # The symbol of the usual setting may stand beside the code of another.
    usual = {entry.number for tier in tiers for entry in tier if entry.is_reference_setting()}
    for group in (*tiers, [entry for entry in gemmi.spacegroup_table() if entry.number in usual]):
        chosen = [entry for entry in group if key in _list_codes(entry)]
        if chosen:
            return [chosen]
    if not key or (key in {"1", "h"} and extensions == {"\0"}):  # appended where there is no other choice
        return tiers
    raise SymmetryError(f"the setting {wanted[:20]!r} of {name[:40]!r} is not known for this space group")


def _list_codes(entry: gemmi.SpaceGroup) -> set[str]:
    extension = entry.ext.strip("\0").lower()
    return {extension, entry.qualifier.lower(), extension + entry.qualifier.lower()} - {""}
