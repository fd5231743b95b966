"""Where each value stands in a YAML file, as line and column. Duplicate keys and circles are refused on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import yaml

from greenroom.errors import WrongFile

Loc = tuple[int | str, ...]  # as pydantic names a place: ("rooms", 0, "creator")


class Places:
    """The places in one YAML text. Raises `wrong` if it is not YAML, has a key twice, contains itself, or has a NUL."""

    def __init__(self, text: str, source: str, wrong: type[WrongFile] = WrongFile) -> None:
        self.source = source
        self._wrong = wrong
        try:
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            raise self._wrong(_at(source, error.problem_mark), "", f"not YAML: {error.problem}") from None
        except yaml.YAMLError as error:
            raise self._wrong(source, "", f"not YAML: {' '.join(str(error).split())}") from None
        except RecursionError:
            raise self._wrong(source, "", "is nested too deeply") from None
        self._seen: set[int] = set()
        if self._root is not None:
            self._check(self._root, ())

    def of(self, loc: Sequence[int | str], *, key: bool = False) -> str:
        """Return `file:line:column` of a value, or with `key` of its key. An absent value has its parent's place."""
        if self._root is None:
            return self.source
        node: yaml.Node = self._root
        mark = node.start_mark
        for part in loc:
            found = next((one for one in _inside(node) if one[0] == part), None)
            if found is None:
                break
            _, name_node, node = found
            mark = name_node.start_mark if key and name_node is not None else node.start_mark
        return _at(self.source, mark)

    def written(self, loc: Sequence[int | str]) -> Loc:
        """Return a place as it is written: pydantic adds the names of types, such as `str` inside a text."""
        node: yaml.Node | None = self._root
        found: list[int | str] = []
        for part in loc:
            if node is not None and isinstance(part, int) != isinstance(node, yaml.SequenceNode):
                continue
            if isinstance(node, yaml.ScalarNode):
                continue
            found.append(part)
            node = next((inner for name, _, inner in _inside(node) if name == part), None) if node else None
        return tuple(found)

    def _check(self, node: yaml.Node, inside: tuple[yaml.Node, ...]) -> None:
        if any(node is outer for outer in inside):
            raise self._wrong(_at(self.source, node.start_mark), "", "contains itself")
        if id(node) in self._seen:  # an alias
            return
        if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
            raise self._wrong(_at(self.source, node.start_mark), "", "has the character NUL, which no value may have")
        if isinstance(node, yaml.MappingNode):
            first: dict[str, yaml.Node] = {}
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    if key.value in first:
                        line = first[key.value].start_mark.line + 1
                        problem = f"the field {key.value!r} stands here already, in line {line}"
                        raise self._wrong(_at(self.source, key.start_mark), "", problem)
                    first[key.value] = key
            for _, value in node.value:
                self._check(value, (*inside, node))
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                self._check(value, (*inside, node))
        self._seen.add(id(node))


def dotted(loc: Sequence[int | str]) -> str:
    """Return a place as text: `rooms[0].creator`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _inside(node: yaml.Node) -> Iterator[tuple[int | str, yaml.Node | None, yaml.Node]]:
    """Yield what a node holds, as (name, node of the name, node of the value); merged values come last."""
    if isinstance(node, yaml.SequenceNode):
        yield from ((index, None, value) for index, value in enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value != "<<":
                yield key.value, key, value
        for key, value in node.value:
            if key.value == "<<":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    yield from _inside(merged)


def _at(source: str, mark: yaml.Mark | None) -> str:
    return source if mark is None else f"{source}:{mark.line + 1}:{mark.column + 1}"
