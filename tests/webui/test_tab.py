"""The tab "Create aesthetic embedding", drawn by the gradio of this environment; its handlers with real small files.

The encoder is the pocket model's, a CLIP in transformers format; the hub is a server of ours.
"""

from __future__ import annotations

import http.server
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import torch
import transformers
from PIL import Image

import aesthetic_embeddings as ae
from aesthetic_embeddings import pocket
from aesthetic_embeddings.aesthetics import creation as core_creation
from aesthetic_embeddings.aesthetics.encoders import encoder_name

from ..core.github import FILE, github
from .conftest import embedding
from .fake_host import FAMILY, Host

pytestmark = pytest.mark.parametrize("flavor", ["a1111"])  # alike in both

POCKET = str(pocket.MODEL)
SAMPLES = Path(POCKET).parent / "samples" / "aivazovsky"
FAMILY_OF_POCKET = "clip-192x3-64"


@pytest.fixture
def tab(host: Host) -> Any:
    return host.webui("tab")


@pytest.fixture
def creating(host: Host) -> Any:
    return host.webui("creation")


def quiet(done: float, desc: str = "") -> None:
    """In place of gr.Progress."""


def create(tab: Any, files: Any = None, *, name: str = "new", **chosen: Any) -> list[Any]:
    label = next(iter(tab.LABELS))
    values = {"files": files, "path": "", "name": name, "if_exists": "refuse"}
    values |= {"encoders": [label], "encoder_folder": POCKET, "batch_size": 8, "progress": quiet}
    return tab.create(**(values | chosen))[:2]


def texts(path: Path, *names: str) -> None:
    for name in names:
        (path / name).write_text("a caption")


# ---------------------------------------------------------------- the page


def built(host: Host) -> gr.Blocks:
    """As the host builds its page: modules/ui.py, create_ui, after before_ui_callback."""
    host.script_callbacks = host.modules["modules.script_callbacks"]
    script = host.webui("script")
    script.register()
    host.callbacks["on_before_ui"][-1]()
    with gr.Blocks() as page:
        for is_img2img in (False, True):
            one = script.AestheticGradients()
            one.is_img2img = is_img2img
            one.ui(is_img2img)
        ((tab, title, elem_id),) = host.callbacks["on_ui_tabs"][-1]()
        assert (title, elem_id) == ("Create aesthetic embedding", "aesthetic_gradients_tab")
        tab.render()
    return page


def dropdowns(page: gr.Blocks) -> set[int]:
    endings = ("_gradients_embedding", "_gradients_negative")
    return {block._id for block in page.blocks.values() if str(block.elem_id).endswith(endings)}


def outputs(page: gr.Blocks) -> list[set[int]]:
    """Of each event."""
    return [set(event["outputs"]) for event in page.get_config_file()["dependencies"]]


def test_a_new_name_goes_to_every_dropdown_of_the_page_also_after_reload(host: Host):
    for _ in range(2):  # "Reload UI" builds the page anew, in the same process
        page = built(host)
        assert len(dropdowns(page)) == 4
        events = [shown for shown in outputs(page) if dropdowns(page) <= shown]
        assert len(events) == 5  # created, renamed, deleted, blended; and the page was loaded
        with gr.Blocks():  # the API asks for the defaults: modules/api/api.py, init_default_script_args
            host.webui("script").AestheticGradients().ui(False)


def test_element_ids_are_unique(host: Host):
    ids = [block.elem_id for block in built(host).blocks.values() if block.elem_id]
    assert len(ids) == len(set(ids))


def test_no_paths_where_the_host_forbids_them(host: Host, tab: Any):
    host.shared.cmd_opts.hide_ui_dir_config = True
    page = built(host)
    boxes = [b for b in page.blocks.values() if str(b.elem_id).endswith(("_gradients_path", "_encoder_folder"))]
    assert [box.visible for box in boxes] == [False, False]
    for chosen in ({"path": str(SAMPLES)}, {"files": [str(SAMPLES / "01.png")]}):
        said, _ = create(tab, **chosen)
        assert "--hide-ui-dir-config" in said


# ---------------------------------------------------------------- Create


