"""Giving an object in use another class, and its own back.

That way ``wrap`` returns the object it was given: identity, ``isinstance``, attributes that others
set on it and its finalizers all stay. The subclass carries the name of the original.
"""

from __future__ import annotations

import types
from operator import attrgetter
from typing import Any, TypeVar

__all__ = ["mixed", "original", "rebuilt", "swap", "swap_back"]

_T = TypeVar("_T")


def _give_class(target: object, kind: type) -> None:
    object.__dict__["__class__"].__set__(target, kind)


# ``target.__class__`` goes on naming the class it had, for those who compare it; ``type(target)``
# tells the truth.
_ORIGINAL_CLASS = property(attrgetter("_holdfast_original"), _give_class)

# Never emptied: a class made here refers to its base anyway, and both are few.
_made: dict[tuple[type, type], type] = {}


def mixed(mixin: type[_T], base: type) -> type[_T]:
    """The subclass of ``base`` with ``mixin`` in front, made once."""
    made = _made.get((mixin, base))
    if made is None:
        names = {
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
            "__class__": _ORIGINAL_CLASS,
            "_holdfast_original": base,
        }
        fresh = types.new_class(base.__name__, (mixin, base), exec_body=lambda ns: ns.update(names))
        made = _made.setdefault((mixin, base), fresh)
    return made


def swap(target: Any, mixin: type) -> None:
    """Raises TypeError if Python cannot (another memory layout: C classes, ``__slots__``)."""
    target.__class__ = mixed(mixin, type(target))


def rebuilt(target: Any, mixin: type[_T]) -> _T:
    """A copy in the other class, for objects that nobody has seen yet. An object whose class was
    exchanged keeps its attributes in a dictionary from then on (CPython 3.11 and later), and each
    use of one costs more. So does one that was asked for its ``vars()``."""
    kind = mixed(mixin, type(target))
    copy = kind.__new__(kind)
    for name, value in vars(target).items():
        setattr(copy, name, value)
    return copy


def original(target: object) -> type | None:
    """The class it had before it was swapped; None if it never was."""
    return type(target).__dict__.get("_holdfast_original")


def swap_back(target: Any) -> None:
    base = original(target)
    if base is not None:
        target.__class__ = base
