"""The run-time check of signatures that `tests/conftest.py` puts around every function of the library."""

from __future__ import annotations

from typing import NamedTuple

from beartype import BeartypeConf, FrozenDict, beartype

# As static type checkers read them: an int will do for a float, and `NamedTuple` stands for any named tuple.
check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({NamedTuple: tuple})))
