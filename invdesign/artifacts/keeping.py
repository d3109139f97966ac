"""Contents of artifacts in the folder of a run: written before its first event, checked whenever it is worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from invdesign.artifacts.artifact import Artifact
from invdesign.artifacts.contents import FOLDER, Content, read_content
from invdesign.diskfiles import replace_atomically, sync_to_disk
from invdesign.errors import ArtifactError


def place_of(artifact: Artifact, run: Path) -> Path:
    """Path of an artifact's content in the folder of a `run`."""
    return run / FOLDER / f"{artifact.sha256}.{artifact.format}"


@dataclass(frozen=True, slots=True)
class Kept:
    """Content of an artifact with its place in the folder of a run.

    Attributes:
        path: of the file.
        content: bytes and hash.
        whole: true if the file holds them already.
    """

    path: Path
    content: Content
    whole: bool


def load_contents(artifacts: Iterable[Artifact], run: Path) -> list[Kept]:
    """Load the contents of a run's artifacts.

    Contents that the folder lacks are taken from the campaign at hand, or from the package that ships them.

    Args:
        artifacts: of the campaign.
        run: folder of the run.

    Raises:
        ArtifactError: one is missing or damaged, and nothing else holds it.
    """
    return [_load_content(artifact, run) for artifact in artifacts]


def _load_content(artifact: Artifact, run: Path) -> Kept:
    path = place_of(artifact, run)
    try:
        return Kept(path, read_content(path, artifact.sha256), whole=True)
    except ArtifactError as error:
        fault = str(error)
    try:
        return Kept(path, artifact.find(), whole=False)
    except ArtifactError as error:
        raise ArtifactError(
            f"{run} cannot be worked on without its artifact '{artifact.name}': {fault}. Put the file back, "
            f"{artifact.size} bytes with the SHA-256 hash {artifact.sha256}, from a backup or from the model it came "
            f"from: cp MODEL {path}; or name the campaign it came with: invdesign resume {run} --campaign FILE"
        ) from error


def keep_contents(contents: Iterable[Kept]) -> None:
    """Write the contents that are not in their places.

    The caller holds the lock of the run.

    Args:
        contents: from `load_contents`.

    Raises:
        OSError: the disk refuses.
    """
    for item in contents:
        if item.whole:
            continue
        item.path.parent.mkdir(exist_ok=True)
        for left in item.path.parent.glob(f".{item.path.name}.new-*"):  # of a process that was killed
            left.unlink(missing_ok=True)
        with replace_atomically(item.path, durable=True) as temporary:
            temporary.write_bytes(item.content.data)
        sync_to_disk(item.path.parent)
        sync_to_disk(item.path.parent.parent)


def move_contents(contents: Iterable[Kept], run: Path) -> list[Kept]:
    """Give contents their places in another folder of the `run`, which was moved or rescued."""
    return [_find_place(run / FOLDER / item.path.name, item.content) for item in contents]


def _find_place(path: Path, content: Content) -> Kept:
    try:
        return Kept(path, read_content(path, content.sha256), whole=True)
    except ArtifactError:
        return Kept(path, content, whole=False)


@contextmanager
def kept_contents(artifacts: Iterable[Artifact], run: Path) -> Iterator[None]:
    """Write contents of `artifacts` for a new run; remove them if the block fails.

    Args:
        artifacts: of the campaign.
        run: folder of the new run.

    Raises:
        ArtifactError: the content of one is nowhere.
        OSError: the disk refuses.
    """
    found = {place_of(artifact, run): artifact.find() for artifact in artifacts}
    try:
        keep_contents(Kept(path, content, whole=False) for path, content in found.items())
        yield
    except BaseException:
        for path in found:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        with suppress(OSError):  # there is none, or it holds something else
            (run / FOLDER).rmdir()
        raise


def examine_contents(artifacts: Iterable[Artifact], run: Path) -> Iterator[tuple[Artifact, str]]:
    """Check the files of a run's artifacts; iterate over them with what is wrong, or empty text."""
    for artifact in artifacts:
        try:
            read_content(place_of(artifact, run), artifact.sha256)
        except ArtifactError as error:
            yield artifact, str(error)
        else:
            yield artifact, ""
