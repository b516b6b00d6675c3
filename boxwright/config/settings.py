"""The base of every section of the settings: frozen, unknown keys are mistakes, changes make new settings."""

from typing import TYPE_CHECKING, Any, NoReturn, Self

from pydantic import BaseModel, ConfigDict

from boxwright.config.changes import write_changes
from boxwright.config.mistakes import checked
from boxwright.errors import ConfigError


class Settings(BaseModel):
    """Frozen, compared by value, unknown keys refused. A mistake in `with_` or an assignment is a ConfigError."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=4096, use_attribute_docstrings=True
    )

    def with_(self, *texts: str, **values: Any) -> Self:
        """The same settings with other values, checked as a whole. `self` stays as it is.

        `texts` are dotted paths with values in YAML, as on the command line: `config.with_("train.lr=0.01")`. A part
        that is off is switched on by setting something in it; a new `kind` starts its part afresh from the defaults.
        `values` are Python's, for settings of this section: `conventions.with_(box_offset=1)`.
        """
        content = self.model_dump(mode="json")
        write_changes(content, texts)
        return checked(type(self), content | values, where="overrides" if texts else type(self).__name__)

    if not TYPE_CHECKING:  # a type checker would read these as: any name may be assigned

        def __setattr__(self, name: str, value: Any) -> NoReturn:
            raise ConfigError(
                f"{type(self).__name__}.{name} cannot be changed in place: settings are frozen; "
                f"with_({name}=...) returns others, and config.with_('dotted.path=value') a whole config"
            )

        def __delattr__(self, name: str) -> NoReturn:
            self.__setattr__(name, None)
