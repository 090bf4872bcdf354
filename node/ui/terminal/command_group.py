"""Groups of commands whose help has each command's first paragraph whole: click cuts it at the window's edge."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from policies.error_words import no_such


class WholeSummaries(TyperGroup):
    """A group whose list of commands is told in as many lines as it takes."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each with the whole of its first paragraph."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [
            (name, " ".join((each.help or "").partition("\n\n")[0].split()))
            for name, each in commands
            if each
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Names all commands to whoever asks for one that there is not."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(no_such("command", name, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)