def test_created_from_uploads(host: Host, tab: Any, tmp_path: Path):
    folder = tmp_path / "uploads"
    shutil.copytree(SAMPLES, folder)
    (folder / "broken.png").write_bytes(b"no picture")
    texts(folder, "01.txt", ".hidden.png")
    uploads = [str(path) for path in folder.iterdir()]  # gradio 4: strings
    said, gallery = create(tab, uploads, name=" sea ")
    made = host.webui("host").library.get("sea")
    assert list(made.vectors) == [FAMILY_OF_POCKET]
    assert made.images == 12
    expected = ae.create(SAMPLES, POCKET)
    assert made.content_hash == expected.content_hash
    assert "Skipped: 1<ul><li>broken.png: " in said  # not where the server has put it
    assert str(folder) not in said
    assert "broken.png: not a picture" in said
    assert ".txt" not in said
    assert "Similarity to their mean" in said
    assert gallery[0][1].split()[1] == "01.png"
    assert len(gallery) == 12


def test_uploads_of_gradio_3_are_files_with_a_name(tab: Any):
    with open(SAMPLES / "01.png", "rb") as one, open(SAMPLES / "02.png", "rb") as two:
        said, gallery = create(tab, files=[two, one])
    assert [caption.split()[1] for _, caption in gallery] == ["01.png", "02.png"]
    assert "<b>new</b> was made from 2 pictures" in said


def test_created_from_a_folder_on_the_server(tab: Any):
    said, gallery = create(tab, path=f' "{SAMPLES}" ')
    assert "from 12 pictures" in said
    assert len(gallery) == 12


def test_a_chosen_folder_joins_what_was_dropped(tab: Any, tmp_path: Path):
    texts(tmp_path, "02.txt")
    with open(SAMPLES / "02.png", "rb") as dropped:  # of gradio 3
        files = tab.dropped_and_uploaded([dropped], [str(SAMPLES / "01.png"), str(tmp_path / "02.txt")])
    assert files == [str(SAMPLES / "01.png"), str(SAMPLES / "02.png")]
    assert tab.dropped_and_uploaded(None, None) == []


def test_of_thousands_of_pictures_the_command_line_is_named(tab: Any):
    assert "5000 files" in tab.many_pictures(["a.png"] * 5000)
    assert "aesthetic-gradients create" in tab.many_pictures(["a.png"] * 5000)
    assert tab.many_pictures(["a.png"] * 20) == tab.many_pictures(None) == ""


def test_what_was_made_is_chosen_in_txt2img_and_shown_under_manage(host: Host, tab: Any):
    page = built(host)
    found = {block.elem_id: block for block in page.blocks.values() if getattr(block, "elem_id", None)}
    prefix = "script_txt2img_aesthetic_gradients"
    chooser = [found[f"{prefix}_{part}"]._id for part in ("accordion-checkbox", "embedding")]
    assert chooser in [event["outputs"] for event in page.get_config_file()["dependencies"]]
    use, chosen = found["aesthetic_gradients_use"], found["aesthetic_gradients_chosen"]
    assert not use.visible
    assert [use._id, chosen._id] in [event["outputs"] for event in page.get_config_file()["dependencies"]]


def test_many_pictures_show_the_first_dozens(tab: Any, tmp_path: Path):
    for n in range(40):
        Image.new("RGB", (8, 8), (n, 2 * n, 255 - n)).save(tmp_path / f"{n:02}.png")
    said, gallery = create(tab, path=str(tmp_path))
    assert "from 40 pictures" in said
    assert len(gallery) == 36


def test_the_nearest_embeddings_are_shown(tab: Any, host: Host):
    library = host.webui("host").library
    for name in ("aivazovsky", "glowwave"):
        library.save(ae.create(SAMPLES.parent / name, POCKET, name=f"pocket {name}"))
    said, _ = create(tab, [str(path) for path in sorted(SAMPLES.glob("*.png"))[:6]])
    near = said.split("Nearest: ")[1]
    assert near.index("pocket aivazovsky") < near.index("pocket glowwave")


def test_an_equal_embedding_is_reported(tab: Any):
    create(tab, path=str(SAMPLES), name="a sea")
    said, _ = create(tab, path=str(SAMPLES), name="b sea")
    assert "It equals <b>a sea</b>" in said


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({}, "no pictures yet"),
        ({"path": "/nowhere"}, "does not exist"),
        ({"path": str(SAMPLES), "name": " "}, "a name"),
        ({"path": str(SAMPLES), "name": "a/../b"}, "cannot be a name"),
        ({"path": str(SAMPLES), "name": "dusk"}, "is an aesthetic called &#x27;dusk&#x27; already"),
        ({"path": str(SAMPLES), "encoder_folder": "/nowhere"}, "no CLIP called"),
        ({"path": str(SAMPLES), "encoder_folder": ""}, "not on this machine yet"),
    ],
)
def test_errors_are_in_plain_words(tab: Any, capsys: pytest.CaptureFixture[str], chosen: Any, words: str):
    said, gallery = create(tab, **chosen)
    assert words in said
    assert "Traceback" not in said + capsys.readouterr().err
    assert gallery == gr.update()


