"""The published aesthetic scorers by name: where to get them, and their files here. Only `fetch` downloads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..errors import FileError
from ..storage import downloads
from ..storage.paths import cache_folder, write_atomically


@dataclass(frozen=True)
class KnownScorer:
    """A published head on CLIP's image features (see scorers.py).

    name: on the command line. repository: on GitHub. branch, path: the file there. bytes, sha256: its size and hash.
    """

    name: str
    repository: str
    branch: str
    path: str
    bytes: int
    sha256: str

    @property
    def file(self) -> Path:
        """Its path in our cache folder. It keeps its published name."""
        return cache_folder() / Path(self.path).name

    def fetch(self, on_progress: Callable[[int, int], object] | None = None, endpoint: str | None = None) -> Path:
        """Download it into our cache folder, and return the file.

        on_progress: called with the bytes done and the bytes in all. endpoint: the address of GitHub's files; by
        default https://raw.githubusercontent.com. Raises FileError, which names the address, if the download fails or
        brings another file.
        """
        endpoint = (endpoint or "https://raw.githubusercontent.com").rstrip("/")
        url = f"{endpoint}/{self.repository}/{self.branch}/{quote(self.path)}"
        data = downloads.fetch_file(f"The scorer {self.name}", url, self.bytes, on_progress)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise FileError(f"{url} is not the scorer that was published there. It was not kept.")
        write_atomically(self.file, data)
        return self.file

    @property
    def how_to_get(self) -> str:
        size = f"{self.bytes / 1e6:.1f} MB" if self.bytes > 1e5 else f"{self.bytes / 1e3:.0f} kB"
        return (
            f"Fetch it once ({size}): `aesthetic-gradients fetch {self.name}`. On a machine without network: put "
            f"{self.path} of https://github.com/{self.repository} into {cache_folder()}, or give the file itself."
        )


_SIMULACRA = ("crowsonkb/simulacra-aesthetic-models", "master")
_LAION = ("LAION-AI/aesthetic-predictor", "main")
_IMPROVED = ("christophschuhmann/improved-aesthetic-predictor", "main")

#: By name. The first three are the paper's.
SCORERS = {
    name: KnownScorer(name, *where, path, size, sha256)
    for name, where, path, size, sha256 in (
        (
            "simulacra-l14",
            _SIMULACRA,
            "models/sac_public_2022_06_29_vit_l_14_linear.pth",
            4135,
            "f77d1d0f4bb04b0ff8e60c5747fd0bfff0cc4a85263a6106627522c06eae85c6",
        ),
        (
            "simulacra-b16",
            _SIMULACRA,
            "models/sac_public_2022_06_29_vit_b_16_linear.pth",
            3111,
            "cdc27b2196565bcb69f2692731084b0189612b98aae74adec033782469ab583c",
        ),
        (
            "simulacra-b32",
            _SIMULACRA,
            "models/sac_public_2022_06_29_vit_b_32_linear.pth",
            3111,
            "64315370e2293a08cc2f4816ae9db715f935791569c1a57d84b943e482ea5e12",
        ),
        (
            "laion-l14",
            _LAION,
            "sa_0_4_vit_l_14_linear.pth",
            4071,
            "2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
        ),
        (
            "laion-b16",
            _LAION,
            "sa_0_4_vit_b_16_linear.pth",
            3047,
            "8ad3923d7ecf019df20ecd2ab5542a3075fbba0278d239c0371345f3d7fcbde0",
        ),
        (
            "laion-b32",
            _LAION,
            "sa_0_4_vit_b_32_linear.pth",
            3047,
            "c7b14cead230694acc7b9447974d3cad78003c72da032e402a303b6c2429e85f",
        ),
        (
            "improved-l14",
            _IMPROVED,
            "sac+logos+ava1-l14-linearMSE.pth",
            3714759,
            "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
        ),
    )
}
