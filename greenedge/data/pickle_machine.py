"""An interpreter of pickles that never calls a function that a pickle names.

Python's own interpreter looks functions up and calls them, trusts the lengths in a file, and hashes, compares and
destroys values however deeply a file nests them. This one knows plain values and a table of names, each with a function
of greenedge that checks its arguments. It reads no more than the file holds, and builds nothing larger.
"""

from __future__ import annotations

import pickle
import struct
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

# Bytes of a whole number; Python's own conversion to text stops at twice as many digits.
_MAX_NUMBER = 1000
# Items of a tuple that is a key.
_MAX_KEY = 16
_MAX_DEPTH = 100
_SCALARS = (str, bytes, int, float, bool, type(None))


class PickleError(ValueError):
    """A pickle that cannot be read; the message is a fragment such as `is damaged or not a pickle (...)`."""


class Pending(ABC):
    """A value that a name's function has begun and that the instruction BUILD completes."""

    @abstractmethod
    def build(self, state: Any) -> Any:
        """Returns the complete value, which replaces this one."""


class Named:
    """A name in a pickle, and the function that is called when the pickle calls it.

    Args:
        name: as in the file.
        call: called with the arguments as a tuple; None: the pickle may not call it.
    """

    def __init__(self, name: str, call: Callable[[tuple[Any, ...]], Any] | None = None) -> None:
        self.name, self.call = name, call


class Budget:
    """The bytes that the functions of a table may build, so that repeated parts of a file cannot fill the memory."""

    def __init__(self, size: int) -> None:
        # Bytes of old pickles are built twice: decoded, and turned into a number.
        self._left = 2 * size + 1024

    def spend(self, amount: int) -> None:
        """Takes `amount` bytes.

        Raises:
            PickleError: more is used than the file's size allows.
        """
        self._left -= amount
        if self._left < 0:
            raise PickleError("is damaged: it expands to more than its size")


