"""Whether the fake host of tests/webui has the signatures of the real ones, whose sources are read, not run.

    python -m tests.hosts.signatures HOST_FOLDER...

A fake function may leave out what has a default. All other parameters must be the host's, by name and in its order.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..webui.fake_host import (
    Engine,
    ExtraNetwork,
    ExtraNetworkParams,
    Job,
    Script,
    ScriptRunner,
    SdConditioning,
    State,
    TextualInversion,
    get_learned_conditioning,
    get_multicond_learned_conditioning,
    input_accordion,
    tool_button,
)
from ..webui.fake_networks import ExtraNetworksPage, UserMetadataEditor
from ..webui.fake_options import OptionInfo, Options

#: The fake's function, where hosts have it: of each file, those that the host has are compared.
FAKES: dict[str, dict[str, Callable[..., Any]]] = {
    "modules/prompt_parser.py": {
        "SdConditioning.__init__": SdConditioning.__init__,
        "get_learned_conditioning": get_learned_conditioning,
        "get_multicond_learned_conditioning": get_multicond_learned_conditioning,
    },
    "modules/processing.py": {
        "StableDiffusionProcessing.cached_params": Job.cached_params,
        "StableDiffusionProcessing.get_conds_with_caching": Job.get_conds_with_caching,
        "StableDiffusionProcessing.setup_conds": Job.setup_conds,
        "StableDiffusionProcessing.comment": Job.comment,
        "StableDiffusionProcessing.close": Job.close,
        "StableDiffusionProcessingTxt2Img.calculate_hr_conds": Job.calculate_hr_conds,
    },
    "modules/sd_hijack_clip.py": {
        "TextConditionalModel.process_tokens": Engine.process_tokens,
        "FrozenCLIPEmbedderWithCustomWords.encode_with_transformers": Engine.encode_with_transformers,
    },
    "modules/sd_hijack.py": {"EmbeddingsWithFixes.forward": TextualInversion.forward},
    "backend/text_processing/classic_engine.py": {
        "ClassicTextProcessingEngine.process_tokens": Engine.process_tokens,
        "ClassicTextProcessingEngine.encode_with_transformers": Engine.encode_with_transformers,
    },
    "modules/shared_state.py": {
        f"State.{name}": getattr(State, name) for name in ("begin", "end", "interrupt", "skip")
    },
    "modules/extra_networks.py": {
        "ExtraNetwork.__init__": ExtraNetwork.__init__,
        "ExtraNetworkParams.__init__": ExtraNetworkParams.__init__,
    },
    "modules/scripts.py": {"Script.elem_id": Script.elem_id, "ScriptRunner.process": ScriptRunner.process},
    "modules/ui_components.py": {"InputAccordion.__init__": input_accordion, "ToolButton.__init__": tool_button},
    "modules/options.py": {
        "OptionInfo.__init__": OptionInfo.__init__,
        "OptionInfo.info": OptionInfo.info,
        **{f"Options.{name}": getattr(Options, name) for name in ("set", "onchange", "add_option")},
    },
    "modules/ui_extra_networks.py": {
        f"ExtraNetworksPage.{name}": method for name, method in vars(ExtraNetworksPage).items() if callable(method)
    },
    "modules/ui_extra_networks_user_metadata.py": {
        f"UserMetadataEditor.{name}": method for name, method in vars(UserMetadataEditor).items() if callable(method)
    },
}
#: Files whose classes not every host has: Forge's text encoders are in `backend`, A1111's are not.
ELSEWHERE = ("modules/sd_hijack", "backend/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="HOST_FOLDER", help="where a host's webui.py is")
    failed = 0
    for folder in parser.parse_args().folders:
        for line, good in signatures(folder):
            failed += not good
            print(f"{'ok ' if good else 'BAD'} {folder.name}: {line}", flush=True)
    sys.exit(failed)


def signatures(folder: Path) -> Iterator[tuple[str, bool]]:
    """Each function that the fake imitates, and whether it fits the host's."""
    for file, functions in FAKES.items():
        source = (
            ast.parse((folder / file).read_text(encoding="utf-8")) if (folder / file).is_file() else ast.Module([], [])
        )
        for name, fake in functions.items():
            real = find(source, name)
            known = any(isinstance(node, ast.ClassDef) and node.name == name.split(".")[0] for node in source.body)
            if known or not file.startswith(ELSEWHERE):
                wrong = difference(fake, real) if real else "the host has no such function"
                yield f"{file}, {name}" + (f": {wrong}" if wrong else ""), not wrong


def find(source: ast.Module, name: str) -> ast.FunctionDef | None:
    """The function, or the class's method (its own, or of a base class in the same file)."""
    defined = {node.name: node for node in source.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    first, _, method = name.partition(".")
    node = defined.get(first)
    while isinstance(node, ast.ClassDef):
        wanted = method or "__init__"
        if found := next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == wanted), None):
            return found
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        node = next((defined[base] for base in bases if base in defined), None)
    return node


def difference(fake: Callable[..., Any], real: ast.FunctionDef) -> str:
    """What of the fake's signature does not fit, in words; empty where all fits."""
    parameters = list(inspect.signature(fake).parameters.values())
    ours = [x.name for x in parameters if x.kind is x.POSITIONAL_OR_KEYWORD and x.name != "self"]
    theirs = [x.arg for x in [*real.args.posonlyargs, *real.args.args] if x.arg != "self"]
    needed = theirs[: len(theirs) - len(real.args.defaults)]
    keywords = [x.arg for x in real.args.kwonlyargs]
    unknown = [x for x in ours if x not in theirs + keywords and real.args.kwarg is None]
    missing = [x for x in needed if x not in ours and not any(p.kind is p.VAR_KEYWORD for p in parameters)]
    order = [x for x in ours if x in theirs]
    return "; ".join(
        [
            *([f"the host knows no {', '.join(unknown)}"] if unknown else []),
            *([f"the host needs {', '.join(missing)}"] if missing else []),
            *(["in another order"] if order != [x for x in theirs if x in order] else []),
        ]
    )


if __name__ == "__main__":
    main()
