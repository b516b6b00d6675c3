"""The names that a checkpoint's pickle may mention, and what stands for each.

The table is the whole list: a name outside it is refused. Nothing here imports, finds or calls anything by a name
from the file; each row is a function of ours that checks its arguments and builds plain data.
"""

from typing import Any

from boxwright.interop.files.pickle_numbers import DTYPES, NUMBER_BUILDERS, STORAGES
from boxwright.interop.files.pickle_values import REMEDY, Blob, Builder, Context, Global, PendingOpaque, as_bytes

_LONGEST_KEY = 4_096  # what is longer costs time each time it is compared
_COUNTED = 2**20  # numbers below are counts, epochs and indices

__all__ = ["BUILDERS", "DTYPES", "INERT", "KNOWN", "STORAGES", "check_key", "today"]


def _container(make: type) -> Builder:
    def build(context: Context, name: str, arguments: tuple[Any, ...]) -> Any:
        match arguments:
            case ():
                return make()
            case (list() | tuple() | set() as items,):
                context.budget.take(64 * len(items), "a copy of a list")
                return make(items) if make is not set else {check_key(item, context) for item in items}
        raise context.misfit(name, arguments)

    return build


def check_key(key: Any, context: Context) -> Any:
    """A dict key or set member: a short plain value, whose hash costs nothing.

    Numbers and tuples can be chosen so that their hashes collide, and each costs as much as there are before it. So
    there may be few of them; small numbers are free, and Python gives texts hashes that no file can know.
    """
    if isinstance(key, str | bytes) and len(key) <= _LONGEST_KEY:
        return key
    if key is None or (isinstance(key, int) and abs(key) < _COUNTED):
        return key
    if isinstance(key, float) or (type(key) is int and abs(key) < 2**64):
        context.budget.take_crafted(1)
        return key
    if type(key) is tuple and len(key) <= 16 and all(_is_short(part) for part in key):
        context.budget.take_crafted(len(key) + 1)
        return key
    raise context.source.damaged(
        f"a {type(key).__name__} cannot be a key of a dict or a member of a set, or is too long"
    )


def _is_short(part: Any) -> bool:
    return type(part) in (bool, float) or (type(part) is str and len(part) <= 100) or type(part) is int


def _mapping(context: Context, name: str, arguments: tuple[Any, ...]) -> Any:
    """dict, OrderedDict, Counter, ConfigDict and so on: a plain dict; attributes that such a class adds are dropped."""
    match arguments:
        case () | (None,):
            return {}
        case (dict() as items,):
            return items
        case (list() | tuple() as pairs,) if all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            context.budget.take(100 * len(pairs), "a dict")
            return {check_key(key, context): value for key, value in pairs}
    raise context.misfit(name, arguments)


def _default_dict(context: Context, name: str, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) <= 1:
        return {}  # what a missing key would give is of no use to a reader
    return _mapping(context, name, arguments[1:])


def _deque(context: Context, name: str, arguments: tuple[Any, ...]) -> Any:
    return _container(list)(context, name, arguments[:1])


def _encode(context: Context, name: str, arguments: tuple[Any, ...]) -> bytes:
    """_codecs.encode(text, "latin1"): how Python 3 writes bytes so that Python 2 can read them."""
    match arguments:
        case (str() | Blob() as text, *codec) if codec in (["latin1"], ["latin-1"], ["iso-8859-1"]):
            context.budget.take(len(text.buffer) if isinstance(text, Blob) else len(text), "a string of bytes")
            encoded = as_bytes(text)
            if encoded is not None:
                return encoded
    raise context.misfit(name, arguments)


def _bytes(context: Context, name: str, arguments: tuple[Any, ...]) -> bytes:
    match arguments:
        case ():
            return b""
        case (str() | bytes() | Blob() as text, *_) if (encoded := as_bytes(text)) is not None:
            context.budget.take(len(encoded), "a string of bytes")
            return encoded
    raise context.misfit(name, arguments)


