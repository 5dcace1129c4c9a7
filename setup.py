"""The one thing that pyproject.toml cannot say: on PyPI the README's links and pictures need whole addresses."""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def with_whole_addresses(markdown: str, source: str) -> str:
    """The text with links and pictures that lead into the repository `source`, https://github.com/OWNER/NAME."""
    raw = source.replace("//github.com/", "//raw.githubusercontent.com/")
    places = {"!": f"{raw}/main", "": f"{source}/blob/main"}
    return re.sub(
        r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)]+)\)",
        lambda found: f"{found[1]}[{found[2]}]({places[found[1]]}/{found[3]})",
        markdown,
    )


if __name__ == "__main__":
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    source = re.search(r'^Source = "(.+?)/?"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    setup(
        long_description=with_whole_addresses(readme, source[1]) if source else readme,
        long_description_content_type="text/markdown",
    )
