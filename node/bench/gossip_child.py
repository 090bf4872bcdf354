"""`python -m node.bench.gossip_child PLAN`: plays one swarm and prints a line of JSON a measured round.

The first line says whether the network is its own. It ends when its standard input is closed, or with its parent.
Nothing that starts threads may be imported before the network is entered.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Protocol

from node.bench.gossip_plan import OURS, Meter, Plan, Round
from node.bench.netspace import enter_own_network, loopback_bytes
from swarm.lifeline import die_with_parent

OWN_NETWORK, SHARED_NETWORK = "own", "shared"  # the first line


class Swarm(Protocol):
    """All nodes of one side."""

    async def start(self) -> None: ...

    async def play(self, number: int, meter: Meter) -> Round: ...

    async def stop(self) -> None: ...


async def play(plan: Plan, folder: Path) -> None:
    """Starts the swarm, plays its rounds and stops it, whatever happens between."""
    swarm = _swarm(plan, folder)
    try:
        await swarm.start()
        for number in range(plan.settling + plan.rounds):
            played = await swarm.play(number, Meter(loopback_bytes))
            if number >= plan.settling:
                _say(played.encode())
    finally:
        await swarm.stop()


async def play_until_hung_up(plan: Plan, folder: Path) -> None:
    """`play`, cut short when the parent closes our standard input."""
    playing = asyncio.create_task(play(plan, folder))
    hung_up = asyncio.create_task(_end_of_input())
    await asyncio.wait({playing, hung_up}, return_when=asyncio.FIRST_COMPLETED)
    for task in (playing, hung_up):
        task.cancel()
    result, _ = await asyncio.gather(playing, hung_up, return_exceptions=True)
    if isinstance(result, Exception):
        raise result


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


def _swarm(plan: Plan, folder: Path) -> Swarm:
    if plan.side == OURS:
        from node.bench.gossip_ours import OurSwarm
        from swarm.validator import install_depth_guard

        install_depth_guard()
        return OurSwarm(plan, folder)
    from node.bench.gossip_reference import ReferenceSwarm

    return ReferenceSwarm(plan)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    plan = Plan.decode(sys.argv[1])
    own = enter_own_network()  # before the lifeline: a change of rights cuts it
    die_with_parent()
    _say(OWN_NETWORK if own else SHARED_NETWORK)
    with tempfile.TemporaryDirectory(prefix="murmur-bench-") as folder:
        asyncio.run(play_until_hung_up(plan, Path(folder)))


if __name__ == "__main__":
    main()
