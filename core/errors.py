"""Errors a user can cure, and hints for words that are nearly right.

Free of torch, so that the command line answers at once.
"""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches


class InputError(ValueError):
    """A mistake in what the user gave: one line that names the thing, its value and the cure.

    The command line prints the message alone and exits with code 2; as a ``ValueError`` it reads the same from Python.
    """


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the one of ``words`` most like ``word``, or None where nothing comes close."""
    by_lower = {known.lower(): known for known in words}
    close = set(get_close_matches(word.lower(), by_lower, n=max(1, len(by_lower)), cutoff=0.5))
    close |= {known for known in by_lower if len(word) > 2 and known.startswith(word.lower())}
    likeness = {known: SequenceMatcher(None, known, word.lower()).ratio() for known in by_lower if known in close}
    # Of words equally like, the first: lists begin with what is most often meant.
    return by_lower[max(likeness, key=likeness.__getitem__)] if likeness else None


def unknown(kind: str, word: str, words: Iterable[str]) -> InputError:
    """Build the error for a name that is not among the known ones.

    Args:
        kind: what the word should have been, such as ``"recipe"``.
        word: what was given.
        words: the names that are known.

    Example:
        >>> str(unknown("method", "dopri", ["dopri5", "rk4"]))
        "unknown method 'dopri': did you mean 'dopri5'? Known: dopri5, rk4."
    """
    known = list(words)
    close = nearest(word, known)
    hint = f": did you mean {close!r}?" if close else "."
    return InputError(f"unknown {kind} {word!r}{hint} Known: {listed(known)}.")


def listed(names: Iterable[str], most: int = 16) -> str:
    """Return names in one line, of many the first few and how many there are besides.

    Example:
        >>> listed("abc", most=3), listed("abcd", most=3), listed("")
        ('a, b, c', 'a, b, c and 1 more', 'none')
    """
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return (", ".join(every[:most]) or "none") + more


def first_line(error: Exception, *, skip: int = 0) -> str:
    """Return the first line of an error's message without its full stop, or a later one; its type where there is none.

    Args:
        error: of another library, to be told within a line of ours.
        skip: lines left out before, as far as another follows.

    Example:
        >>> first_line(ValueError("no such lead.\\n  at 3")), first_line(KeyError())
        ('no such lead', 'KeyError')
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[min(skip, len(lines) - 1)].rstrip(".:")