def test_names_are_text(tab: Any, tmp_path: Path):
    shutil.copy(SAMPLES / "01.png", tmp_path / "<b>&.png")
    shutil.copy(SAMPLES / "02.png", tmp_path / "b.png")
    said, _ = create(tab, path=str(tmp_path))
    assert "<b>&" not in said.replace("<b>new</b>", "")


def test_overwriting_needs_consent(tab: Any, host: Host):
    before = host.webui("host").library.get("dusk").content_hash
    said, _ = create(tab, path=str(SAMPLES), name="dusk")
    assert "already" in said
    create(tab, path=str(SAMPLES), name="dusk", if_exists="replace")
    assert host.webui("host").library.get("dusk").content_hash != before


def test_another_encoders_vector_is_added(tab: Any, host: Host):
    library = host.webui("host").library
    before = library.get("dusk").vectors
    said, _ = create(tab, path=str(SAMPLES), name="dusk", if_exists="add")
    assert "dusk" in said
    after = library.get("dusk").vectors
    assert len(after) == len(before) + 1
    assert all(torch.equal(after[family], vector) for family, vector in before.items())
    said, _ = create(tab, path=str(SAMPLES), name="noon", if_exists="add")
    assert "no aesthetic called" in said


def test_unexpected_errors_are_reported_too(tab: Any, creating: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setattr(creating, "create_in_library", lambda *_, **__: 1 / 0)
    said, _ = create(tab, path=str(SAMPLES))
    assert "ZeroDivisionError" in said
    assert "Traceback" not in said
    assert "Traceback" in capsys.readouterr().err


# ---------------------------------------------------------------- the host's queue


def test_progress_counts(tab: Any):
    told: list[tuple[float, str]] = []
    create(tab, path=str(SAMPLES), batch_size=4, progress=lambda done, desc: told.append((done, desc)))
    assert [words.split(",")[0] for _, words in told] == [
        "Waiting until the host is free",
        "Loading the encoder",
        "4 of 12 pictures",
        "8 of 12 pictures",
        "12 of 12 pictures",
    ]
    assert "about 0 s left" in told[3][1]
    assert [done for done, _ in told] == [0, 0, 4 / 12, 8 / 12, 1]


def test_it_waits_for_the_host_and_is_a_job(tab: Any, host: Host):
    jobs = []

    def progress(done: float, desc: str) -> None:
        jobs.append((host.state.job, queue_lock.locked()))

    queue_lock = host.modules["modules.call_queue"].queue_lock
    with queue_lock:
        thread = threading.Thread(target=create, args=(tab,), kwargs={"path": str(SAMPLES), "progress": progress})
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join()
    assert jobs[1:] == [("Create aesthetic embedding new", True)] * len(jobs[1:])
    assert (host.state.job, queue_lock.locked()) == ("", False)


def test_a_stale_interrupt_does_not_cancel(tab: Any, creating: Any, host: Host):
    host.state.interrupt()
    creating.interrupt()
    said, _ = create(tab, path=str(SAMPLES))
    assert "was made" in said


@pytest.mark.parametrize("whose", ["the tab's", "the host's"])
def test_interrupt(tab: Any, creating: Any, host: Host, whose: str):
    def progress(done: float, desc: str) -> None:
        if desc.startswith("4 of"):
            creating.interrupt() if whose == "the tab's" else host.state.interrupt()
        assert not desc.startswith("12 of")

    said, gallery = create(tab, path=str(SAMPLES), batch_size=4, progress=progress)
    assert "Interrupted. Nothing was saved." in said
    assert gallery == gr.update()
    assert "new" not in host.webui("host").library.names()
    assert not host.state.interrupted  # left for nobody


def test_interrupt_while_it_waits_leaves_the_running_job_alone(tab: Any, creating: Any, host: Host):
    said: list[str] = []
    with host.modules["modules.call_queue"].queue_lock:
        host.state.begin("somebody's picture")
        thread = threading.Thread(target=lambda: said.extend(create(tab, path=str(SAMPLES))[:1]))
        thread.start()
        thread.join(0.3)
        creating.interrupt()
        assert not host.state.interrupted
    thread.join()
    assert "Interrupted" in said[0]


def test_short_of_memory_on_the_gpu_it_goes_on_on_the_cpu(tab: Any, host: Host, monkeypatch: pytest.MonkeyPatch):
    host.modules["modules.devices"].device = "cuda"
    devices = []

    def create_with_report(*args: Any, device: Any, **more: Any) -> Any:
        devices.append(device)
        if device == "cuda":
            raise RuntimeError("CUDA out of memory.")
        return real(*args, device=device, **more)

    real = core_creation.create_with_report
    monkeypatch.setattr(core_creation, "create_with_report", create_with_report)
    said, _ = create(tab, path=str(SAMPLES))
    assert "was made" in said
    assert devices == ["cuda", "cpu"]


# ---------------------------------------------------------------- encoders


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub with openai/clip-vit-large-patch14, which is the pocket model's CLIP here, and an empty cache of it."""
    from huggingface_hub import constants

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.slow = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))  # for the process that downloads
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(constants, name, str(tmp_path / "hub" / "hub"))
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.slow.clear()
    server.shutdown()
    server.server_close()


