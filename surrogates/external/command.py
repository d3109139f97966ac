"""Evaluator that writes files, runs any outside program and reads its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field, JsonValue, PrivateAttr, model_validator

from invdesign.candidate import Evaluation, Failure, Input
from invdesign.errors import InvdesignError, nearest
from invdesign.properties import STRUCTURE_PREFIX, Unit, check_unit
from invdesign.protocols import Batch, EvaluatorSettings
from invdesign.roles import LATEST, StructureRole, find_structure, required_structure
from invdesign.settings import Frozen, InputFile
from surrogates.external.folders import ATTEMPT_PREFIX, OWN_FILES, STDERR, STDOUT, JobError, JobFolder
from surrogates.external.jobs import Keep, Plan, find_program, run_job
from surrogates.external.placeholders import (
    SPECIAL_PLACEHOLDERS,
    STRUCTURE_PLACEHOLDERS,
    collect_values,
    describe_unknown,
    fill_placeholders,
    list_placeholders,
    split_line,
)
from surrogates.external.readers import Result, read_results

if TYPE_CHECKING:
    from pymatgen.core import Structure

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-][A-Za-z0-9_.+ -]*$")]
SHELL_OPERATORS = frozenset({"|", "||", "&&", ";", "&", ">", ">>", "<", "<<", "2>", "2>&1", "&>"})
RESERVED_NAMES = frozenset({*OWN_FILES, STDOUT, STDERR})


class Written(Frozen):
    """A file with the candidate's structure."""

    file: FileName
    """Name of the file in the candidate's folder."""
    format: Annotated[str, Field(min_length=1)]
    """`cif`, `vasp` (or `poscar`), `lammps-data`, `extxyz`, or any other that ASE writes."""
    role: StructureRole = LATEST
    """Which structure: `initial`, one an earlier stage made (`relaxed`), or `latest`, the last one made before this stage."""
    options: dict[str, JsonValue] = Field(default={})
    """Arguments of ASE's writer: `{atom_style: charge, specorder: [Li, Cl]}`."""

    @property
    def ase_format(self) -> str:
        """Name of the format in ASE."""
        return "vasp" if self.format == "poscar" else self.format

    def list_elements(self, structure: Structure) -> list[str]:
        """List the symbols of `structure` in the order of the file."""
        symbols = list(dict.fromkeys(site.specie.symbol for site in structure))
        order = self.options.get("specorder")
        if isinstance(order, list):
            return [str(symbol) for symbol in order]
        return sorted(symbols) if self.ase_format == "lammps-data" or self.options.get("sort") else symbols

    def write(self, structure: Structure, folder: Path) -> None:
        """Write `structure` into `folder`, in the format given.

        Raises:
            JobError: ASE cannot write the file.
        """
        import ase.io

        from surrogates.relaxation.relax import to_atoms

        try:
            ase.io.write(folder / self.file, to_atoms(structure), format=self.ase_format, **self.options)
        except Exception as error:
            cause = " ".join(str(error).split())[:200]
            raise JobError(
                f"{self.file} cannot be written as {self.format}: {type(error).__name__}: {cause}"
            ) from error


class Restart(Frozen):
    """Continuation of a job whose program was lost, from the files it left."""

    run: Annotated[str, Field(min_length=1)] | None = None
    """Command line to run instead; the same line where not given."""
    copy_: dict[str, str] = Field(default={}, alias="copy")
    """Files of the lost job, and the names the next attempt finds them by: `{CONTCAR: POSCAR}`. Where one is
    missing or empty, the job begins afresh."""

    model_config = ConfigDict(serialize_by_alias=True)


