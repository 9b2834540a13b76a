"""Validation whose messages are one line: the key, the value and what is allowed."""

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from wbc.config.files import ConfigError


def hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def listed(names) -> str:
    return ", ".join(sorted(map(str, names))) or "none"


def validate(schema: type[BaseModel], values: Any, prefix: str = "") -> Any:
    try:
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        raise ConfigError(prefix + _one_line(schema, error.errors()[0])) from None


def _one_line(schema: type[BaseModel], error: dict[str, Any]) -> str:
    """The first complaint of pydantic as `key = value: what is allowed`."""
    *parents, last = [str(part) for part in error["loc"] if part != "[key]"] or [""]
    key, value = ".".join([*parents, last]), error["input"]
    if error["type"] == "extra_forbidden":
        known = _keys(schema, parents)
        return f"{key} = {value!r}: unknown key; allowed: {', '.join(known)}{hint(last, known)}"
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "value_error":  # of several keys
        return f"{key}.{error['msg'].removeprefix('Value error, ')}"
    message = error["msg"].removeprefix("Input should be ")
    return f"{key} = {value!r}: should be {message}" if "Input" in error["msg"] else f"{key} = {value!r}: {message}"


def _keys(schema: type[BaseModel], parents: list[str]) -> list[str]:
    for parent in parents:
        fields = getattr(schema, "model_fields", None)
        schema = fields[parent].annotation if fields else get_args(schema)[1]  # of a dict its values'
    return list(schema.model_fields)