class PickleMachine:
    """Runs one pickle.

    Args:
        file: positioned at the pickle's start.
        size: bytes from there to the file's end.
        named: (module, name) -> a value, or a `Named`, that replaces it.
        elsewhere: returns the object of a persistent identifier, kept outside the pickle; None: there are none.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        named: Mapping[tuple[str, str], Any],
        elsewhere: Callable[[Any], Any] | None = None,
    ) -> None:
        self._file, self._left = file, size
        self._named, self._elsewhere = named, elsewhere
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        # id of a pending value -> its places in the memo
        self._places: dict[int, list[int]] = {}

    def run(self) -> Any:
        """Returns the pickle's value, whose content `check_plain` has to check.

        Raises:
            PickleError: it is damaged, or names something that is not in the table.
        """
        try:
            while (code := self._read(1)) != pickle.STOP:
                instruction = _INSTRUCTIONS.get(code)
                if instruction is None:
                    raise _damaged(f"instruction {code[0]}")
                instruction(self)
            value = self._stack.pop()
        except PickleError:
            raise
        except (ValueError, LookupError, TypeError, ArithmeticError, MemoryError, struct.error) as error:
            raise _damaged(type(error).__name__) from None
        if self._stack or self._marks:
            raise _damaged("values are left over")
        return value

    @property
    def left(self) -> int:
        """The number of bytes after the pickle."""
        return self._left

    def _read(self, count: int) -> bytes:
        if count > self._left:
            raise _damaged("it is truncated")
        self._left -= count
        content = self._file.read(count)
        if len(content) != count:
            raise _damaged("it is truncated")
        return content

    def _counted(self, kind: str) -> bytes:
        return self._read(self._number(kind))

    def _number(self, kind: str) -> Any:
        return struct.unpack(kind, self._read(struct.calcsize(kind)))[0]

    def _line(self) -> bytes:
        line = self._file.readline(self._left)
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise _damaged("it is truncated")
        return line[:-1]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if self._marks and len(self._stack) <= self._marks[-1]:
            raise _damaged("its stack is empty")
        return self._stack.pop()

    def _popped_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _mark(self) -> None:
        if len(self._marks) >= _MAX_DEPTH:
            raise PickleError("is nested too deeply")
        self._marks.append(len(self._stack))

    def _put(self, place: int) -> None:
        value = self._memo[place] = self._stack[-1]
        if isinstance(value, Pending):
            self._places.setdefault(id(value), []).append(place)

    def _get(self, place: int) -> None:
        value = self._memo[place]
        if isinstance(value, Pending):
            raise PickleError("holds an array within itself")
        self._push(value)

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise _damaged("it appends to something that is not a list")
        target.extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise _damaged("it sets keys of something that is not a dict")
        self._fill(target, items)

    def _fill(self, target: dict[Any, Any], items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_checked_key(key)] = value

    def _dict(self) -> None:
        items, target = self._popped_to_mark(), dict[Any, Any]()
        self._fill(target, items)
        self._push(target)

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(items)))

    def _whole(self, content: bytes) -> None:
        if len(content) > _MAX_NUMBER:
            raise PickleError(f"is damaged: it holds a whole number of {len(content)} bytes")
        self._push(int.from_bytes(content, "little", signed=True))

    def _whole_text(self) -> None:
        text = self._line()
        if len(text) > 2 * _MAX_NUMBER:
            raise PickleError(f"is damaged: it holds a whole number of {len(text)} digits")
        self._push({b"00": False, b"01": True}[text] if text in (b"00", b"01") else int(text.rstrip(b"L")))

    def _text(self, content: bytes) -> None:
        self._push(content.decode("utf-8", "surrogatepass"))

    def _old_text(self, content: bytes) -> None:
        """Pushes a text of Python 2, which may be bytes."""
        self._push(content.decode("ascii") if content.isascii() else content)

    def _quoted(self) -> None:
        line = self._line()
        if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
            raise _damaged("a text without quotes")
        self._old_text(line[1:-1].decode("unicode_escape").encode("latin-1"))

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise _damaged("a name that is not a text")
        if (module, name) not in self._named:
            raise refused(f"{module}.{name}")
        self._push(self._named[module, name])

    def _name_lines(self) -> None:
        module, name = self._line().decode(), self._line().decode()
        self._name(module, name)

    def _name_on_stack(self) -> None:
        name, module = self._pop(), self._pop()
        self._name(module, name)

    def _reduce(self) -> None:
        arguments, target = self._pop(), self._pop()
        if not isinstance(target, Named) or not isinstance(arguments, tuple):
            raise _damaged("it calls something that is not a name")
        if target.call is None:
            raise refused(target.name)
        self._push(target.call(arguments))

    def _build(self) -> None:
        state, begun = self._pop(), self._pop()
        # The attributes of such a dict, like the versions in a state dict, are not needed.
        if isinstance(begun, OrderedDict):
            self._push(begun)
            return
        if not isinstance(begun, Pending):
            raise _damaged("it completes a value that is complete")
        complete = begun.build(state)
        for place in self._places.pop(id(begun), []):
            self._memo[place] = complete
        self._push(complete)

    def _kept_elsewhere(self, identifier: Any) -> None:
        if self._elsewhere is None:
            raise refused("an object kept elsewhere")
        self._push(self._elsewhere(identifier))


def check_plain(value: Any, leaves: tuple[type, ...], size: int) -> None:
    """Checks that a pickle's value is a tree of limited depth and size whose leaves have known types.

    A part may occur in several places, but with each occurrence counted, the value must not exceed a hundred times the
    pickle's size, since programs that print, compare or hash it visit every occurrence.

    Args:
        value: of a `PickleMachine`.
        leaves: the types of values that contain no others.
        size: of the pickle in bytes.

    Raises:
        PickleError: the value is too deep or too large, contains itself, or has a leaf of another type.
    """
    holder = [value]
    # By the id of each part that is done; the ids are unique, since the pickle's value keeps all parts alive.
    sizes: dict[int, int] = {}
    heights: dict[int, int] = {}
    waiting: list[tuple[Any, bool]] = [(holder, False)]
    opened: set[int] = set()
    while waiting:
        part, done = waiting.pop()
        if done:
            opened.discard(id(part))
            children = _children(part)
            inner = [id(child) for child in children if _is_container(child)]
            sizes[id(part)] = 1 + len(children) + sum(sizes[each] for each in inner)
            heights[id(part)] = 1 + max((heights[each] for each in inner), default=0)
            if heights[id(part)] > _MAX_DEPTH:
                raise PickleError("is nested too deeply")
            if sizes[id(part)] > 100 * size + 1_000_000:
                raise PickleError("is damaged: it expands to more than its size")
            continue

        if id(part) in sizes:
            continue
        if id(part) in opened:
            raise PickleError("contains itself")
        opened.add(id(part))
        if len(opened) > _MAX_DEPTH:
            raise PickleError("is nested too deeply")

        waiting.append((part, True))
        for child in _children(part):
            if _is_container(child):
                waiting.append((child, False))
            elif not isinstance(child, _SCALARS) and not isinstance(child, leaves):
                raise refused(child.name) if isinstance(child, Named) else _damaged(f"a lone {type(child).__name__}")


def refused(name: str) -> PickleError:
    """Returns the error for a pickle that names something other than plain values."""
    shown = name if len(name) <= 100 else f"{name[:60]}...{name[-20:]}"
    return PickleError(f"names {shown}")


def _is_container(value: Any) -> bool:
    return isinstance(value, list | tuple | dict) or getattr(getattr(value, "dtype", None), "kind", "") == "O"


def _children(part: Any) -> Any:
    if isinstance(part, dict):
        return part.values()
    return part if isinstance(part, list | tuple) else part.ravel().tolist()


def _checked_key(key: Any) -> Any:
    """Returns a key after checking that it is quick to hash: a scalar, or a short tuple of scalars."""
    items = key if type(key) is tuple and len(key) <= _MAX_KEY else (key,)
    for item in items:
        if isinstance(item, int) and abs(item) >= 2**64:
            raise _damaged("a key with too many digits")
        if not isinstance(item, _SCALARS) and getattr(item, "shape", None) != ():
            raise PickleError(f"has a {type(item).__name__} for a key")
    return key


def _damaged(what: str) -> PickleError:
    return PickleError(f"is damaged or not a pickle ({what})")


_M = PickleMachine
_INSTRUCTIONS: dict[bytes, Callable[[PickleMachine], Any]] = {
    pickle.PROTO: lambda m: m._read(1),
    pickle.FRAME: lambda m: m._read(8),
    pickle.MARK: _M._mark,
    pickle.POP: lambda m: m._pop() if not m._marks or len(m._stack) > m._marks[-1] else m._marks.pop(),
    pickle.POP_MARK: _M._popped_to_mark,
    pickle.NONE: lambda m: m._push(None),
    pickle.NEWTRUE: lambda m: m._push(True),
    pickle.NEWFALSE: lambda m: m._push(False),
    pickle.INT: _M._whole_text,
    pickle.LONG: _M._whole_text,
    pickle.BININT: lambda m: m._push(m._number("<i")),
    pickle.BININT1: lambda m: m._push(m._number("<B")),
    pickle.BININT2: lambda m: m._push(m._number("<H")),
    pickle.LONG1: lambda m: m._whole(m._counted("<B")),
    pickle.LONG4: lambda m: m._whole(m._counted("<I")),
    pickle.FLOAT: lambda m: m._push(float(m._line())),
    pickle.BINFLOAT: lambda m: m._push(m._number(">d")),
    pickle.STRING: _M._quoted,
    pickle.SHORT_BINSTRING: lambda m: m._old_text(m._counted("<B")),
    pickle.BINSTRING: lambda m: m._old_text(m._counted("<I")),
    pickle.UNICODE: lambda m: m._push(m._line().decode("raw-unicode-escape")),
    pickle.SHORT_BINUNICODE: lambda m: m._text(m._counted("<B")),
    pickle.BINUNICODE: lambda m: m._text(m._counted("<I")),
    pickle.BINUNICODE8: lambda m: m._text(m._counted("<Q")),
    pickle.SHORT_BINBYTES: lambda m: m._push(m._counted("<B")),
    pickle.BINBYTES: lambda m: m._push(m._counted("<I")),
    pickle.BINBYTES8: lambda m: m._push(m._counted("<Q")),
    pickle.BYTEARRAY8: lambda m: m._push(m._counted("<Q")),
    pickle.EMPTY_LIST: lambda m: m._push([]),
    pickle.EMPTY_DICT: lambda m: m._push({}),
    pickle.EMPTY_TUPLE: lambda m: m._push(()),
    pickle.LIST: lambda m: m._push(m._popped_to_mark()),
    pickle.DICT: _M._dict,
    pickle.TUPLE: lambda m: m._push(tuple(m._popped_to_mark())),
    pickle.TUPLE1: lambda m: m._tuple(1),
    pickle.TUPLE2: lambda m: m._tuple(2),
    pickle.TUPLE3: lambda m: m._tuple(3),
    pickle.APPEND: lambda m: m._append([m._pop()]),
    pickle.APPENDS: lambda m: m._append(m._popped_to_mark()),
    pickle.SETITEM: lambda m: m._set([m._pop(), m._pop()][::-1]),
    pickle.SETITEMS: lambda m: m._set(m._popped_to_mark()),
    pickle.PUT: lambda m: m._put(int(m._line())),
    pickle.BINPUT: lambda m: m._put(m._number("<B")),
    pickle.LONG_BINPUT: lambda m: m._put(m._number("<I")),
    pickle.MEMOIZE: lambda m: m._put(len(m._memo)),
    pickle.GET: lambda m: m._get(int(m._line())),
    pickle.BINGET: lambda m: m._get(m._number("<B")),
    pickle.LONG_BINGET: lambda m: m._get(m._number("<I")),
    pickle.GLOBAL: _M._name_lines,
    # Instances of old protocols are refused by their name.
    pickle.INST: _M._name_lines,
    pickle.STACK_GLOBAL: _M._name_on_stack,
    pickle.REDUCE: _M._reduce,
    pickle.BUILD: _M._build,
    pickle.PERSID: lambda m: m._kept_elsewhere(m._line().decode("ascii")),
    pickle.BINPERSID: lambda m: m._kept_elsewhere(m._pop()),
}