def _complex(context: Context, name: str, arguments: tuple[Any, ...]) -> complex:
    match arguments:
        case (int() | float() as real, int() | float() as imaginary) if max(abs(real), abs(imaginary)) < 1e300:
            return complex(real, imaginary)
    raise context.misfit(name, arguments)


def _opaque(context: Context, name: str, arguments: tuple[Any, ...]) -> PendingOpaque:
    return PendingOpaque(name, arguments)


def _attribute(context: Context, name: str, arguments: tuple[Any, ...]) -> PendingOpaque:
    """getattr(a known inert class, name): mmengine stores methods of its log buffers so. It becomes their name."""
    match arguments:
        case (Global(name=owner), str() as attribute) if owner in INERT:
            return PendingOpaque(f"{owner}.{attribute}", ())
    raise context.source.unsafe(
        "builtins.getattr is used on something else than a known log buffer",
        "This could reach code. " + REMEDY,
    )


def _reconstruct(context: Context, name: str, arguments: tuple[Any, ...]) -> Any:
    """How the text protocols write an object: (its class, the built-in class below it, that one's value)."""
    match arguments:
        case (Global(name=kind), Global(name="builtins.dict"), dict() as items) if kind in _DICTS:
            return items
        case (Global(name=kind), Global(name="builtins.object"), None) if kind in INERT:
            return PendingOpaque(kind, ())
    raise context.misfit(name, arguments)


# Classes that are dicts with dots; what they hold is kept.
_DICTS = (
    "collections.OrderedDict",
    "collections.Counter",
    "addict.Dict",
    "addict.addict.Dict",
    "easydict.EasyDict",
    "mmcv.utils.config.ConfigDict",
    "mmengine.config.config.ConfigDict",
    "mmengine.config.ConfigDict",
    "yacs.config.CfgNode",
    "fvcore.common.config.CfgNode",
    "detectron2.config.config.CfgNode",
    "detectron.utils.collections.AttrDict",
    "utils.collections.AttrDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
)

# Classes found beside the weights in published and in users' checkpoints: kept as data without behaviour.
INERT = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.config.config.Config",
    "mmcv.utils.config.Config",
    "argparse.Namespace",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "datetime.datetime",
    "datetime.date",
    "datetime.timedelta",
)

BUILDERS: dict[str, Builder] = {
    **NUMBER_BUILDERS,
    **dict.fromkeys(_DICTS, _mapping),
    **dict.fromkeys(INERT, _opaque),
    "builtins.dict": _mapping,
    "builtins.list": _container(list),
    "builtins.tuple": _container(tuple),
    "builtins.set": _container(set),
    "builtins.frozenset": _container(set),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.complex": _complex,
    "builtins.getattr": _attribute,
    "collections.defaultdict": _default_dict,
    "collections.deque": _deque,
    "copyreg._reconstructor": _reconstruct,
    "_codecs.encode": _encode,
}

# Classes that are only mentioned: as the class of an array, or as the default of a dict.
_MENTIONED = {"numpy.ndarray", "builtins.object", "builtins.int", "builtins.float", "builtins.str", "builtins.bool"}

KNOWN = frozenset(BUILDERS) | frozenset(STORAGES) | _MENTIONED

_MOVED = (  # prefixes of modules that changed their name
    ("numpy._core.", "numpy.core."),
    ("torch.cuda.", "torch."),
    ("__builtin__.", "builtins."),
    ("copy_reg.", "copyreg."),
)
_RENAMED = {
    "builtins.unicode": "builtins.str",
    "builtins.long": "builtins.int",
    "torch.nn.Parameter": "torch.nn.parameter.Parameter",
}


def today(name: str) -> str:
    """The present name of what older versions called otherwise."""
    for old, new in _MOVED:
        if name.startswith(old):
            name = new + name.removeprefix(old)
    return _RENAMED.get(name, name)