class Hub(http.server.BaseHTTPRequestHandler):
    FILES = {  # noqa: RUF012
        "config.json": b"{}",
        "preprocessor_config.json": b"{}",
        "model.safetensors": bytes(2**20),
    }

    def do_HEAD(self) -> None:  # as http.server calls it
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, body: bool) -> None:
        repository, _, name = self.path.partition("/resolve/main/")
        folders = {"/openai/clip-vit-large-patch14": "", "/h94/IP-Adapter": "sdxl_models/image_encoder/"}
        data = self.FILES.get(name.removeprefix(folders[repository]))
        self.send_response(404 if data is None else 200)
        data = data or b""
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{len(data)}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        for start in range(0, len(data), 2**16) if body else ():
            while self.server.slow.is_set() and start:
                time.sleep(0.02)
            try:
                self.wfile.write(data[start : start + 2**16])
            except OSError:
                return

    def log_message(self, *_: Any) -> None:
        pass


def test_a_missing_encoder_names_its_files_their_size_and_folder(tab: Any, hub: Hub, host: Host):
    said, button, *_ = tab.missing_parts_state([next(iter(tab.LABELS))])
    assert "missing: 1.71 GB to download" in said
    assert str(host.root / "models" / "CLIP" / "clip-vit-large-patch14") in said
    assert "config.json, preprocessor_config.json and model.safetensors" in said
    # only these files of a repository of 6.8 GB
    files = "config.json preprocessor_config.json model.safetensors"
    assert f"hf download openai/clip-vit-large-patch14 {files} --local-dir ." in said
    assert button["visible"]
    error, _ = create(tab, path=str(SAMPLES), encoder_folder="")
    for words in ("model.safetensors", "1.71 GB", str(host.root / "models" / "CLIP" / "clip-vit-large-patch14")):
        assert words in error


def test_an_encoder_whose_weights_are_not_there_yet_is_missing(tab: Any, hub: Hub, creating: Any, host: Host):
    folder = host.webui("host").encoder_folder() / creating.ENCODERS[0].name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert creating.encoder_path(creating.ENCODERS[0]) is None


def test_an_encoder_of_the_host(tab: Any, creating: Any, hub: Hub, host: Host):
    folder = host.root / "models" / "CLIP" / "clip-vit-large-patch14"
    shutil.copytree(POCKET, folder)
    said, button, *_ = tab.missing_parts_state([next(iter(tab.LABELS))])
    assert "missing" not in said
    assert not button["visible"]
    said, _ = create(tab, path=str(SAMPLES), encoder_folder="")
    assert "was made" in said
    assert host.webui("host").library.get("new").encoder == "clip-vit-large-patch14"


