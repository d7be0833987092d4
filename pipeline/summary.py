"""The table at the end of a run: what each target got."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.gate import Verdict
