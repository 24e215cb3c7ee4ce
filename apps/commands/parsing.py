"""Arguments of the light commands: argparse, with errors that name the nearest word and the cure.

The commands that take a configuration (``train``) use jsonargparse; the others have a few options each, and argparse
costs them nothing.
"""

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from integrand.core.errors import InputError, unknown

_NUMBER = re.compile(r"-\.?\d")
_REQUIRED = re.compile(r"the following arguments are required: (.*)")


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises ``InputError`` where argparse prints its usage and exits.

    Options are never abbreviated. An unknown option is reported before a missing argument, for it may be that
    argument misspelt.

    Args:
        prog: the command as the user types it, such as ``"integrand data"``.
        description: what the command does, one line.
        examples: whole command lines, shown at the end of the help.

    Example:
        >>> parser = CommandParser("integrand predict", description="Forecast a file.")
        >>> _ = parser.add_argument("--input")
        >>> parser.parse_args(["--inptu", "a.csv"])
        Traceback (most recent call last):
        integrand.core.errors.InputError: unknown option '--inptu': did you mean '--input'? Known: --help, --input.
    """

    _words: list[str] | None = None

    def __init__(self, prog: str, *, description: str, examples: Sequence[str] = ()) -> None:
        epilog = "examples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    # Any in the next two, for argparse overloads them by the type of the namespace.

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Parse ``args``, a list of words; every word must be known.

        Raises:
            InputError: an unknown option, a missing or superfluous argument, a value of the wrong type or choice.
        """
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            self._refuse_unknown_option(rest)
            word = next((word for word in rest if word != "--"), "--")
            raise InputError(f"unexpected argument {word!r}: {self._see_help()}")
        return found

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Parse ``args`` as argparse does, remembering them for the message of an error."""
        self._words = None if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise argparse's ``message`` as an ``InputError`` with a cure."""
        self._refuse_unknown_option(self._words or ())
        if required := _REQUIRED.fullmatch(message):
            raise InputError(self._missing(required[1].split(", ")))
        message = message.removeprefix("argument ")
        raise InputError(f"{message}; {self._see_help()}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            kind = action.option_strings[-1].lstrip("-") if action.option_strings else action.dest
            raise unknown(kind, str(value), map(str, action.choices))

    def _refuse_unknown_option(self, words: Sequence[str]) -> None:
        options = {text: action for action in self._actions for text in action.option_strings}
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            looks_like_one = len(word) > 1 and word.startswith("-") and not _NUMBER.match(word)
            if looks_like_one and name not in options and not (word[1] != "-" and word[:2] in options):
                raise unknown("option", name, [text for text in options if text.startswith("--")])

    def _missing(self, names: list[str]) -> str:
        helps = {}
        for action in self._actions:
            metavar = action.metavar if isinstance(action.metavar, str) else action.dest
            helps["/".join(action.option_strings) or metavar] = action.help
        told = [f"{name} ({helps[name]})" if helps.get(name) else name for name in names]
        return f"missing {' and '.join(told)}: {self._see_help()}"

    def _see_help(self) -> str:
        return f"see '{self.prog} --help'."