class Command(EvaluatorSettings):
    """Runs a program on each candidate and reads its results.

    Each candidate has a folder of its own. The program ends with the worker that runs it: at the stage's
    deadline, with the run, and where that is killed. A job that had ended by then is read, not run again.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    run: Annotated[str, Field(min_length=1)]
    """Program and arguments, `lmp -in in.lammps`; no shell reads it. It may hold placeholders as the files do."""
    structure: Written | None = None
    """The file the candidate's structure is written to, and its format; none is written where not given."""
    files: tuple[InputFile, ...] = ()
    """Input files. In them, `{{temperature}}` stands for the candidate's parameter `temperature`."""
    results: Annotated[tuple[Result, ...], Field(min_length=1)]
    """The files the program writes, and the values read from them."""
    provides_: Annotated[dict[str, Unit], Field(min_length=1)] = Field(alias="provides")
    """Unit by property: `{energy_per_atom: eV/atom}`."""
    requires_: tuple[str, ...] = Field(default=(), alias="requires")
    """Properties of earlier stages that placeholders stand for. Structure, composition and parameters are
    recognised without being listed."""
    stdin: FileName | None = None
    """File in the folder that the program reads as its standard input: `pw.x < scf.in` is `run: pw.x`, `stdin: scf.in`."""
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(default={})
    """Environment variables, in addition to those of `invdesign` itself."""
    success: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=1)] = (0,)
    """Exit codes that mean success."""
    keep: Keep = "failures"
    """Jobs whose folders are kept: `failures`, `all`, `nothing`."""
    restart: Restart | None = None
    """Continuation of a job whose program was lost; without it, the job begins afresh."""
    version_: str = Field(default="", alias="version")
    """Version of the program, in any words. Change it when the program changes, so that results of the old
    version are not reused."""

    _work_folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        self._check_lines()
        self._check_names()
        self._check_results()
        wrong = describe_unknown(self._placeholders)
        if wrong:
            raise ValueError(wrong)
        special = [name for name in self._placeholders if name in STRUCTURE_PLACEHOLDERS]
        if special and self.structure is None:
            raise ValueError(
                f"{{{{{special[0]}}}}} needs the setting 'structure': the file the structure is written to"
            )
        if not self.requires:
            raise ValueError(
                "the program sees nothing of a candidate: write its structure (structure: {file: ..., format: ...}), or "
                "put its parameters into a file or the run line as {{NAME}}"
            )
        return self

    def _check_lines(self) -> None:
        for line in [self.run, *([self.restart.run] if self.restart and self.restart.run else [])]:
            try:
                parts = split_line(line)
            except ValueError as error:
                raise ValueError(f"'{line}' cannot be split into words: {error}") from error
            if not parts or list_placeholders(parts[0]):
                raise ValueError(f"'{line}' does not begin with a program")
            operators = SHELL_OPERATORS & set(parts)
            if operators:
                raise ValueError(
                    f"'{min(operators)}' is for a shell, and none reads '{line}'. What the program prints is in {STDOUT}; "
                    "'stdin' names a file it reads as standard input; for more, put a script among 'files' and run that"
                )
            if (
                "/" in parts[0]
                and not Path(parts[0]).is_absolute()
                and Path(parts[0]).name not in self._names
            ):
                raise ValueError(
                    f"'{parts[0]}' is not among 'files'; name another program by its whole path, or one on PATH"
                )

    @property
    def _names(self) -> list[str]:
        return [file.name for file in self.files] + ([self.structure.file] if self.structure else [])

    def _check_names(self) -> None:
        for name in self._names:
            if (
                Path(name).name != name
                or name in RESERVED_NAMES
                or name.startswith(ATTEMPT_PREFIX)
                or name in {".", ".."}
            ):
                raise ValueError(f"no file in the candidate's folder can be called '{name}'")
        twice = sorted({name for name in self._names if self._names.count(name) > 1})
        if twice:
            raise ValueError(f"two files would be called '{twice[0]}' in the candidate's folder")
        if self.stdin is not None and self.stdin not in self._names:
            hint = nearest(self.stdin, self._names)
            raise ValueError(f"stdin '{self.stdin}' is not among the files that are written. {hint}".rstrip())
        for target in self.restart.copy_.values() if self.restart else ():
            if Path(target).name != target or target in RESERVED_NAMES:
                raise ValueError(
                    f"a restart cannot copy to '{target}': a name in the candidate's folder is wanted"
                )

    def _check_results(self) -> None:
        read = [name for result in self.results for name in result.values]
        for name, unit in self.provides_.items():
            if not name.isidentifier():
                raise ValueError(f"a property is called like band_gap, got '{name}'")
            check_unit(name, unit, "name it otherwise, or scale it")
            if read.count(name) != 1:
                count = "no result reads" if name not in read else "more than one result reads"
                raise ValueError(
                    f"{count} '{name}', which the stage provides. {nearest(name, read)}".rstrip()
                )
        extra = sorted(set(read) - self.provides_.keys())
        if extra:
            raise ValueError(
                f"'{extra[0]}' is read and has no unit: name it under 'provides', as {{{extra[0]}: eV}}"
            )
        roles = [result.structure for result in self.results if result.structure is not None]
        if len(set(roles)) < len(roles):
            raise ValueError("two results give a structure of one role")
        if set(self.requires_) & self.provides_.keys() or (self.structure and self.structure.role in roles):
            raise ValueError("what the stage provides it cannot require: give it another name")

    # The contract.

    @property
    def needs_trust(self) -> bool:
        """True: it runs a command line of the campaign."""
        return True

    @cached_property
    def _placeholders(self) -> list[str]:
        lines = [self.run, self.restart.run if self.restart and self.restart.run else ""]
        names = [
            name for text in [*lines, *(file.text for file in self.files)] for name in list_placeholders(text)
        ]
        return list(dict.fromkeys(names))

    @cached_property
    def requires(self) -> frozenset[str]:
        """The structure that is written, the values of placeholders, and the listed properties."""
        free = set(self._placeholders) - set(SPECIAL_PLACEHOLDERS) - set(self.requires_)
        found = {*self.requires_}
        if free or "candidate.parameters" in self._placeholders:
            found.add("parameters")
        if "candidate.formula" in self._placeholders:
            found.add("composition")
        if self.structure is not None:
            found.add(required_structure(self.structure.role))
        return frozenset(found)

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Units of the listed properties, and the structures that are read."""
        roles = [result.structure for result in self.results if result.structure is not None]
        return {**self.provides_, **{STRUCTURE_PREFIX + role: "" for role in roles}}

    @property
    def batch(self) -> Batch:
        """One candidate: every job is its own."""
        return Batch(1)

    def use_folder(self, folder: Path) -> None:
        """Make the candidates' folders in `folder`.

        Without this call they are temporary.
        """
        self._work_folder = folder

    def prepare(self) -> None:
        """Check that the programs exist and that ASE knows the formats."""
        for line in [self.run, *([self.restart.run] if self.restart and self.restart.run else [])]:
            program = split_line(line)[0]
            if "/" not in program or Path(program).is_absolute():
                find_program(program, self.environment)
        if self.structure is not None:
            _check_format(self.structure.ase_format, "written")
        for result in self.results:
            if result.format is not None:
                _check_format(result.format, "read")

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Run the program for each of `inputs`, one after the other."""
        return [self._evaluate_candidate(item) for item in inputs]

    def _evaluate_candidate(self, item: Input) -> Evaluation:
        structure = find_structure(item, self.structure.role) if self.structure is not None else None
        elements = (
            self.structure.list_elements(structure)
            if self.structure is not None and structure is not None
            else []
        )
        try:
            values = collect_values(item, self.requires, structure, elements)
            plan = self._plan_job(values, structure)
        except JobError as error:
            return Evaluation(failure=Failure(error.kind, "", str(error)))
        return run_job(JobFolder.for_candidate(self._work_folder, self, item), plan)

    def _plan_job(self, values: Mapping[str, str], structure: Structure | None) -> Plan:
        texts = {file.name: fill_placeholders(file.text, values, file.name) for file in self.files}
        again = None
        if self.restart is not None:
            again = [
                fill_placeholders(part, values, "restart.run")
                for part in split_line(self.restart.run or self.run)
            ]
        symbols = frozenset(site.specie.symbol for site in structure) if structure is not None else None

        def write_files(folder: Path) -> None:
            for name, text in texts.items():
                file = folder / name
                file.write_text(text, encoding="utf-8")
                if text.startswith("#!"):
                    file.chmod(0o755)
            if self.structure is not None and structure is not None:
                self.structure.write(structure, folder)

        return Plan(
            command=[fill_placeholders(part, values, "run") for part in split_line(self.run)],
            write=write_files,
            read=lambda folder: read_results(self.results, folder, symbols),
            stdin=self.stdin or "",
            environment=self.environment,
            success=self.success,
            keep=self.keep,
            again=again,
            copy=self.restart.copy_ if self.restart is not None else {},
        )


def _check_format(name: str, verb: str) -> None:
    """Refuse a format unknown to ASE, and name the nearest known one.

    Args:
        name: format, in ASE's spelling.
        verb: `written` or `read`.

    Raises:
        InvdesignError: ASE cannot write, or read, this format.
    """
    from ase.io.formats import ioformats

    able: Mapping[str, Any] = ioformats
    names = [key for key, fmt in able.items() if (fmt.can_write if verb == "written" else fmt.can_read)]
    if name not in names:
        hint = nearest(name, names)
        raise InvdesignError(
            f"'{name}' is no format that can be {verb} by ASE. {hint} Known: {', '.join(sorted(names))}".replace(
                "  ", " "
            )
        )
