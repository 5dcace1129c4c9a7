"""Jobs that are copied and used again, jobs inside jobs, and extensions that reach for the same methods."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from .fake_host import Host, Job, Picture, ScriptRunner
from .outside import close, cond, outside

WANTED = {"embedding": "dusk", "steps": 2}


def plain(host: Host, prompt: Any = "a castle") -> torch.Tensor:
    return cond(host.generate(host.job(prompt))[0])


def is_tuned(host: Host, picture: Picture, prompt: str = "a castle", steps: int = 2) -> bool:
    return close(cond(picture), outside(host, prompt, steps=steps), plain(host, prompt))


# ---------------------------------------------------------------- the host's scripts


def test_copies_of_a_job_that_ran(host: Host):
    """scripts/xyz_grid.py (cell) and scripts/prompts_from_file.py (run) copy `p` and change the copy."""
    p = host.job("a castle", **WANTED)
    host.process_images(p)
    for prompt, steps in [("a castle", 2), ("a ship", 2), ("a castle", 3)]:
        pc = copy.copy(p)
        pc.prompt, pc.width = prompt, 640
        pc.script_args = host.job(prompt, **WANTED | {"steps": steps}).script_args
        (picture,) = host.process_images(pc)
        assert is_tuned(host, picture, prompt, steps)
        assert 640 in pc.cached_params([], 20, {})  # the copy's own size, not that of `p`
        assert 640 not in p.cached_params([], 20, {})
    assert is_tuned(host, *host.process_images(p))


def test_a_copy_with_the_box_unticked(host: Host):
    p = host.job("a castle", **WANTED)
    host.process_images(p)
    pc = copy.copy(p)
    pc.script_args = host.job("a castle").script_args
    (picture,) = host.process_images(pc)
    assert torch.equal(cond(picture), plain(host))
    assert "aesthetic_hook" not in vars(pc)
    assert is_tuned(host, *host.process_images(p))


def test_a_job_that_is_used_again(host: Host, tunings: list):
    """scripts/loopback.py (run) gives the same `p` to process_images again and again."""
    p = host.job("a castle", **WANTED)
    for _ in range(3):
        assert is_tuned(host, *host.process_images(p))
    assert len(tunings) == 1
    p.script_args = host.job("a castle").script_args
    assert torch.equal(cond(host.process_images(p)[0]), plain(host))


# ---------------------------------------------------------------- other extensions


class Inner:
    """Runs a job of its own for each picture, as a detailer does, with the scripts that it was told to."""

    def __init__(self, host: Host, scripts: list[Any]) -> None:
        self.host, self.scripts, self.pictures = host, ScriptRunner(host, scripts), []

    def postprocess_image(self, p: Job) -> None:
        inner = self.host.Job(p.prompt, scripts=self.scripts, script_args=p.script_args)
        self.pictures += self.host.process_images(inner)


def test_an_inner_job_without_our_script_is_plain(host: Host):
    host.scripts.add(inner := Inner(host, []))
    (picture,) = host.generate(host.job("a castle", **WANTED, more={"n_iter": 1}))
    host.scripts.remove(inner)
    assert torch.equal(cond(inner.pictures[0]), plain(host))
    assert is_tuned(host, picture)


def test_an_inner_job_with_our_script_is_tuned(host: Host, tunings: list):
    host.scripts.add(inner := Inner(host, [host.script]))
    host.generate(host.job("a castle", **WANTED))
    host.scripts.remove(inner)
    assert is_tuned(host, *inner.pictures)
    assert len(tunings) == 1


def test_an_inner_job_that_is_a_copy_leaves_the_outer_one_alone(host: Host):
    class Copies(Inner):
        def postprocess_image(self, p: Job) -> None:
            pc = copy.copy(p)
            pc.scripts, pc.n_iter, pc.prompt = ScriptRunner(host, [host.script]), 1, "a ship"
            self.pictures += self.host.process_images(pc)

    host.scripts.add(inner := Copies(host, []))
    pictures = host.generate(host.job(["a castle"] * 2, **WANTED, more={"n_iter": 2}))
    host.scripts.remove(inner)
    assert all(is_tuned(host, picture) for picture in pictures)
    assert all(is_tuned(host, picture, "a ship") for picture in inner.pictures)


class ADetailer:
    """Bing-su/adetailer, scripts/!adetailer.py: after each picture it runs a job of its own, and calls the scripts'
    `process` for a copy of the outer one (postprocess_image)."""

    def title(self) -> str:
        return "ADetailer"

    def postprocess_image(self, p: Job, *arguments: Any) -> None:
        p.scripts.process(copy.copy(p))


@pytest.mark.parametrize("prompt", ["a castle", "a castle<aesthetic:dawn:0.5>"])
def test_a_copy_that_scripts_process_leaves_the_infotext_alone(host: Host, prompt: str):
    (_, p) = host.generate(first := host.job(prompt, **WANTED)), first
    expected = p.infotexts[0]
    assert "Aesthetic similarity" in expected
    host.scripts.add(other := ADetailer())
    host.generate(p := host.job(prompt, **WANTED, more={"n_iter": 2}))
    host.scripts.remove(other)
    assert p.infotexts == [expected, expected]


def test_a_copy_that_scripts_process_leaves_the_error_alone(host: Host):
    host.state.on_text = lambda text: host.state.skip()
    host.scripts.add(other := ADetailer())
    host.generate(p := host.job("a castle", **WANTED))
    host.scripts.remove(other)
    assert p.infotexts[0]["Aesthetic error"] == "Interrupted, so the prompt stayed plain."
    assert "Aesthetic similarity" not in p.infotexts[0]


@pytest.mark.parametrize("flavor", ["a1111"])
@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ([True, False, {"ad_model": "face_yolov8n.pt"}], {}, True),
        ([{"ad_model": "face_yolov8n.pt"}], {}, True),
        ([False, False, {"ad_model": "face_yolov8n.pt"}], {}, False),
        ([True, False, {"ad_model": "None"}], {}, False),
        ([True, False, {"ad_model": "face.pt", "ad_tab_enable": False}], {}, False),
        ([True, False, {"ad_model": "face.pt"}], {"ad_script_names": "dynamic_prompting, aesthetic_gradients"}, False),
        ([True, False, {"ad_model": "face.pt"}], {"ad_script_names": "dynamic_prompting"}, True),
        ([True, False, {"ad_model": "face.pt"}], {"ad_only_selected_scripts": False}, False),
    ],
)
def test_adetailers_plain_faces_are_mentioned(host: Host, arguments: list, options: dict[str, Any], expected: bool):
    for name, value in options.items():
        setattr(host.opts, name, value)
    host.scripts.add(other := ADetailer(), len(arguments))
    p = host.job("a castle", **WANTED, more={"n_iter": 2})
    p.script_args[other.args_from :] = arguments
    host.generate(p)
    off = host.job("a castle")
    off.script_args[other.args_from :] = arguments
    host.generate(off)
    host.scripts.remove(other)
    assert sum("ADetailer repaints" in comment for comment in p.comments) == expected
    assert off.comments == {}


class Wrapper:
    """Wraps the same two methods on the instance: counts, adds to the key, and hands a copy of the result on."""

    def __init__(self, method: str, token: str = "theirs") -> None:
        self.calls, self.token = 0, token
        setattr(self, method, self._wrap)

    def _wrap(self, p: Job) -> None:
        conds, key = p.get_conds_with_caching, p.cached_params

        def get_conds_with_caching(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return copy.copy(conds(*args, **kwargs))

        p.get_conds_with_caching = get_conds_with_caching
        p.cached_params = lambda *args, **kwargs: (*key(*args, **kwargs), self.token)


@pytest.mark.parametrize("place", ["inside", "around", "around, in each batch"])
def test_another_extensions_wrapper(host: Host, place: str, tunings: list):
    other = Wrapper("process_batch" if "batch" in place else "process")
    host.scripts.add(other, place=0 if place == "inside" else 1)
    p = host.job("a castle", "blurred", **WANTED)
    (picture,) = host.generate(p)
    assert other.calls == 2
    assert host.faults == []
    assert any("similarity" in comment for comment in p.comments)
    (again,) = host.generate(host.job("a castle", "blurred", **WANTED))
    assert torch.equal(cond(again), cond(picture))
    assert len(tunings) == 1
    host.scripts.remove(other)
    assert is_tuned(host, picture)


@pytest.mark.parametrize("place", ["inside", "around"])
def test_another_extensions_wrapper_on_a_job_used_again(host: Host, place: str, tunings: list):
    other = Wrapper("process")
    host.scripts.add(other, place=0 if place == "inside" else 1)
    p = host.job("a castle", **WANTED)
    pictures = [host.process_images(p)[0] for _ in range(3)]
    p.script_args = host.job("a castle").script_args
    (off,) = host.process_images(p)
    host.scripts.remove(other)
    assert all(is_tuned(host, picture) for picture in pictures)
    assert torch.equal(cond(off), plain(host))
    assert len(tunings) == 1


def test_a_copy_of_a_wrapped_job_is_tuned_once_and_leaves_the_outer_one_tuned(host: Host, tunings: list):
    class Copies(Inner):
        def postprocess_image(self, p: Job) -> None:
            pc = copy.copy(p)
            pc.scripts, pc.n_iter = ScriptRunner(host, [host.script]), 1
            pc.script_args = host.job("a castle", **WANTED | {"steps": 3}).script_args
            self.pictures += self.host.process_images(pc)

    host.scripts.add(other := Wrapper("process"))
    host.scripts.add(inner := Copies(host, []))
    pictures = host.generate(host.job(["a castle", "a ship"], **WANTED, more={"n_iter": 2}))
    host.scripts.remove(other)
    host.scripts.remove(inner)
    assert is_tuned(host, pictures[0])
    assert is_tuned(host, pictures[1], "a ship")
    assert all(is_tuned(host, picture, steps=3) for picture in inner.pictures)  # of its first prompt, each time
    assert len(tunings) == 3


def test_the_job_is_not_held_up_where_another_replaces_the_methods(host: Host):
    class Replaces:
        def process(self, p: Job) -> None:
            p.get_conds_with_caching = lambda *args, **kwargs: type(p).get_conds_with_caching(p, *args, **kwargs)
            p.cached_params = lambda *args, **kwargs: type(p).cached_params(p, *args, **kwargs)

    host.scripts.add(other := Replaces())
    (picture,) = host.generate(host.job("a castle", **WANTED))
    host.scripts.remove(other)
    assert torch.equal(cond(picture), plain(host))


# ---------------------------------------------------------------- the old extension


def old_extension(host: Host, **values: Any) -> Any:
    """aesthetic_clip.py of stable-diffusion-webui-aesthetic-gradients takes the place of `process_tokens`."""
    hook = type("AestheticCLIP", (), {"aesthetic_steps": 5, "aesthetic_lr": 1e-4, "aesthetic_weight": 0.9, **values})()
    real = host.model.engine.process_tokens
    type(hook).__call__ = lambda self, ids, multipliers: real(ids, multipliers)
    host.model.engine.process_tokens = hook
    return hook


@pytest.mark.parametrize("flavor", ["a1111"])  # in Forge it has no encoder to take hold of
def test_the_old_extension_goes_first(host: Host, tunings: list):
    hook = old_extension(host, image_embs_name="dusk")
    (picture,) = host.generate(p := host.job("a castle", **WANTED))
    assert torch.equal(cond(picture), plain(host))
    assert tunings == []
    (comment,) = p.comments
    assert "old" in comment
    assert "Set its dropdown to None" in comment
    hook.image_embs_name = None
    assert is_tuned(host, *host.generate(host.job("a castle", **WANTED)))
