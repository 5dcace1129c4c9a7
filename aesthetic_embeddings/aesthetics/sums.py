"""Running sums over pictures: a few kilobytes for any number of them.

Sums of parts add up to the sums of the whole, in any order and grouping, on one machine or on many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import AestheticError

_EXAMPLES = 100  # how many (file, reason) of unreadable pictures are kept
_REASONS = 50  # how many different reasons are counted
_OTHER = "other reasons"


@dataclass(frozen=True)
class Skipped:
    """Unreadable pictures: their number by reason, and some examples.

    Attributes:
        reasons: Reason, without details -> number of pictures; at most 50.
        examples: The first 100 (file, reason) in alphabetical order.
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
    """The sums `total = sum_i x_i` and `units = sum_i x_i / ||x_i||` of the features x_i of `count` pictures.

    Attributes:
        count: The number of pictures.
        total: `[dim]`, fp64; empty where there is no picture.
        units: `[dim]`, fp64; empty where there is no picture.
        skipped: The unreadable pictures.
    """

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    units: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    skipped: Skipped = Skipped()

    @classmethod
    def of(cls, features: Tensor, dtype: torch.dtype = torch.float64) -> Sums:
        """The sums of features `[count, dim]` of any float dtype. dtype: in which they are added up."""
        x = features.to(dtype)
        scales = 1 / torch.linalg.vector_norm(x, dim=1).clamp_min(torch.finfo(x.dtype).tiny)
        total, units = torch.stack([torch.ones_like(scales), scales]) @ x
        return cls(len(x), total.double(), units.double())

    def __add__(self, other: Sums) -> Sums:
        """Raises AestheticError if the features have different dimensions."""
        skipped = self.skipped + other.skipped
        if not self.count or not other.count:
            some = self if self.count else other
            return Sums(some.count, some.total, some.units, skipped)
        if len(self.total) != len(other.total):
            raise AestheticError(
                f"Some features have {len(self.total)} numbers, others {len(other.total)}: they are of different "
                "CLIPs. Make a separate aesthetic of each."
            )
        return Sums(self.count + other.count, self.total + other.total, self.units + other.units, skipped)

    @property
    def mean(self) -> Tensor:
        """`[dim]`, fp64: the aesthetic embedding (arXiv 2209.12330, section 3)."""
        return self.total / self.count

    @property
    def similarity_to_mean(self) -> float:
        """The mean over pictures of their cosine with `mean`."""
        return float(self.units @ self.total / self.total.norm()) / self.count

    @property
    def similarity_of_pairs(self) -> float:
        """The mean cosine over pairs of different pictures; 1 for a single picture."""
        n = self.count
        return (float(self.units @ self.units) - n) / (n * (n - 1)) if n > 1 else 1.0
