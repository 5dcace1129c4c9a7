"""What users of extensions expect, in a real host's API: `python -m tests.hosts.conventions --url ... --folder ...`.

`folder`: the host's models/aesthetic_embeddings, with sac_8plus, gloomcore and glowwave in it. With `--out`, the
infotexts of pictures are kept there; with `--from`, those of another host are generated again.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .client import Host, Picture

Line = tuple[str, bool]
NAME, OTHER = "sac_8plus", "gloomcore"

#: One setting each at another value than its default; and all of them.
OTHERS: dict[str, Any] = {
    "steps": 4,
    "epsilon": 1.23e-4,
    "update": "normalized",
    "weight": 0.65,
    "blend": "slerp",
    "text": 'snow, "ice": and\nrain',
    "text_strength": 0.4,
    "text_negative": True,
    "preservation": 1.5,
    "last_layers": 1,
    "strength_clip_l": 0.5,
    "strength_clip_g": 0.25,
    "negative": f"{NAME}:0.7 {OTHER}:-0.3",
    "hires": "off",
}
CHOSEN: list[dict[str, Any]] = [
    {"embedding": NAME},
    *({"embedding": NAME, **({"text": "snow"} if "text_" in name else {}), name: OTHERS[name]} for name in OTHERS),
    {"embedding": f"{NAME}:0.7 {OTHER}:-0.3", **OTHERS},
    {"embedding": NAME, "update": "gradient", "epsilon": 0.1},
]


def ask(host: Host, chosen: dict[str, Any] | None = None, **request: Any) -> Picture:
    return host.txt2img(None if chosen is None else [chosen], **request)


def said(picture: Picture, index: int = 0) -> dict[str, str]:
    """What the picture says of its aesthetic, but for what is not read back."""
    line = picture.infotexts[index].splitlines()[-1]
    found = dict(re.findall(r'(Aesthetic [\w ]+): ("(?:\\.|[^\\"])+"|[^,]*)', line))
    return {key: value for key, value in found.items() if key != "Aesthetic similarity"}


def again(host: Host, infotext: str, chosen: dict[str, Any] | None = None) -> Picture:
    """Generated from its infotext, as the API does it. (Its own request would go before what the infotext says.)"""
    body: dict[str, Any] = {"infotext": infotext, "override_settings": {"CLIP_stop_at_last_layers": 1}}
    body |= {"hr_additional_modules": ["Use same choices"], "styles": []}  # Forge fails to find these in an infotext
    if chosen is not None:
        body["alwayson_scripts"] = {"aesthetic gradients": {"args": [chosen]}}
    return Picture(host.call("/sdapi/v1/txt2img", body))


def infotext(host: Host, folder: Path) -> Iterator[Line]:
    plain = ask(host)
    yield "off: nothing is said", said(plain) == {} and "Aesthetic" not in plain.infotext
    for chosen in CHOSEN:
        first = ask(host, chosen)
        second = again(host, first.infotext)
        name = ", ".join(f"{key} {value!r}" for key, value in chosen.items())
        yield f"{name}: another picture", first.hash != plain.hash or chosen.get("hires") == "off"
        yield f"{name}: the same again from its infotext", (first.hash, said(first)) == (second.hash, said(second))
    yield "similarity is said", bool(re.search(r"Aesthetic similarity: -?\d\.\d+ -> -?\d\.\d+", first.infotext))
    yield "a plain picture's infotext is off", again(host, plain.infotext).hash == plain.hash
    first = ask(host, {"embedding": NAME})
    old, new = folder / f"{NAME}.pt", folder / "renamed by a test.pt"
    old.rename(new)
    try:
        renamed = again(host, first.infotext)
        yield "renamed: found", renamed.hash == first.hash
        yield "renamed: its name now is said", said(renamed)["Aesthetic embedding"] == new.stem
        new.rename(folder / "away")
        gone = again(host, first.infotext)
        error = said(gone).get("Aesthetic error", "")
        yield f"gone: plain, and said ({error})", gone.hash == plain.hash and "is not here" in error
        shutil.copyfile(folder / f"{OTHER}.pt", old)
        error = said(again(host, first.infotext)).get("Aesthetic error", "")
        yield f"another file of its name: said ({error})", "is another" in error
    finally:
        for file in (new, folder / "away"):
            if file.exists():
                file.replace(old)
    legacy = "Aesthetic LR: 0.0001, Aesthetic weight: 0.9, Aesthetic steps: 5, Aesthetic embedding: sac_8plus, "
    legacy += 'Aesthetic slerp: True, Aesthetic text: "snow, ice", Aesthetic text negative: False, '
    picture = again(host, f"{plain.infotext}, {legacy}Aesthetic slerp angle: 0.1")
    wanted = {"steps": 5, "weight": 0.9, "blend": "slerp", "text": "snow, ice", "text_strength": 0.61}
    yield "the old extension's keys", picture.hash == ask(host, {"embedding": NAME, **wanted}).hash != plain.hash


def api(host: Host, folder: Path) -> Iterator[Line]:
    plain, on = ask(host), host.txt2img([True, NAME, 5])
    yield "a dict is as the positions", ask(host, {"embedding": NAME, "steps": 5}).hash == on.hash != plain.hash
    yield "enabled: false is off", ask(host, {"embedding": NAME, "enabled": False}).hash == plain.hash
    yield "without an aesthetic it is off", ask(host, {"steps": 5}).hash == plain.hash
    over = again(host, on.infotext, {"steps": 7})
    yield "a dict beside an infotext goes first", over.hash == ask(host, {"embedding": NAME, "steps": 7}).hash
    wrong: dict[str, dict[str, Any]] = {
        "Did you mean steps?": {"stepz": 5},
        "Did you mean sac_8plus": {"embedding": "sac_8plu"},
        "between 0 and 100": {"steps": 1000},
        "should be one of adam": {"update": "sgd"},
    }
    for words, given in wrong.items():
        picture = ask(host, {"embedding": NAME} | given)
        error = said(picture).get("Aesthetic error", "")
        yield f"wrong: {error}", words in error and words in picture.comments and picture.hash == plain.hash


def mixes(host: Host, folder: Path) -> Iterator[Line]:
    plain, alone = ask(host), ask(host, {"embedding": NAME})
    mixed = ask(host, {"embedding": f"{NAME}:0.7 {OTHER}:-0.3"})
    yield "a mix is another picture", len({plain.hash, alone.hash, mixed.hash}) == 3
    yield "spaces do not matter", ask(host, {"embedding": f" {NAME}: 0.7  {OTHER}: -.3 "}).hash == mixed.hash
    yield "weights do", ask(host, {"embedding": f"{NAME}:0.7 {OTHER}:0.3"}).hash != mixed.hash
    yield "it is said", said(mixed)["Aesthetic embedding"].strip('"') == f"{NAME}:0.7 {OTHER}:-0.3"
    error = said(ask(host, {"embedding": f"{NAME}:0.7 {OTHER}"})).get("Aesthetic error", "")
    yield f"a weight is missing: {error}", "has a weight" in error


HIRES = {"enable_hr": True, "hr_scale": 2, "hr_second_pass_steps": 2,
         "denoising_strength": 0.7, "hr_additional_modules": ["Use same choices"]}  # fmt: skip


def tags(host: Host, folder: Path) -> Iterator[Line]:
    cat, tag = "a photo of a cat", f"<aesthetic:{NAME}:1:steps=4>"
    plain, on = ask(host), ask(host, {"embedding": NAME, "steps": 4})
    tagged = ask(host, prompt=cat + tag)
    yield "a tag is as the accordion", tagged.hash == on.hash != plain.hash
    yield "anywhere in the prompt", ask(host, prompt=f"a photo {tag}of a cat").hash == on.hash
    yield "the same again from its infotext", again(host, tagged.infotext).hash == on.hash
    yield "the prompt keeps it", tagged.infotext.startswith(cat + tag)
    yield "and a plain picture is plain again", ask(host).hash == plain.hash
    left = ask(host, {"enabled": False, "steps": 4}, prompt=f"{cat}<aesthetic:{NAME}:1>")
    yield "the rest is the accordion's", left.hash == on.hash == again(host, left.infotext).hash
    mixed = ask(host, {"embedding": NAME, "steps": 4}, prompt=f"{cat}<aesthetic:{OTHER}:-0.5:epsilon=2e-4>")
    same = ask(host, {"embedding": f"{NAME}:1 {OTHER}:-0.5", "steps": 4, "epsilon": 2e-4})
    yield "added to the accordion's", mixed.hash == same.hash == again(host, mixed.infotext).hash
    half = ask(host, prompt=f"{cat}<aesthetic:{NAME}:0.5:steps=4>")
    yield "0.5 is half", half.hash == ask(host, {"embedding": NAME, "steps": 4, "weight": 0.5}).hash
    yield "0 is plain", ask(host, prompt=f"{cat}<aesthetic:{NAME}:0>").hash == plain.hash
    negative = ask(host, negative_prompt="blurry" + tag)
    yield "in the negative prompt", negative.hash == ask(host, {"negative": NAME, "steps": 4}).hash != plain.hash
    yield "and again from its infotext", again(host, negative.infotext).hash == negative.hash
    passes = HIRES | {"hr_upscaler": host.upscaler()}
    hires, base = passes | {"hr_prompt": f"a dog{tag}"}, passes | {"hr_prompt": "a dog"}
    only, none, both = ask(host, **hires), ask(host, **base), ask(host, {"embedding": NAME, "steps": 4}, **base)
    one, other = only.samplings[1]["c"][0][0][0], both.samplings[1]["c"][0][0][0]
    yield "hires with its own: as the accordion's", bool((one == other).all()) and only.hash != none.hash
    one, other = only.samplings[0]["c"][0][0][0], none.samplings[0]["c"][0][0][0]
    yield "hires with its own: the first pass is plain", bool((one == other).all())
    batch = ask(host, prompt=cat + tag, batch_size=2, n_iter=2)
    yield "batches", len(set(batch.each[-4:])) == 4 and "tuned" not in batch.comments
    error = said(ask(host, prompt=f"{cat}<aesthetic:sac_8plu:1>")).get("Aesthetic error", "")
    yield f"a wrong name: {error}", "Did you mean" in error
    error = said(ask(host, prompt=f"{cat}<aesthetic:{NAME}:1:stepz=3>")).get("Aesthetic error", "")
    yield f"a wrong setting: {error}", "Did you mean steps" in error


def xyz(host: Host, folder: Path) -> Iterator[Line]:
    on = {"embedding": NAME, "steps": 4}
    each = [ask(host, {**on, "embedding": name}).hash for name in (NAME, OTHER)]
    seeds = [ask(host, {**on, "embedding": name}, seed=8).hash for name in (NAME, OTHER)]
    grid = plot(host, {"steps": 4}, "Seed", "7,8", "[Aesthetic] Embedding", [NAME, OTHER])
    yield "embedding and seed: each cell its own picture", grid.each[-4:] == [each[0], seeds[0], each[1], seeds[1]]
    yield "embedding: tuned once for each", grid.comments.count("tuned in") == 0  # by the requests before
    none = plot(host, {"steps": 4}, "[Aesthetic] Embedding", ["None", NAME]).each[-2:]
    yield "embedding None is plain", none == [ask(host).hash, each[0]]
    values: dict[str, tuple[str | list[str], list[dict[str, Any]]]] = {
        "Steps": ("2,4", [{"steps": 2}, {"steps": 4}]),
        "Epsilon": ("1e-4,5e-4", [{}, {"epsilon": 5e-4}]),
        "Update rule": (["adam", "normalized"], [{}, {"update": "normalized"}]),
        "Weight": ("0.5-1.0 (+0.5)", [{"weight": 0.5}, {}]),
        "Preservation": ("0,2", [{}, {"preservation": 2.0}]),
        "Negative embedding": (["None", OTHER], [{}, {"negative": OTHER}]),
        "Text is negative": (["False", "True"], [{}, {"text_negative": True}]),
    }
    for label, (given, settings) in values.items():
        base = on | ({"text": "snow"} if "Text" in label else {})
        cells = plot(host, base, f"[Aesthetic] {label}", given)
        singles = [ask(host, base | each) for each in settings]
        yield f"{label}: each cell its own picture", cells.each[-2:] == [single.hash for single in singles]
        yield f"{label}: and infotext", [said(cells, i) for i in (-2, -1)] == [said(single) for single in singles]
    yield "no axis is there twice", len(set(labels(host))) == len(labels(host))
    wrong = {"Steps": "5,500", "Epsilon": "1e-4,7", "Embedding": ["sac_8plus:0.7 nothing:1"], "Weight": "2"}
    for label, given in wrong.items():
        try:
            plot(host, on, f"[Aesthetic] {label}", given)
            yield f"a wrong {label} is refused", False
        except urllib.error.HTTPError as error:
            yield f"a wrong {label} is refused ({error.code})", True
    error = said(plot(host, {"steps": 4}, "[Aesthetic] Steps", "2,4"), -1).get("Aesthetic error", "")
    yield f"an axis that changes nothing: {error}", "no embedding is chosen" in error


def pictures(host: Host, folder: Path) -> Iterator[Line]:
    """Needs a CLIP that looks at pictures, in the host's models/CLIP."""
    plain, files = ask(host), set(folder.iterdir())
    base, other = plain.encoded, ask(host, seed=8).encoded
    one = ask(host, {"pictures": [base, other], "embedding": NAME})
    yield "they take the embedding's place", one.hash not in (plain.hash, ask(host, {"embedding": NAME}).hash)
    yield "and it is said", said(one) == {"Aesthetic embedding": "2 pictures"} and "2 pictures" in one.comments
    yield "in any order", ask(host, {"pictures": [other, base]}).hash == one.hash
    yield "other ones, another picture", ask(host, {"pictures": [other]}).hash != one.hash
    yield "no file is made", set(folder.iterdir()) == files
    yield "from the infotext it is off", again(host, one.infotext).hash == plain.hash
    still: dict[str, Any] = {"init_images": [base], "denoising_strength": 0.6}
    yield "img2img", host.img2img([{"pictures": [other]}], **still).hash != host.img2img(**still).hash
    for wrong in ("/etc/passwd", str(folder / f"{NAME}.pt"), "aGVsbG8="):
        error = said(ask(host, {"pictures": [wrong]})).get("Aesthetic error", "")
        yield f"wrong: {error}", bool(error)


