"""What changes from step to step of the transformer's training, and how long it may take."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from linocut_training import parallel, recognition
from linocut_training.network import Network, compile_velocity
from linocut_training.optim import Average
from linocut_training.plans import Plan
from linocut_training.recognition import Readers


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where, how and until when on the clock `time.time` a training runs, unfinished or not.

    bf16: products in bfloat16, twice as fast where the processor has them; weights, sums and
    optimisers stay fp32. compiled: through `torch.compile`, again nearly twice as fast on a CPU.
    """

    device: str = "cpu"
    until: float = math.inf
    bf16: bool = False
    compiled: bool = False

    @property
    def is_over(self) -> bool:
        """Whether that time has come."""
        return time.time() >= self.until


@dataclass
class Training:
    """Everything that changes from step to step, and what it is saved as.

    readers: of what the network recognises. reading: their optimiser.
    weaker, teacher, guided, styled: the averaged network early in stage one, and at the ends of
    stages one, two and three. earlier: the checkpoint that the training went on from, where it is
    to learn more things: in stage four it teaches those that it knew. leads_away: as in `Plan`.
    """

    network: Network
    readers: Readers
    average: Average
    optimisers: tuple[torch.optim.Optimizer, ...]
    rates: tuple[float, ...]
    stretch: Stretch
    leads_away: bool = False
    step: int = 0
    weaker: Network | None = None
    teacher: Network | None = None
    guided: Network | None = None
    styled: Network | None = None
    earlier: Network | None = None
    reading: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.reading = recognition.optimiser(self.readers)

    def save(self, file: Path) -> None:
        """The whole state, resumable."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "readers": self.readers.state_dict(),
            "reading": self.reading.state_dict(),
            "average": self.average.values,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "weaker": self.weaker.state_dict() if self.weaker else None,
            "teacher": self.teacher.state_dict() if self.teacher else None,
            "guided": self.guided.state_dict() if self.guided else None,
            "styled": self.styled.state_dict() if self.styled else None,
        }
        parallel.save_state(file, state)

    def load(self, file: Path) -> None:
        """Go on where `save` left off."""
        state = torch.load(file, weights_only=True, map_location=self.stretch.device)
        if "readers" not in state:
            raise ValueError(
                f"{file} was begun by a recipe without recognition: export it, and go on from "
                "that checkpoint in a new work folder"
            )
        self.network.load_state_dict(state["network"])
        self.readers.load_state_dict(state["readers"])
        self.reading.load_state_dict(state["reading"])
        self.average.values = state["average"]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step = state["step"]
        self.weaker, self.teacher, self.guided, self.styled = (
            self._frozen(state[name]) for name in ("weaker", "teacher", "guided", "styled")
        )

    @property
    def is_guided(self) -> bool:
        """Whether guidance is an input by now: from the second stage on."""
        return self.newest_teacher is not None

    @property
    def newest_teacher(self) -> Network | None:
        """The network as it was at the end of the stage before; none in the first."""
        return self.styled or self.guided or self.teacher

    def take_copies(self, plan: Plan) -> None:
        """Keep the averaged network at the steps where it becomes a teacher."""
        if self.step >= plan.styled_end:
            if self.styled is None:
                self.styled = self.averaged()
            return
        if self.step >= plan.guided_end:
            if self.guided is None:
                self.guided = self.averaged()
            return
        if self.step >= plan.steps * plan.weaker_after and self.weaker is None:
            self.weaker = self.averaged()
        if self.step >= plan.steps and self.teacher is None:
            self.teacher = self.averaged()

    def frozen_from(self, file: Path) -> Network | None:
        """The checkpoint in a file, as a teacher; None if there is no such file."""
        if not file.exists():
            return None
        return self._frozen(torch.load(file, weights_only=True, map_location=self.stretch.device))

    def averaged(self) -> Network:
        """The averaged network as it is now; it learns no more."""
        network = self._copy()
        self.average.copy_to(network)
        return network

    def _frozen(self, state: dict[str, Any] | None) -> Network | None:
        if state is None:
            return None
        network = self._copy()
        network.load_state_dict(state)
        return network

    def _copy(self) -> Network:
        network = copy.deepcopy(self.network).requires_grad_(False)
        if self.stretch.compiled:
            compile_velocity(network)
        return network
