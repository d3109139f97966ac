"""Engines: run tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod

from invdesign.protocols import Engine
from invdesign.settings import Settings
from invdesign.worker import Setup


class EngineSettings(Settings, ABC):
    """Base of the plug-ins of the group `engines`: settings that open an engine for a run."""

    @abstractmethod
    def open(self, setup: Setup) -> Engine:
        """Start the engine for a run.

        Args:
            setup: all that a worker is made of.

        Raises:
            RunError: the evaluators cannot be set up.
        """