def labels(host: Host) -> list[str]:
    return [choice[0] if isinstance(choice, list) else choice for choice in plot_arguments(host)[0]["choices"]]


def plot_arguments(host: Host) -> list[dict[str, Any]]:
    """Three per axis, then what each host has of its own."""
    scripts = (script for script in host.scripts() if script["name"] == "x/y/z plot" and not script["is_img2img"])
    return next(scripts)["args"]


def plot(host: Host, chosen: dict[str, Any], *axes: Any) -> Picture:
    """axes: label, values, label, values. Numbers are text, choices a list."""
    arguments: list[Any] = []
    for label, given in [*zip(axes[::2], axes[1::2], strict=True), *[("Nothing", "")] * 3][:3]:
        text, choices = ("", given) if isinstance(given, list) else (given, [])
        arguments += [labels(host).index(label), text, choices]
    cells = {"draw legend": False, "include sub images": True}  # the rest as on the page
    rest = [cells.get(argument["label"].lower(), argument["value"]) for argument in plot_arguments(host)[9:]]
    return ask(host, chosen, script_name="x/y/z plot", script_args=[*arguments, *rest])


GROUPS = {"infotext": infotext, "api": api, "mixes": mixes, "tags": tags, "xyz": xyz, "pictures": pictures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--folder", type=Path, required=True, help="the host's models/aesthetic_embeddings")
    parser.add_argument("--only", choices=GROUPS)
    parser.add_argument("--out", type=Path, help="a file for the infotexts of this host's pictures")
    parser.add_argument("--from", dest="other", type=Path, help="such a file of another host")
    arguments = parser.parse_args()
    host, failed = Host(arguments.url), 0
    if arguments.out:
        arguments.out.write_text(json.dumps([ask(host, chosen).infotext for chosen in CHOSEN], indent=1))
    if arguments.other:
        texts = json.loads(arguments.other.read_text())
        pairs = zip(CHOSEN, texts, [ask(host, chosen) for chosen in CHOSEN], strict=True)
        lines = [(f"from the other host: {chosen}", again(host, _here(text)), here) for chosen, text, here in pairs]
        for line, there, here in lines:
            good = (there.hash, said(there)) == (here.hash, said(here))
            failed += not good
            print(f"{'ok ' if good else 'BAD'} {line}", flush=True)
    for group, lines_of in GROUPS.items():
        if arguments.out or arguments.other or arguments.only not in (None, group):
            continue
        for line, good in lines_of(host, arguments.folder):
            failed += not good
            print(f"{'ok ' if good else 'BAD'} {group}: {line}", flush=True)
    sys.exit(failed)


def _here(text: str) -> str:
    """Without the other host's checkpoint, which is not here."""
    return re.sub(r"(Model hash|Model|VAE hash|VAE|Version|Module \d): [^,]*(, |$)", "", text)


if __name__ == "__main__":
    main()
