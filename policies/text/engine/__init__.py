"""The generation engine of text policies: see engine.py for the loop, attention.py for what makes it fast."""

from policies.text.engine.engine import Engine, EngineProof
from policies.text.engine.request import Continuation, Request, Sampling

__all__ = ["Continuation", "Engine", "EngineProof", "Request", "Sampling"]
