"""The `[trust]` section: whom a node takes groups from."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from policies.settings import Settings
from swarm.errors import DecodeError
from swarm.wire.identity import peer_bytes


def _peer(text: str) -> str:
    try:
        peer_bytes(text)
    except DecodeError:
        raise ValueError("not a PeerID: it looks like 12D3KooW..., as `murmur peers` shows it") from None
    return text


PeerName = Annotated[str, AfterValidator(_peer)]


class TrustConfig(Settings):
    """Whom this node takes groups from, beside what each peer's record says."""

    allow: tuple[PeerName, ...] = ()
    """PeerIDs that always count as known: four fifths of the places for peers' groups are for such."""
    deny: tuple[PeerName, ...] = ()
    """PeerIDs that nothing is fetched from."""
    hold_places: bool = True
    """An address takes no more of an update's places for peers' groups than its share among those that known peers
    deliver from, though these may have nothing now: places stay empty. False: who has more fills them."""
    habits: bool = True
    """Leave out of a peer's right answers what they have in common and neither the own right answers nor other peers'
    have: a phrase, an import, a wrong step. Those tokens are not trained on, and the peer's record says so."""
    length_quantile: float = Field(default=0.95, gt=0, le=1)
    """A peer's right answer that is longer than this share of the own and other peers' right ones to the task teaches
    nothing. 1 switches it off: where right answers ought to grow longer, and peers are ahead in that."""
    token_floor: float = Field(default=0.0, ge=0, lt=1)
    """Tokens of a peer's right answer to which the own policy gives a smaller probability are not trained on, at the
    price of one more forward pass over these answers. 0, the default, switches it off: at 0.001 it cost honest nodes
    more reward than habits do in every attack of the arena that was played."""
    usefulness_every: int = Field(default=5, ge=0)
    """Rounds between two measurements of whether peers' right answers make the own ones likelier, at the price of a
    forward pass more over that update's right answers; `murmur peers` shows it. 0 never measures. Nothing rests on
    it."""
    trusting: bool = False
    """Import peers' groups whole, as SAPO published it: no bound on what a group weighs or says. For comparisons
    (`murmur arena`); in a public swarm whoever writes then teaches this node what they like."""
    sandbox: bool = False
    """Take part in a swarm whose invite names tasks that are scored in the sandbox: there a library's own scorer may
    evaluate what a stranger wrote, in a process without files and network. Tasks of the own config need no word."""

    @property
    def external_floor(self) -> float:
        """The floor of an update."""
        return 0.0 if self.trusting else self.token_floor
