"""The command ``integrand``: reads the first word, hands the rest to that command's module, and reports errors.

This head imports neither torch nor anything else that takes time, so that help, lists and hints on a typing error
answer at once. A new command is a line in ``COMMANDS`` and a file in ``commands/``.
"""

import errno
import importlib
import os
import sys
from dataclasses import dataclass

from integrand.core.errors import InputError, unknown

USER_ERROR = 2  # exit code of a mistake the user can cure; 1 is one of ours
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
BROKEN_PIPE = 141  # 128 + SIGPIPE


@dataclass(frozen=True)
class Command:
    """A command: its name, one line of help, and the module whose ``run(arguments) -> int`` carries it out."""

    name: str
    summary: str
    module: str


_COMMANDS = (
    Command(
        "list", "show applications, recipes, models, data sets, simulators, methods", "integrand.apps.commands.list"
    ),
    Command("train", "train a model and leave a run folder with a report", "integrand.apps.commands.train"),
    Command(
        "evaluate", "measure a run's model on its test data, beside the baselines", "integrand.apps.commands.evaluate"
    ),
    Command("predict", "apply a run's model to a file", "integrand.apps.commands.predict"),
    Command("sample", "draw samples with a run's generative model", "integrand.apps.commands.sample"),
    Command(
        "likelihood", "tell how likely a file's samples are to a run's model", "integrand.apps.commands.likelihood"
    ),
    Command(
        "distill", "train a flow map that draws a run's samples in few evaluations", "integrand.apps.commands.distill"
    ),
    Command("inpaint", "fill in what is missing of a file's samples", "integrand.apps.commands.inpaint"),
    Command("identify", "tell the constants of a learned equation with intervals", "integrand.apps.commands.identify"),
    Command("analyze", "tell what a run's model solves and how far to rely on it", "integrand.apps.commands.analyze"),
    Command("convert", "turn an exported torch network into differential equations", "integrand.apps.commands.convert"),
    Command("export", "write a run's weights and description for others to load", "integrand.apps.commands.export"),
    Command("report", "write the report of one run, or one that compares several", "integrand.apps.commands.report"),
    Command("data", "list, describe, download, check and simulate data sets", "integrand.apps.commands.data"),
    Command("explain", "tell which equation an architecture is", "integrand.apps.commands.explain"),
    Command("doctor", "check Python, packages, devices and folders", "integrand.apps.commands.doctor"),
)
COMMANDS: dict[str, Command] = {command.name: command for command in _COMMANDS}

EXAMPLES = (
    ("integrand train timeseries", "the default run, on data that come with the package"),
    ("integrand list recipes", "what else can be trained"),
    ("integrand train timeseries --help", "its options"),
    ("integrand predict RUN --input FILE.csv", "forecast a file with what was trained"),
    ("integrand sample RUN --count 64", "draw samples with a generative model"),
)
OPTIONS = (
    ("-h, --help", "show this help; after a command, that command's"),
    ("--version", "show the version"),
    ("--debug", "show the traceback of an error; may stand anywhere"),
)

CURES = {
    errno.ENOSPC: "make room, or work in a folder on another disk",
    errno.EDQUOT: "make room, or work in a folder on another disk",
    errno.EACCES: "change its permissions, or choose a folder that you may write to",
    errno.EPERM: "change its permissions, or choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file, not a folder",
    errno.EEXIST: "move it away, or choose another name",
    errno.EMFILE: "close other programs, or raise the limit with 'ulimit -n'",
}
"""What cures the errors of the operating system that are the user's to cure."""


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line, ``sys.argv``'s where none is given, and return the exit code.

    0 is success, 2 a mistake of the user's, 1 any other error, 130 an interrupt from the keyboard. Errors are one line
    on stderr, or the traceback where ``--debug`` is among the words before a ``--``.
    """
    debug, words = _take_debug(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(words)
        sys.stdout.flush()  # here, where a reader that went away is still our business
    except BrokenPipeError:
        # What is left in the buffer would raise again at exit; it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:
        line, code = _explain(error)
        if debug:
            import traceback

            line = traceback.format_exc().rstrip()
        print(line, file=sys.stderr)
    return code


def _take_debug(words: list[str]) -> tuple[bool, list[str]]:
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return len(kept) < end, kept + words[end:]


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        from integrand import __version__

        print(f"integrand {__version__}")
        return 0
    if words[0].startswith("-"):
        raise unknown("option", words[0], ["--help", "--version", "--debug"])
    if words[0] not in COMMANDS:
        raise _unknown_command(words[0])
    command = COMMANDS[words[0]]
    try:
        return importlib.import_module(command.module).run(words[1:])
    except SystemExit as stop:  # how argparse and jsonargparse end after their help or an error
        if isinstance(stop.code, str):
            raise InputError(stop.code) from stop
        return stop.code or 0


def _unknown_command(word: str) -> InputError:
    from integrand.apps.registry import APPLICATIONS

    if word in APPLICATIONS:
        return InputError(f"{word!r} is an application, not a command: did you mean 'integrand train {word}'?")
    return unknown("command", word, COMMANDS)


def _help() -> str:
    from integrand.apps.commands.columns import columns

    return "\n".join(
        (
            "integrand: train, apply and audit models that are differential equations",
            "",
            "usage: integrand COMMAND [ARGUMENTS]",
            "",
            "commands:",
            columns([(command.name, command.summary) for command in COMMANDS.values()]),
            "",
            "options:",
            columns(OPTIONS),
            "",
            "examples:",
            columns(EXAMPLES),
        )
    )


def _explain(error: Exception | KeyboardInterrupt) -> tuple[str, int]:
    """Return the line that tells of ``error``, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    message = " ".join(str(error).split("\n")).strip()
    if isinstance(error, InputError):
        return f"error: {message}", USER_ERROR
    if isinstance(error, OSError) and error.errno in CURES:
        place = f": {error.filename}" if error.filename else ""
        return f"error: {error.strerror}{place}: {CURES[error.errno]}.", USER_ERROR
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return f"error: {told} (run again with --debug for the traceback)", 1
