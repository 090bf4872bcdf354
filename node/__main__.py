"""The entry point of `murmur` and of `python -m node`: signals are met before anything large is imported."""

from node.ui.interrupts import end_at_once


def main() -> None:
    """Runs the command and ends the process with its exit code."""
    end_at_once()
    from node.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
