"""Running sums over pictures: what is needed of any number of them, in a few kilobytes.

Sums add up. In whatever order and grouping that is done, on one machine or on many, they say the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import AestheticError

_EXAMPLES = 100  # (file, reason) that are kept of what could not be read
_REASONS = 50  # different reasons that are counted apart
_OTHER = "other reasons"


@dataclass(frozen=True)
class Skipped:
    """What could not be read: counted by reason, and the first of it by name.

    Attributes:
        reasons: Reason, without its details -> how often; at most 50.
        examples: (file, reason), in alphabetical order; the first 100.
    """

    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[tuple[str, str], ...] = ()

    @classmethod
    def one(cls, file: str, reason: str) -> Skipped:
        return cls({reason.partition(":")[0][:100]: 1}, ((file, reason),))

    @property
    def count(self) -> int:
        return sum(self.reasons.values())

    def __add__(self, other: Skipped) -> Skipped:
        counts = Counter(self.reasons) + Counter(other.reasons)
        kept = dict(counts.most_common(_REASONS))
        if rest := counts.total() - sum(kept.values()):
            kept[_OTHER] = kept.get(_OTHER, 0) + rest
        return Skipped(kept, tuple(sorted((*self.examples, *other.examples))[:_EXAMPLES]))


@dataclass(frozen=True, eq=False)
class Sums:
    """Of `count` pictures with features x_i: `total = sum_i x_i` and `units = sum_i x_i / ||x_i||`.

    Attributes:
        count: The number of pictures.
        total: `[dim]`, fp64; empty where there is no picture.
        units: `[dim]`, fp64; empty where there is no picture.
        skipped: What could not be read.
    """

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    units: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    skipped: Skipped = Skipped()

    @classmethod
    def of(cls, features: Tensor) -> Sums:
        """features: `[count, dim]`, of any float dtype."""
        x = features.double()
        scales = 1 / torch.linalg.vector_norm(x, dim=1).clamp_min(torch.finfo(x.dtype).tiny)
        total, units = torch.stack([torch.ones_like(scales), scales]) @ x
        return cls(len(x), total, units)

    def __add__(self, other: Sums) -> Sums:
        """Raises AestheticError where the features of the two have different dimensions."""
        skipped = self.skipped + other.skipped
        if not self.count or not other.count:
            some = self if self.count else other
            return Sums(some.count, some.total, some.units, skipped)
        if len(self.total) != len(other.total):
            raise AestheticError(
                f"Some features have {len(self.total)} numbers, others {len(other.total)}: they are of different "
                "CLIPs. Make an aesthetic of each apart."
            )
        return Sums(self.count + other.count, self.total + other.total, self.units + other.units, skipped)

    @property
    def mean(self) -> Tensor:
        """`[dim]`, fp64: the aesthetic embedding (arXiv 2209.12330, section 3)."""
        return self.total / self.count

    @property
    def similarity_to_mean(self) -> float:
        """The mean over pictures of their cosine with `mean`: how alike they are."""
        return float(self.units @ self.total / self.total.norm()) / self.count

    @property
    def similarity_of_pairs(self) -> float:
        """The mean cosine of two different pictures; 1 for a single one."""
        n = self.count
        return (float(self.units @ self.units) - n) / (n * (n - 1)) if n > 1 else 1.0