def test_a_vector_from_each_encoder_in_one_go(host: Host, tab: Any, creating: Any, hub: Hub):
    first, second, third = tab.LABELS
    shutil.copytree(POCKET, host.root / "models/CLIP" / creating.ENCODERS[0].name)
    said, gallery = create(tab, path=str(SAMPLES), encoders=[first, third], encoder_folder="")
    assert "OpenCLIP ViT-bigG/14 is not on this machine yet" in said
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**sizes, image_size=32, patch_size=16, projection_dim=1280)
    transformers.CLIPVisionModelWithProjection(vision).save_pretrained(
        host.root / "models/CLIP" / creating.ENCODERS[2].name,
        safe_serialization=True,  # older transformers pickle
    )  # the image encoder alone
    said, gallery = create(tab, path=str(SAMPLES), encoders=[first, third], encoder_folder="")
    made = host.webui("host").library.get("new")
    assert set(made.vectors) == {FAMILY_OF_POCKET, "open-clip-vit-bigg-14"}
    assert made.encoder == "clip-vit-large-patch14, CLIP-ViT-bigG-14-laion2B-39B-b160k"
    assert said.count("Similarity to their mean, by ") == 2
    assert len(gallery) == 12
    assert "Choose an encoder" in create(tab, path=str(SAMPLES), name="other", encoders=[], encoder_folder="")[0]
    states, *_ = tab.missing_parts_state([first, second, third])
    assert states.count("<b>missing") == states.count("missing: 3.94 GB") == 1


def test_biggs_vision_tower_comes_from_a_folder_of_its_repository(creating: Any, tab: Any, hub: Hub):
    assert "on this machine now" in tab.download([list(tab.LABELS)[2]], quiet)
    assert creating.encoder_path(creating.ENCODERS[2]).name == "image_encoder"


def test_download(tab: Any, creating: Any, hub: Hub):
    label = next(iter(tab.LABELS))
    told: list[str] = []
    assert "on this machine now" in tab.download([label], lambda done, desc: told.append(desc))
    assert told[0].endswith("of 1.71 GB")
    folder = creating.encoder_path(tab.LABELS[label])
    assert {path.name for path in folder.iterdir()} == set(Hub.FILES)
    assert creating.encoder_folders([tab.LABELS[label]]) == [str(folder)]
    assert encoder_name(str(folder)) == "clip-vit-large-patch14"


def test_download_interrupted(tab: Any, creating: Any, hub: Hub):
    hub.slow.set()
    label = next(iter(tab.LABELS))
    timer = threading.Timer(2.0, creating.interrupt)
    timer.start()
    began = time.monotonic()
    assert "Interrupted" in tab.download([label], quiet)
    assert time.monotonic() - began < 10
    assert creating.encoder_path(tab.LABELS[label]) is None


