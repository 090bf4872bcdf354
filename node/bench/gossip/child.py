"""`python -m node.bench.gossip.child PLAN`: plays one swarm and prints a line of JSON a measured round.

The first line says whether the network is its own. It ends when its standard input is closed, or with its parent.
Nothing that starts threads may be imported before the network is entered.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Protocol

from node.bench.gossip.netspace import enter_own_network, loopback_bytes
from node.bench.gossip.swarm_plan import OURS, Meter, SwarmPlan, SwarmRound
from swarm.process import die_with_parent

OWN_NETWORK, SHARED_NETWORK = "own", "shared"  # the first line


class PlayedSwarm(Protocol):
    """All nodes of one side."""

    async def start(self) -> None: ...

    async def play(self, number: int, meter: Meter) -> SwarmRound: ...

    async def stop(self) -> None: ...


async def play(plan: SwarmPlan, folder: Path) -> None:
    """Plays until the rounds are over or the parent closes our standard input. Stops the swarm in either case."""
    swarm = _swarm(plan, folder)
    playing = asyncio.create_task(_play_rounds(swarm, plan))
    hung_up = asyncio.create_task(_end_of_input())
    try:
        await asyncio.wait({playing, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    finally:
        await swarm.stop()
    if not playing.cancelled():
        playing.result()


async def _play_rounds(swarm: PlayedSwarm, plan: SwarmPlan) -> None:
    await swarm.start()
    for number in range(plan.settling + plan.rounds):
        played = await swarm.play(number, Meter(loopback_bytes))
        if number >= plan.settling:
            _print_line(played.encode())


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


def _swarm(plan: SwarmPlan, folder: Path) -> PlayedSwarm:
    if plan.side == OURS:
        from node.bench.gossip.ours import OurSwarm
        from swarm.network.dht_validator import install_depth_guard

        install_depth_guard()
        return OurSwarm(plan, folder)
    from node.bench.gossip.reference import ReferenceSwarm

    return ReferenceSwarm(plan, folder)


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    plan = SwarmPlan.decode(sys.argv[1])
    own = enter_own_network()  # before the lifeline: a change of rights cuts it
    die_with_parent()
    _print_line(OWN_NETWORK if own else SHARED_NETWORK)
    with tempfile.TemporaryDirectory(prefix="murmur-bench-") as folder:
        asyncio.run(play(plan, Path(folder)))


if __name__ == "__main__":
    main()
