"""YAML in and out as plain data: no tags that build objects, no repeated keys, no alias bombs."""

from typing import Any

import yaml

from boxwright.errors import ConfigError

MAX_NODES = 200_000  # a zoo config has about 500; aliases that unfold into more are refused before they do


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: the first value would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.value in seen and isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} stands twice", key_node.start_mark
                )
            seen.add(key_node.value if isinstance(key_node, yaml.ScalarNode) else id(key_node))
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str, *, where: str) -> Any:
    """The content of one YAML document. Mistakes name `where`, the line and the column."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count_nodes(node, where)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{place}: {error.problem or error.context}") from error
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: not readable as YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: nested too deeply to be settings") from error


def write_yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _count_nodes(root: yaml.Node, where: str) -> None:
    """Counts nodes as if every alias were written out, and stops at MAX_NODES."""
    sizes: dict[int, int] = {}
    pending: list[tuple[yaml.Node, bool]] = [(root, False)]
    open_nodes: set[int] = set()
    while pending:
        node, children_done = pending.pop()
        children = _children(node)
        if children_done:
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
            open_nodes.discard(id(node))
            if sizes[id(node)] > MAX_NODES:
                raise ConfigError(f"{where}: more than {MAX_NODES} values once its aliases are written out")
        elif id(node) not in sizes:
            if id(node) in open_nodes:
                raise ConfigError(f"{where}: an alias refers to what contains it")
            open_nodes.add(id(node))
            pending.append((node, True))
            pending += [(child, False) for child in children if id(child) not in sizes]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return []