def test_download_fails_in_plain_words(tab: Any, hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said = tab.download([next(iter(tab.LABELS))], quiet)
    assert "could not be downloaded" in said
    assert "Traceback" not in said
    assert "clip-vit-large-patch14</code>" not in said  # it is text, not HTML


def test_the_text_projection(tab: Any, creating: Any, hub: Hub, host: Host, monkeypatch: pytest.MonkeyPatch):
    _, _, row, *_ = tab.missing_parts_state([next(iter(tab.LABELS))])
    assert not row["visible"]
    monkeypatch.setenv("AESTHETIC_CACHE", str(host.root / "empty"))
    _, _, row, *_ = tab.missing_parts_state([next(iter(tab.LABELS))])
    assert row["visible"]
    assert "could not be fetched" in tab.part_download_handler(creating.PARTS[0])(quiet)  # that of our hub is not right


def test_the_neutral_embedding(tab: Any, creating: Any, host: Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AESTHETIC_CACHE", str(host.root / "empty"))
    part = creating.PARTS[-1]
    *_, row = tab.missing_parts_state([])
    assert row["visible"]
    with github(FILE) as address:
        monkeypatch.setattr(type(part), "endpoint", address)
        assert "on this machine now" in tab.part_download_handler(part)(quiet)
    *_, row = tab.missing_parts_state([])
    assert not row["visible"]
    host.webui("host").library.refresh()
    assert set(host.webui("host").library.neutral.vectors) == {"clip-vit-l-14"}
    monkeypatch.setattr(type(part), "endpoint", "http://127.0.0.1:9")
    assert "could not be fetched" in tab.part_download_handler(part)(quiet)


def test_made_against_ordinary_pictures(tab: Any, host: Host):
    ordinary = SAMPLES.parent / "glowwave"
    said, _ = create(tab, path=str(SAMPLES), ordinary=None, ordinary_path=str(ordinary))
    assert "from 12 pictures" in said
    made = host.webui("host").library.get("new")
    expected = ae.create(ordinary, POCKET).vectors[FAMILY_OF_POCKET]
    assert torch.equal(made.against[FAMILY_OF_POCKET], expected)
    assert "Its own: " in said
    create(tab, path=str(SAMPLES), name="other", ordinary=[str(ordinary / "01.png")])
    assert host.webui("host").library.get("other").against
    create(tab, path=str(SAMPLES), name="plain")
    assert not host.webui("host").library.get("plain").against


# ---------------------------------------------------------------- Manage


def test_cards(tab: Any, creating: Any, host: Host):
    library = host.webui("host").library
    library.set_preview("dusk", (SAMPLES / "01.png").read_bytes())
    (host.root / "models/aesthetic_embeddings/bad.pt").write_bytes(b"")
    library.refresh()
    cards = creating.cards()
    assert [name for _, name in cards] == creating.names() == ["bad", "dawn", "dusk"]
    assert {picture.size for picture, _ in cards} == {(128, 128)}
    assert [len(picture.getcolors(2**14)) > 1 for picture, _ in cards] == [False, False, True]
    assert tab.clicked_card(SimpleNamespace(index=2)) == "dusk"


def test_facts(tab: Any, host: Host):
    library = host.webui("host").library
    about, picture = tab.show("dusk")
    for words in (FAMILY, "dusk.safetensors", library.get("dusk").content_hash[:10], "Nearest: "):
        assert words in about
    assert picture is None
    assert tab.show(None) == ["", None]


def test_facts_of_an_unreadable_file(tab: Any, host: Host):
    (host.root / "models/aesthetic_embeddings/bad.pt").write_bytes(b"")
    host.webui("host").library.refresh()
    about, _ = tab.show("bad")
    assert "bad.pt is empty" in about
    assert "bad" in host.webui("creation").names()
    said, chosen, _ = tab.delete("bad", True)
    assert "Deleted" in said
    assert chosen["value"] is None
    assert "bad" not in chosen["choices"]


def test_preview_rename_delete(tab: Any, host: Host):
    folder = host.root / "models/aesthetic_embeddings"
    assert "no picture yet" in tab.save_preview("dusk", None)
    tab.save_preview("dusk", Image.new("RGBA", (2000, 1000), "red"))
    assert tab.show("dusk")[1].size == (512, 256)
    said, chosen = tab.rename("dusk", " night/late ")
    assert "late.safetensors" in said
    assert chosen["value"] == "night/late"
    assert (folder / "night" / "late.preview.png").exists()
    said, *_ = tab.delete("night/late", False)
    assert "Tick Confirm deletion" in said
    assert (folder / "night" / "late.safetensors").exists()
    said, chosen, sure = tab.delete("night/late", True)
    assert "Deleted" in said
    assert not sure["value"]
    assert list((folder / "night").iterdir()) == []


def test_rename_keeps_what_is_there(tab: Any, host: Host):
    said, chosen = tab.rename("dusk", "dawn")
    assert "already" in said
    assert chosen == gr.update()
    assert host.webui("host").library.names() == ["dawn", "dusk"]


@pytest.mark.parametrize("recipe", ["dusk:0.7 dawn:-0.3", " dusk: 0.7   dawn:-0.3 "])
def test_blend(tab: Any, host: Host, recipe: str):
    said, chosen = tab.blend("both", recipe, False)
    assert "both.safetensors" in said
    assert chosen["value"] == "both"
    library = host.webui("host").library
    expected = ae.blend([(library.get("dusk"), 0.7), (library.get("dawn"), -0.3)])
    assert library.get("both").content_hash == expected.content_hash
    assert "already" in tab.blend("both", "dusk", False)[0]
    tab.blend("both", "dusk", True)
    assert library.get("both").content_hash == library.get("dusk").content_hash


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("", "Write what to blend"),
        ("dusk:much", "no aesthetic"),
        ("night:1", "no aesthetic"),
        ("dusk:1 dawn", "has none"),
    ],
)
def test_an_invalid_recipe(tab: Any, recipe: str, words: str):
    assert words in tab.blend("both", recipe, False)[0]


def test_export(tab: Any, host: Host):
    host.webui("host").library.save(embedding("moods/dark", 5))
    _, shown = tab.export("moods/dark")
    path = shown["value"]
    assert Path(path).name == "dark.safetensors"
    assert ae.load(path).content_hash == embedding("", 5).content_hash
    assert "Choose" in tab.export(None)[0]
