"""The decorator `@invdesign.fitness(...)`, which makes a function an evaluator."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ConfigDict, PrivateAttr, ValidationError, model_validator

from invdesign.errors import CampaignChangedError, PluginError
from invdesign.functions.function import FitnessFunction
from invdesign.functions.modules import hash_module, import_root, is_installed, module_file
from invdesign.functions.source import hash_function, unwrap_function
from invdesign.properties import Unit

EXAMPLE = '@invdesign.fitness(provides={"hardness": "GPa"})'


def fitness(
    provides: Mapping[str, Unit],
    requires: Iterable[str] | None = None,
    batch: int = 1,
    name: str | None = None,
    version: str | None = None,
) -> Callable[[Callable[..., Any]], Decorated]:
    """Make a function of a candidate an evaluator, `function.evaluator`.

    The function gets a candidate (`parameters`, `composition`, `structure`, `properties`, ...) and returns a number, a
    mapping from property to number, or an `Evaluation`; `(number, standard deviation)` may stand for a number. It can
    still be called directly.

    Args:
        provides: unit by property that the function returns; an empty unit for pure numbers.
        requires: what the function reads: `parameters`, `composition`, `structure:ROLE`, properties of earlier stages;
            by default everything there is. Candidates that agree in it are evaluated once.
        batch: if above 1, the function is called with a list of at most so many candidates. It returns as many answers,
            or a mapping from property to array.
        name: name of the evaluator; by default the function's own.
        version: a version of your own that replaces the hash of the source: raise it when the numbers change. Without it
            a changed source is noticed.

    Raises:
        PluginError: a name, unit or number that is not allowed.
        TypeError: an argument of the wrong type.

    Examples:
        >>> import invdesign
        >>> @invdesign.fitness(provides={"conductivity": "mS/cm"}, requires=["parameters"])
        ... def conductivity(candidate):
        ...     salt = candidate.parameters["salt"]
        ...     return 12.0 * salt * (1.1 - 0.5 * salt)
        >>> conductivity.evaluator.provides
        {'conductivity': 'mS/cm'}
    """
    if not isinstance(provides, Mapping):
        raise TypeError(
            f"write what the function provides, with units, as in {EXAMPLE}; got {_describe_type(provides)}"
        )
    if isinstance(requires, str) or (requires is not None and not isinstance(requires, Iterable)):
        raise TypeError(f'requires is a list of names, as ["parameters"]; got {_describe_type(requires)}')
    settings = {
        "provides": dict(provides),
        "requires": None if requires is None else tuple(requires),
        "batch": batch,
        "version": version,
    }

    def decorate(function: Callable[..., Any]) -> Decorated:
        return Decorated(function, settings | {"name": name or _name_function(function)})

    return decorate


class Decorated:
    """A decorated function: it can still be called, and has an `evaluator`."""

    def __init__(self, function: Callable[..., Any], settings: Mapping[str, Any]) -> None:
        _check_signature(function, settings)
        functools.update_wrapper(self, function)
        self.__wrapped__ = function
        self._path, self._folder, self._files = _locate_function(function)
        self._seen: dict[str, str] = {}
        self._plugin: type[FitnessFunction] | None = None
        try:
            self._plain = FitnessFunction.model_validate(settings)
        except ValidationError as error:
            raise PluginError(f"{settings['name']}: {_first_error(error)}") from None
        _ = self.evaluator  # what it captures may change later

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<fitness function {self._plain.name}: {', '.join(self._plain.provides)}>"

    @property
    def evaluator(self) -> FitnessFunction:
        """Evaluator that holds the function, with fresh hashes of what it captures."""
        source = self._files if self._path is not None else hash_function(self.__wrapped__, self._seen)
        update = {"path": self._path, "folder": self._folder, "source": source}
        return self._plain.model_copy(update=update).with_function(self.__wrapped__)

    def as_plugin(self) -> type[FitnessFunction]:
        """Build a plug-in class with these settings as defaults.

        An entry point that names the function stands for it.
        """
        if self._plugin is not None:
            return self._plugin
        now = self.evaluator
        own = {key: value for key, value in now.model_dump(mode="json").items() if key != "kind"}
        function = self.__wrapped__

        class Installed(FitnessFunction):
            model_config = ConfigDict(json_schema_extra=_drop_own_fields)
            _function: Callable[..., Any] | None = PrivateAttr(default_factory=lambda: function)

            @model_validator(mode="before")
            @classmethod
            def _own(cls, given: Any) -> Any:
                if not isinstance(given, Mapping):
                    return given
                merged = {**own, **given}
                names = merged["requires"]  # what a validator gives is no JSON any more, and held to tuples
                return {**merged, "requires": tuple(names)} if isinstance(names, list) else merged

            def check_source(self) -> None:
                changed = self.list_changes(now.source, now.own_version)
                if changed:
                    raise CampaignChangedError(self.describe_changes(changed))

        Installed.__name__ = str(getattr(function, "__name__", now.name))
        Installed.__qualname__ = str(getattr(function, "__qualname__", now.name))
        Installed.__module__ = str(function.__module__)
        Installed.__doc__ = function.__doc__ or f"The function {now.name}."
        self._plugin = Installed
        return Installed


def _drop_own_fields(schema: dict[str, Any]) -> None:
    """Drop the fields that the installed package itself determines."""
    for key in ("name", "path", "folder", "source"):
        schema["properties"].pop(key, None)
    schema.pop("required", None)


def _name_function(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", "")
    if not callable(function):
        raise TypeError(f"fitness decorates a function, got {_describe_type(function)}")
    if not name or name == "<lambda>":
        raise PluginError("a function without a name needs one: fitness(provides=..., name=...)")
    return str(name).lstrip("_")


def _check_signature(function: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"{settings['name']} must return its answer: it is async, or has a `yield`")
    try:
        inspect.signature(function).bind(object())
    except ValueError:  # some functions written in C do not say
        return
    except TypeError as error:
        what = "one candidate" if settings["batch"] == 1 else "a list of candidates"
        raise TypeError(f"{settings['name']} must take {what} and nothing else: {error}") from None


def _locate_function(function: Callable[..., Any]) -> tuple[str | None, str | None, dict[str, str]]:
    """Find the path, folder and hashes of a function that its module holds."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    name = getattr(function, "__qualname__", "")
    if module is None or module.__name__ == "__main__" or not name.isidentifier():
        return None, None, {}
    root = import_root(module)
    file = module_file(root, module.__name__) if root is not None else None
    if (
        getattr(module, "__spec__", None) is None
        or root is None
        or file is None
        or unwrap_function(function) is not function
    ):
        return None, None, {}
    folder = None if is_installed(module.__name__) else str(root)
    return f"{module.__name__}:{name}", folder, hash_module(file)


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    place = ".".join(str(step) for step in first["loc"])
    return f"{place}: {cause or first['msg'][0].lower() + first['msg'][1:]}, got {first['input']!r:.60}"


def _describe_type(value: Any) -> str:
    return "a function" if callable(value) else f"{type(value).__name__} {value!r:.60}"
