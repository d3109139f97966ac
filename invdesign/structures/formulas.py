"""Chemical formulas as people write them: parsed exactly, or refused with a remedy."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from invdesign.errors import InvdesignError
from invdesign.structures.charges import check_element, element_symbols

if TYPE_CHECKING:
    from pymatgen.core import Composition

MAX_FORMULA_LENGTH = 400  # characters; chosen
MAX_AMOUNT = 1e9  # of one element; chosen
_SUBSCRIPTS = str.maketrans(
    "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089\u208a\u208b\u208d\u208e", "0123456789+-()"
)
# A point between subscript digits has no subscript form: publishers set a full stop, a middle dot or a leader.
_SUBSCRIPT_POINT = re.compile("(?<=[\u2080-\u2089])[.\u00b7\u2024\u22c5](?=[\u2080-\u2089])")
_DOTS = "\u00b7\u22c5\u2022\u2219\u2027\u30fb*"  # between the parts of an addition compound
_SUPERSCRIPTS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b]")
_INVISIBLE = re.compile("[\u200b-\u200d\u2060\ufeff\u00ad]")
_MARKUP = re.compile(r"</?\w+[^<>]*>|\$|\\\w+|_\{?")
_TOKEN = re.compile(
    r"(?P<symbol>[A-Z][a-z]?)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<amount>\d+\.\d+|\d+|\.\d+)", re.ASCII
)
_FRACTION = re.compile(r"\(?(\d{1,4})/(\d{1,4})\)?", re.ASCII)
_MOLE_PER_CENT = re.compile(r"\(?(mol|at)\.?%\)?$", re.IGNORECASE)
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
# Rare in materials for batteries: radioactive elements beyond bismuth but Th and U, Tc, Pm, and light noble gases.
_RARE_ELEMENTS = frozenset(
    [
        "Tc",
        "Pm",
        "Po",
        "At",
        "Rn",
        "Fr",
        "Ra",
        "Ac",
        "Pa",
        "Np",
        "Pu",
        "Am",
        "Cm",
        "Bk",
        "Cf",
        "Es",
        "Fm",
        "Md",
        "No",
        "Lr",
        "Rf",
        "Db",
        "Sg",
        "Bh",
        "Hs",
        "Mt",
        "Ds",
        "Rg",
        "Cn",
        "Nh",
        "Fl",
        "Mc",
        "Lv",
        "Ts",
        "Og",
        "He",
        "Ne",
    ]
)
# Symbols in capitals that are two elements: cobalt as CO, and so on.
_MISTAKEN_CAPITALS: Mapping[str, str] = {
    "CO": "Co", "CI": "Cl", "NI": "Ni", "SN": "Sn", "NB": "Nb", "SI": "Si", "BI": "Bi", "IN": "In", "CU": "Cu", "PB": "Pb",
    "CS": "Cs", "SC": "Sc", "HF": "Hf",
}  # fmt: skip
# Groups with such capitals: carbonates, carboxylates, carbonyls, thiocyanates, hydrogen difluorides.
_CAPITAL_GROUPS = re.compile(r"CO3|CO(?=[(H)])|COO(?!\d)|SCN|NCS|OCN|NCO|HF2|CN")
_CAPITAL_PAIR = re.compile(r"(" + "|".join(_MISTAKEN_CAPITALS) + r")(?![a-z])")


def parse_composition(text: str) -> Composition:
    """Parse a formula: `Li3OCl`, `Li(Ni0.8Co0.1Mn0.1)O2`, `Li₆PS₅Cl`, `CuSO4·5H2O`.

    Args:
        text: the formula.

    Raises:
        InvdesignError: it is no formula, its amounts are not fixed, or it names an unknown element.
    """
    from pymatgen.core import Composition

    return Composition(_parse_amounts(text))


@lru_cache(maxsize=4096)
def _parse_amounts(text: str) -> Mapping[str, float]:
    """Parse the amount of each element in a formula.

    Raises:
        InvdesignError: as `parse_composition`.
    """
    shown = " ".join(text.split())
    if len(text) > MAX_FORMULA_LENGTH:
        raise _formula_error(shown, f"it is longer than {MAX_FORMULA_LENGTH} characters")
    plain = _to_plain_formula(text, shown)
    found: dict[str, float] = {}
    for factor, part in _split_addition_compound(plain, shown):
        for symbol, amount in _read_part(part, shown).items():
            found[symbol] = found.get(symbol, 0.0) + factor * amount
    if not found:
        raise _formula_error(shown, "it names no element")
    if not any(found.values()):
        raise _formula_error(shown, "all its amounts are 0")
    return found


def _formula_error(text: str, reason: str) -> InvdesignError:
    """Error for a text that is not a formula."""
    return InvdesignError(f"'{text:.60}' is not a formula: {reason}")


def _to_plain_formula(text: str, shown: str) -> str:
    """Reduce a formula to letters, digits, points, brackets and dots.

    Anything that means more, such as a charge or markup, is refused.
    """
    if _SUPERSCRIPTS.search(text):
        raise _formula_error(shown, "superscripts say charges, and charges are no part of it; leave them out")
    text = _SUBSCRIPT_POINT.sub(".", text).translate(_SUBSCRIPTS)
    _check_spaces(text, shown)
    text = "".join(_INVISIBLE.sub("", text).split())
    text = "".join(char if char in _DOTS else unicodedata.normalize("NFKC", char) for char in text)
    if _MARKUP.search(text):
        bare = re.sub(r"[{}]", "", _MARKUP.sub("", text))
        raise _formula_error(
            shown, f"it holds markup; write {bare}" if _is_formula(bare) else "it holds markup"
        )
    _check_fractions(text, shown)
    _check_amounts(text, shown)
    strange = next((char for char in text if not char.isascii() and char not in _DOTS), "")
    if strange:
        name = unicodedata.name(strange, "no known character").lower()
        raise _formula_error(shown, f"it holds '{strange}' ({name}); write it in Latin letters and digits")
    return text


def _check_spaces(text: str, shown: str) -> None:
    """Refuse spaces unless they only separate symbols and amounts."""
    named = re.fullmatch(r"\s*(.*\S)\s+\((.*)\)\s*", text)
    if named and _is_formula(named[1]) and (_is_name(named[2]) or not _is_formula(named[2])):
        raise _formula_error(shown, f"a name in brackets is no part of it; write {named[1]}")
    if re.search(r"\d\s+[\d.]", text):
        raise _formula_error(
            shown,
            "a space between digits may part a hydrate; write that with a raised dot, as in CaCl2\u00b76H2O",
        )
    strange = re.search(r"\s([a-z])", text)
    if strange:
        raise _formula_error(
            shown, f"'{strange[1]}' cannot be read after a space{_suggest_formula_alone(shown)}"
        )

    for part in re.split(f"[{re.escape(_DOTS)}]", text):
        # `Li7 La3 Zr2 O12` and `Li 7 La 3` are one formula each; `LiF LiCl` may be two.
        # A part with one element in a broken amount is no compound of its own: `La0.62 Li0.14(Mg0.5W0.5)O3`.
        chunks = [chunk for chunk in part.split() if not re.fullmatch(r"[A-Z][a-z]?\d*\.\d+", chunk)]
        symbols = [len(re.findall(r"[A-Z]", re.sub(r"[(\[{].*?[)\]}]", "", chunk))) for chunk in chunks]
        if len(list(filter(None, symbols))) > 1 and max(symbols) > 1:
            advice = _suggest_formula_alone(shown) or "; leave them out if it is one"
            raise _formula_error(shown, f"its spaces may part two formulas{advice}")


def _is_name(text: str) -> bool:
    """True if letters in brackets are an abbreviation (NPS)."""
    return re.fullmatch(r"[A-Z]{3,}", text) is not None and text not in {"SCN", "OCN", "NCS", "NCO"}


def _check_amounts(text: str, shown: str) -> None:
    """Refuse amounts that are not fixed numbers.

    Examples are variables, charges, decimal commas and ranges.
    """
    if not re.match(r"[A-Z(\[{\d.]", text) and text:
        raise _unreadable_character_error(text, 0, shown)
    comma = re.sub(r"(?<=\d),(?=\d)", ".", text)
    if "," in text:
        reason = (
            f"write {comma}, with a decimal point"
            if "," not in comma
            else "a list of elements has no amounts"
        )
        raise _formula_error(shown, reason)
    sign = re.search(r"[+\-\u2010-\u2015\u2212\u00b1]", text)
    if sign and re.search(r"[+\-\u2212]\d*$|\^", text) and not re.search(r"[a-z\u03b1-\u03c9]$", text):
        raise _formula_error(shown, "charges are no part of it; leave them out")
    if sign and re.match(r"\d", text):
        dotted = re.sub(r"[+\-\u2010-\u2015\u2212]", "\u00b7", _MOLE_PER_CENT.sub("", text))
        advice = f": write {dotted}, where its amounts are moles" if _is_formula(dotted) else "; multiply out"
        raise _formula_error(shown, f"the parts of a mixture are joined by raised dots{advice}")
    if sign and re.search(r"[A-Za-z)\]}][\-\u2212]\d", text):
        raise _formula_error(shown, "amounts cannot be negative")
    if sign or re.search(r"(?<![A-Z])[xyz](?![a-z])|[\u03b1-\u03c9]", text):
        raise _formula_error(
            shown, "its amounts are not fixed; write the numbers that were made, as in Li6.5La3Zr2O12"
        )


def _check_fractions(text: str, shown: str) -> None:
    """Refuse vulgar fractions and hydrates with a colon."""
    if re.search(r"\d/\d", text):
        decimal = _FRACTION.sub(
            lambda found: f"{int(found[1]) / max(int(found[2]), 1):.4f}".rstrip("0"), text
        )
        advice = f"; write {decimal}" if _is_formula(decimal) else ""
        raise _formula_error(shown, f"its amounts are no decimal numbers{advice}")
    if re.search(r":\d", text):
        dotted = text.replace(":", "\u00b7")
        advice = f"; write {dotted}" if _is_formula(dotted) else ""
        raise _formula_error(shown, f"the parts of an addition compound are joined by raised dots{advice}")


def _suggest_formula_alone(shown: str) -> str:
    """Advise to write the formula without words and prefixes.

    An example is `β-Li3PS4`. Empty where there is no such formula.
    """
    words = re.split(r"[\s:;,+\-\u2010-\u2015\u2212]+", shown)
    found = [word for word in words if len(re.findall("[A-Z]", word)) > 1 and _is_formula(word)]
    return f"; write {found[0]} alone, if that is meant" if len(words) > 1 and len(found) == 1 else ""


def _split_addition_compound(text: str, shown: str) -> Iterator[tuple[float, str]]:
    """Yield (factor, formula) of each part of an addition compound.

    A formula without dots is one part.
    """
    text = re.sub(r"\.(?=\(|[A-Z])", "\u00b7", text)  # a point before an element is no decimal point
    tail = re.fullmatch(r"(.*[A-Za-z)\]}]\d+)\.(\d+(?:\.\d+)?(?:H2O|D2O))", text)
    if tail:
        hydrate = f"{tail[1]}\u00b7{tail[2]}"
        reason = f"its point may be that of a hydrate or of a decimal number; for the hydrate write {hydrate}"
        raise _formula_error(shown, reason)
    parts = re.split(f"[{re.escape(_DOTS)}]", text)
    if len(parts) == 1:
        yield 1.0, text
        return
    ambiguous = re.search(rf"\d[{re.escape(_DOTS)}]\d", text) is not None
    for part in parts:
        match = re.fullmatch(r"(\d+\.\d+|\d+|\.\d+)?(.+)", part)
        if match is None:
            raise _formula_error(shown, "a part of it is empty")
        if ambiguous and not _is_compound(match[2]):
            raise _formula_error(
                shown, "a raised dot between digits may be a decimal point; write that as a full stop"
            )
        yield float(match[1] or 1), match[2]


def _is_compound(part: str) -> bool:
    """True if a part of an addition compound can stand alone.

    It needs at least two elements, one of them a nonmetal, all with amounts above 0.
    """
    try:
        amounts = _read_part(part, part)
    except InvdesignError:
        return True  # refused later, with its own message
    nonmetals = {"H", "D", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Se", "Br", "Te", "I"}
    return len(amounts) > 1 and all(amounts.values()) and bool(nonmetals & amounts.keys())


def _read_part(text: str, shown: str) -> dict[str, float]:
    """Parse the amounts in a formula without dots."""
    stack: list[tuple[str, dict[str, float]]] = [("", {})]
    # A symbol or a group that waits for the amount that multiplies it.
    last: dict[str, float] | None = None
    place = 0

    def add_pending(amount: float) -> None:
        nonlocal last
        for symbol, count in (last or {}).items():
            stack[-1][1][symbol] = stack[-1][1].get(symbol, 0.0) + count * amount
        last = None

    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            raise _unreadable_character_error(text, place, shown)
        place = token.end()
        if token["amount"]:
            if last is None:
                reason = (
                    "it begins with an amount"
                    if token.start() == 0
                    else f"'{token['amount']}' follows no element"
                )
                raise _formula_error(shown, reason)
            amount = float(token["amount"])
            if amount > MAX_AMOUNT:
                raise _formula_error(shown, f"an amount is above {MAX_AMOUNT:g}")
            add_pending(amount)
            continue
        add_pending(1.0)
        if token["symbol"]:
            last = {_check_symbol(token["symbol"], text, shown): 1.0}
        elif token["open"]:
            stack.append((_BRACKETS[token["open"]], {}))
        elif stack[-1][0] != token["close"] or not stack[-1][1]:
            raise _formula_error(shown, f"its brackets do not match at '{token['close']}'")
        else:
            last = stack.pop()[1]
    add_pending(1.0)
    if len(stack) > 1:
        raise _formula_error(shown, f"a bracket is not closed: '{stack[-1][0]}' is missing")
    return stack[0][1]


def _unreadable_character_error(text: str, place: int, shown: str) -> InvdesignError:
    """Error for an unreadable character, with the likely formula."""
    meant = _correct_capitals(text)
    advice = f". Did you mean {meant}?" if meant else _suggest_formula_alone(shown)
    return _formula_error(shown, f"'{text[place]}' cannot be read here{advice}")


def _check_symbol(symbol: str, text: str, shown: str) -> str:
    """Refuse a symbol of no element, with the likely formula.

    Deuterium counts as hydrogen.
    """
    if symbol == "D":
        return "H"  # deuterium; tritium is refused, since T stands in names such as LiTFSI
    try:
        return check_element(symbol)
    except ValueError as error:
        meant = _correct_capitals(text)
        if meant:
            raise _formula_error(
                shown, f"'{symbol}' is not an element symbol. Did you mean {meant}?"
            ) from error
        raise _formula_error(shown, str(error)) from error


def _correct_capitals(text: str) -> str:
    """Correct the capitals of a formula.

    Empty where that fails, or where they are right already.
    """
    found = []
    for run in re.findall(r"[A-Za-z]+|[^A-Za-z]+", text):
        spelt = _spell_as_symbols(run.lower()) if run[0].isalpha() else run
        if spelt is None:
            return ""
        found.append(spelt)
    meant = "".join(found)
    if meant == text or len(meant) > 60 or _RARE_ELEMENTS & set(re.findall(r"[A-Z][a-z]?", meant)):
        return ""
    return meant if _is_formula(meant) else ""


def _spell_as_symbols(letters: str) -> str | None:
    """Split letters into element symbols; None if impossible.

    Symbols of few rare elements are preferred, then few symbols.
    """
    symbols = {symbol.lower(): symbol for symbol in element_symbols()}
    best: list[tuple[int, int, str] | None] = [(0, 0, "")]
    for end in range(1, len(letters) + 1):
        choices = []
        for width in (1, 2):
            before = best[end - width] if end >= width else None
            symbol = symbols.get(letters[end - width : end]) if before is not None else None
            if before is not None and symbol is not None:
                choices.append((before[0] + (symbol in _RARE_ELEMENTS), before[1] + 1, before[2] + symbol))
        best.append(min(choices) if choices else None)
    last = best[-1]
    return last[2] if last is not None else None


def _is_formula(text: str) -> bool:
    """True if the text can be parsed as a formula."""
    try:
        _read_part(text, text) if not set(text) & set(_DOTS) else _parse_amounts(text)
    except (InvdesignError, RecursionError):
        return False
    return bool(text)


# Formulas for people.

_HALIDES = ("F", "Cl", "Br", "I")
_CENTRES = (
    "B",
    "C",
    "Si",
    "P",
    "As",
)  # of oxoanions; in acid salts hydrogen stands before them: NaHCO3, KH2PO4


def write_formula(composition: Composition) -> str:
    """Write a `composition` for people: `Li3OCl`, `LiAlPO4Cl`; see `order_formula`."""
    return order_formula(str(composition.reduced_formula))


def tidy_formula(text: str) -> str:
    """Put the elements of a formula in the usual order, but keep one whose groups are in brackets.

    For formulas that people wrote, as in reference sets: `Li6PClO5` becomes `Li6PO5Cl`, `Li3Sc2(PO4)3` stays.

    Args:
        text: the formula.
    """
    return text if "(" in text else order_formula(text)


@lru_cache(maxsize=65536)
def order_formula(text: str) -> str:
    """Put the elements of a formula in the usual order, without brackets but those of hydroxide.

    `LiAlPClO4` becomes `LiAlPO4Cl`. Amounts stay, and a text that is no formula is returned unchanged. The order is IUPAC's,
    but where an oxidation state calls for another: halogens that oxygen oxidises stand before it (`LiClO4`, `Cl2O7`), hydrogen of
    hydroxide after it (`LiOH`, `Ca(OH)2`), that of acid salts before the centre of the anion (`KH2PO4`), nitride after oxide
    (`Li2PO2N`).

    Args:
        text: the formula.

    Source:
        Nomenclature of Inorganic Chemistry, IUPAC Recommendations 2005, table VI, as pymatgen has it.
    """
    if not text:
        return text
    from pymatgen.core import Element
    from pymatgen.util.string import formula_double_format

    try:
        amounts = _parse_amounts(text)
    except InvdesignError:
        return text
    ordered = sorted(amounts, key=lambda symbol: float(Element(symbol).iupac_ordering))
    written = {symbol: f"{symbol}{formula_double_format(amounts[symbol])}" for symbol in ordered}
    if "O" in amounts:
        ordered = _order_around_oxygen(ordered, amounts)
        if _is_hydroxide(amounts) and amounts["O"] > 1:
            written |= {"O": f"(OH){formula_double_format(amounts['O'])}", "H": ""}
    return "".join(written[symbol] for symbol in ordered)


def _order_around_oxygen(ordered: Sequence[str], amounts: Mapping[str, float]) -> list[str]:
    """Move elements of an oxygen compound whose oxidation state is not the one that IUPAC's order means.

    Args:
        ordered: elements in IUPAC's order.
        amounts: of each element.
    """
    from pymatgen.core import Element

    found = list(ordered)
    metals = [symbol for symbol in found if Element(symbol).is_metal]
    nonmetals = [symbol for symbol in found if symbol not in {*metals, *_HALIDES, "H", "O"}]
    if _are_halogens_oxidised(amounts):
        halogens = [symbol for symbol in found if symbol in _HALIDES and symbol != "F"]
        rest = [symbol for symbol in found if symbol not in halogens]
        place = next(at for at, symbol in enumerate(rest) if symbol in {*nonmetals, "O"})
        found = [*rest[:place], *halogens, *rest[place:]]
    if _is_hydroxide(amounts):
        _move_element(found, "H", found.index("O") + 1)
    elif metals and nonmetals and set(nonmetals) <= set(_CENTRES) and _is_acid_salt(amounts):
        _move_element(found, "H", found.index(nonmetals[0]))
    elif metals and "H" not in amounts and _is_nitride(amounts):
        _move_element(found, "N", found.index("O") + 1)
    return found


def _move_element(symbols: list[str], symbol: str, place: int) -> None:
    """Move an element of a list before the one at `place`."""
    at = symbols.index(symbol)
    symbols.insert(place, symbol)
    symbols.pop(at if at < place else at + 1)


def _sum_cations(amounts: Mapping[str, float], *others: str) -> float:
    """Highest charge of all elements together, without oxygen, halogens and `others`."""
    from pymatgen.core import Element

    return sum(
        float(Element(symbol).max_oxidation_state) * amount
        for symbol, amount in amounts.items()
        if symbol not in {"O", *_HALIDES, *others}
    )


def _sum_anions(amounts: Mapping[str, float]) -> float:
    """Charge of oxide and halide ions together, without its sign."""
    return 2 * amounts["O"] + sum(amounts.get(symbol, 0.0) for symbol in _HALIDES)


def _are_halogens_oxidised(amounts: Mapping[str, float]) -> bool:
    """True if the mean state of chlorine, bromine and iodine in an oxygen compound must be at least +1, for want of cations.

    An electrode without its ions lacks cations too, but fewer: Li2OCl of Li3OCl stays an oxide chloride.
    """
    count = sum(amounts.get(symbol, 0.0) for symbol in _HALIDES if symbol != "F")
    return count > 0 and _sum_cations(amounts) + count <= 2 * amounts["O"] + amounts.get("F", 0.0)


def _is_hydroxide(amounts: Mapping[str, float]) -> bool:
    """True if metals, hydroxide and halides are all there is."""
    from pymatgen.core import Element

    rest = [symbol for symbol in amounts if symbol not in {"H", "O", *_HALIDES}]
    return (
        bool(rest)
        and all(Element(symbol).is_metal for symbol in rest)
        and amounts.get("H") == amounts["O"]
        and float(amounts["O"]).is_integer()
        and not _are_halogens_oxidised(amounts)
        and _sum_cations(amounts, "H") < _sum_anions(amounts) + amounts["H"]
    )


def _is_acid_salt(amounts: Mapping[str, float]) -> bool:
    """True if hydrogen is a cation, no hydride, and not that of an organic molecule."""
    if "H" not in amounts or amounts["H"] > amounts.get("C", math.inf):
        return False
    return _sum_cations(amounts, "H") < _sum_anions(amounts) + amounts["H"]


def _is_nitride(amounts: Mapping[str, float]) -> bool:
    """True if the cations balance nitrogen as nitride beside oxide."""
    if "N" not in amounts:
        return False
    return _sum_cations(amounts, "N") >= _sum_anions(amounts) + 3 * amounts["N"]


# Elements, and likely slips.


def list_element_symbols(composition: Composition) -> set[str]:
    """Symbols of the elements of a `composition`."""
    return set(composition.get_el_amt_dict())


@lru_cache(maxsize=4096)
def describe_likely_slip(text: str) -> str:
    """Describe a likely slip in a formula.

    Slips are rare elements, and capitals that are two elements.

    Args:
        text: a formula that can be parsed.

    Returns:
        A sentence; empty where nothing is suspicious.
    """
    from pymatgen.core import Element

    shown = " ".join(text.split())
    try:
        amounts = _parse_amounts(text)
    except InvdesignError:
        return ""
    for symbol in amounts:
        if symbol in _RARE_ELEMENTS:
            two = symbol.upper() if all(letter in element_symbols() for letter in symbol.upper()) else ""
            said = f"; {symbol[0]} and {symbol[1].upper()} are written {two}" if len(two) == 2 else ""
            return f"'{shown:.60}' was read with {symbol} ({Element(symbol).long_name.lower()}){said}"
    bare = _CAPITAL_GROUPS.sub(" ", text.translate(_SUBSCRIPTS))
    pair = _CAPITAL_PAIR.search(bare)
    if pair is None or len(amounts) < 3:
        return ""
    first, second = (Element(letter).long_name.lower() for letter in pair[1])
    meant = _MISTAKEN_CAPITALS[pair[1]]
    return (
        f"'{shown:.60}' was read with {pair[1][0]} ({first}) and {pair[1][1]} ({second}); "
        f"{Element(meant).long_name.lower()} is written {meant}"
    )
