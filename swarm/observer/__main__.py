"""The observer process: orders on stdin, reports on stdout; it ends with its parent. See `swarm.observer.ipc`."""

from __future__ import annotations

from swarm.extras import missing_libp2p
from swarm.observer.ipc import Down, tell
from swarm.process import die_with_parent, end_quickly


def main() -> None:
    die_with_parent()
    end_quickly()
    try:
        from swarm.observer.session import run
    except ImportError as error:
        return tell(Down(missing_libp2p(str(error))))
    run()


if __name__ == "__main__":
    main()
