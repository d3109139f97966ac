"""Candidates from users' files: structures, rows of a table or genomes, each checked by building it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from invdesign import strictjson
from invdesign.campaign.model import Campaign
from invdesign.candidate import Genome, canonical, genome_key
from invdesign.errors import FileError, InvdesignError, Mistake
from invdesign.protocols import StructureSpace, TabledSpace
from invdesign.registry import FOREIGN_ERRORS
from invdesign.run.changes import explain_refused_genome
from invdesign.settings import InputFile
from invdesign.sheets.columns import GENOME, Layout
from invdesign.sheets.identity import normalise_genome
from invdesign.sheets.table import Row, Table, read_table
from invdesign.structures.files import parse_structure
from invdesign.structures.reading.documents import is_structure
from invdesign.tables.cells import is_miswritten, suggest_remedy
from invdesign.textfiles import UnreadableFileError, read_text

MAX_GENOMES_BYTES = 50 * 10**6  # of a file of genomes; chosen, as for a request
NO_STRUCTURES = "candidates of this run are no structures"
TABLE_ENDINGS = frozenset({".csv", ".tsv", ".txt"})


class CandidatesError(InvdesignError):
    """All mistakes in files of candidates."""

    exit_code = 2


def read_candidates(files: Sequence[Path], campaign: Campaign) -> list[Genome]:
    """Read genomes from structure files, tables and JSON files.

    Args:
        files: to read, in order.
        campaign: whose space the candidates belong to.

    Returns:
        The genomes in order, each once.

    Raises:
        CandidatesError: with every mistake of every file: unreadable parts, and candidates outside the space.
    """
    found: dict[str, Genome] = {}
    complaints = []
    for file in files:
        reader = _CandidatesReader(campaign, file.name)
        for genome in reader.read_genomes(file):
            found.setdefault(genome_key(genome), genome)
        if reader.mistakes:
            complaints.append(str(FileError(reader.mistakes, file.name)))
    if complaints:
        raise CandidatesError("\n".join([*complaints, "Nothing was added."]))
    return list(found.values())


class _CandidatesReader:
    """Reads one file and collects its mistakes."""

    def __init__(self, campaign: Campaign, source: str) -> None:
        self.space = campaign.space
        self.layout = Layout.of_campaign(campaign)
        self.source = source
        self.mistakes: list[Mistake] = []

    def add_mistake(self, place: str, message: str, line: int | None = None) -> None:
        self.mistakes.append(Mistake(place, message, line))

    def read_genomes(self, file: Path) -> list[Genome]:
        if not file.is_file():
            self.add_mistake("file", f"there is no such file (looked for {file})")
            return []
        if file.suffix.lower() in TABLE_ENDINGS:
            return self._from_table(file)
        if file.suffix.lower() == ".json":
            return self._from_json(file)
        return self._from_structure(file)

    # Structures.

    def _from_structure(self, file: Path) -> list[Genome]:
        if not isinstance(self.space, StructureSpace):
            self.add_mistake("file", f"{NO_STRUCTURES}. Name a table (.csv) or a JSON file (.json).")
            return []
        try:
            structure = parse_structure(InputFile.read(file))
        except ValidationError as error:
            self.add_mistake("file", error.errors(include_url=False)[0]["msg"].removeprefix("Value error, "))
            return []
        except InvdesignError as error:
            self.add_mistake("file", str(error))
            return []
        genome = self.space.adopt(structure, None)
        if genome is None:
            self.add_mistake("file", "the structure is not one of this run's search space")
            return []
        return self._check_genome(genome, "file")

    # JSON.

    def _from_json(self, file: Path) -> list[Genome]:
        try:
            content = strictjson.loads(read_text(file, MAX_GENOMES_BYTES))
        except UnreadableFileError as error:
            self.add_mistake("file", str(error))
            return []
        except (ValueError, RecursionError) as error:
            self.add_mistake("file", f"this is no JSON: {error}")
            return []
        if is_structure(content):
            return self._from_structure(file)
        entries = [content] if isinstance(content, dict) else content
        if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
            self.add_mistake("file", "expected a list of genomes, or one structure of pymatgen")
            return []
        found = []
        for number, entry in enumerate(entries, 1):
            genome = entry["genome"] if set(entry) == {"genome"} else entry
            found += self._check_genome(genome, f"entry {number}")
        return found

    # Tables.

    def _from_table(self, file: Path) -> list[Genome]:
        try:
            table = read_table(file)
        except FileError as error:
            self.mistakes += error.mistakes
            return []
        self.mistakes += table.mistakes
        columns = self._design_columns(table)
        return [] if self.mistakes else [g for row in table.rows for g in self._from_row(row, columns)]

    def _design_columns(self, table: Table) -> dict[str, str]:
        """Names of design columns by heading, without remarks and other columns."""
        columns: dict[str, str] = {}
        for heading in filter(None, table.headings):
            column = self.layout.find_column(heading)
            if isinstance(column, str):
                self.add_mistake(heading, column, table.head)
            elif column.kind in {"value", "noise"}:
                message = "this is a result; candidates with their results are taken by invdesign tell."
                self.add_mistake(heading, message, table.head)
            elif column.kind == "design":
                columns[heading] = column.name
        if GENOME not in table.headings and not columns and not self.mistakes:
            known = ", ".join([GENOME, *map(self.layout.design_heading, self.layout.design)])
            self.add_mistake(
                "file", f"no column says which candidates these are; known are {known}", table.head
            )
        return columns

    def _from_row(self, row: Row, columns: Mapping[str, str]) -> list[Genome]:
        text = row.cells.get(GENOME)
        if text is not None:
            try:
                return self._check_genome(strictjson.loads(str(text)), GENOME, row.line)
            except (ValueError, RecursionError) as error:
                self.add_mistake(GENOME, f"this is no JSON: {error}", row.line)
                return []
        cells = {columns[name]: str(cell) for name, cell in row.cells.items() if name in columns}
        if not cells:
            self.add_mistake("row", "says of no candidate what it is.", row.line)
            return []
        assert isinstance(self.space, TabledSpace)  # else there were no columns
        found = self._check_genome(self.space.from_cells(cells), "row", row.line)
        odd = next((cell for cell in cells.values() if is_miswritten(cell)), None)
        if not found and odd is not None:
            last = self.mistakes[-1]
            self.mistakes[-1] = replace(
                last, message=f"{last.message.removesuffix('.')}.", hint=suggest_remedy(odd)
            )
        return found

    # All of them.

    def _check_genome(self, genome: object, place: str, line: int | None = None) -> list[Genome]:
        """Check a genome by building it; return it as the space writes it.

        Returns:
            A list with the genome; empty, after a recorded mistake, if it cannot be built.
        """
        if not isinstance(genome, dict):
            self.add_mistake(place, f"a genome is written as {{name: value}}, got {genome!r:.60}", line)
            return []
        try:
            written = cast("Genome", canonical(normalise_genome(self.space, genome)))
        except FOREIGN_ERRORS as error:  # a space may raise anything for a malformed genome
            self.add_mistake(place, " ".join(str(error).split()) or type(error).__name__, line)
            return []
        refusal = explain_refused_genome(self.space, written)
        if refusal:
            self.add_mistake(place, refusal, line)
            return []
        return [written]
