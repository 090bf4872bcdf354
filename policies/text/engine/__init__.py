"""The generation engine of text policies: see engine.py for the loop, attention.py for what makes it fast."""

from policies.text.engine.engine import Engine
from policies.text.engine.request import Continuation, Request, Sampling
from policies.text.engine.ways import EngineProof

__all__ = ["Continuation", "Engine", "EngineProof", "Request", "Sampling"]
