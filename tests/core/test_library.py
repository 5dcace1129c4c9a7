import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aesthetic_embeddings.aesthetics.embedding import AestheticEmbedding, load
from aesthetic_embeddings.aesthetics.library import Library, default_folders
from aesthetic_embeddings.aesthetics.mixes import Mix
from aesthetic_embeddings.aesthetics.names import check_name
from aesthetic_embeddings.errors import AestheticError, FileError
from aesthetic_embeddings.storage import paths

L = "clip-vit-l-14"


def embedding(seed=0, name=""):
    return AestheticEmbedding({L: torch.randn(768, generator=torch.Generator().manual_seed(seed))}, name)


def put(path: Path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        embedding(seed).save(path, overwrite=True)
    else:
        torch.save(embedding(seed).vectors[L], path)
    return path


def holds(e, seed):
    return e.content_hash == embedding(seed).content_hash


def test_names_are_paths_below_any_of_the_folders(tmp_path):
    put(tmp_path / "one" / "moods" / "very" / "dark.pt", 1)
    put(tmp_path / "one" / "Sea v1.2.safetensors", 2)
    put(tmp_path / "two" / "art.bin", 3)
    put(tmp_path / "two" / ".hidden.pt", 4)
    (tmp_path / "two" / "readme.txt").write_text("not ours")
    library = Library([tmp_path / "one", tmp_path / "two", tmp_path / "missing"])
    assert library.names() == ["art", "moods/very/dark", "Sea v1.2"]
    e = library.get("moods/very/dark")
    assert e.name == "moods/very/dark"
    assert holds(e, 1)
    assert not (tmp_path / "missing").exists()


def test_links_are_followed_and_end(tmp_path):
    put(tmp_path / "elsewhere" / "dark.pt")
    (tmp_path / "lib").mkdir()
    try:
        (tmp_path / "lib" / "linked").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "lib")
    except OSError:
        pytest.skip("this system allows no links")
    assert Library([tmp_path / "lib"]).names() == ["linked/dark"]


def test_a_folder_within_another_is_not_read_twice(tmp_path):
    put(tmp_path / "sub" / "dark.pt")
    assert [e.name for e in Library([tmp_path, tmp_path / "sub"]).entries] == ["sub/dark"]


def test_bad_files_are_listed_with_their_fault(tmp_path):
    put(tmp_path / "good.pt")
    (tmp_path / "bad.pt").write_bytes(b"")
    library = Library([tmp_path])
    assert library.names() == ["good"]
    fault = next(e.fault for e in library.entries if e.name == "bad")
    assert "bad.pt is empty" in fault
    with pytest.raises(FileError, match=r"bad\.pt is empty"):
        library.get("bad")


def test_equal_content_is_offered_once_but_found_by_every_name(tmp_path):
    put(tmp_path / "one" / "a.pt", 1)
    put(tmp_path / "two" / "b.safetensors", 1)
    put(tmp_path / "two" / "a.pt", 1)
    library = Library([tmp_path / "one", tmp_path / "two"])
    assert library.names() == ["a"]
    assert [(e.name, e.duplicate_of, e.fault) for e in library.entries] == [
        ("a", "", ""),
        ("b", "a", ""),
        ("a", "a", ""),
    ]
    assert holds(library.get("b"), 1)


def test_for_one_name_the_first_folder_and_safetensors_win(tmp_path):
    put(tmp_path / "one" / "dark.pt", 1)
    put(tmp_path / "one" / "dark.safetensors", 2)
    put(tmp_path / "two" / "dark.safetensors", 3)
    library = Library([tmp_path / "one", tmp_path / "two"])
    assert library.names() == ["dark"]
    assert holds(library.get("dark"), 2)
    hidden = [e for e in library.entries if e.fault]
    assert len(hidden) == 2
    assert all("is hidden by" in e.fault for e in hidden)
    assert holds(library.find(embedding(3).content_hash), 3)


def test_what_is_hidden_under_one_name_is_offered_under_another(tmp_path):
    put(tmp_path / "dark.safetensors", 1)
    put(tmp_path / "dark.pt", 2)
    put(tmp_path / "sea.pt", 2)
    library = Library([tmp_path])
    assert library.names() == ["dark", "sea"]
    assert holds(library.get("sea"), 2)


def test_refresh_sees_new_deleted_and_changed_files(tmp_path):
    put(tmp_path / "a.safetensors", 1)
    put(tmp_path / "b.safetensors", 2)
    library = Library([tmp_path])
    kept = library.entries[1].embedding
    put(tmp_path / "a.safetensors", 5)  # the same size, and perhaps within one tick of the clock
    put(tmp_path / "c.pt", 3)
    library.refresh()
    assert holds(library.get("a"), 5)
    assert library.names() == ["a", "b", "c"]
    assert library.entries[1].embedding.vectors[L] is not None
    assert kept.content_hash == library.get("b").content_hash
    (tmp_path / "b.safetensors").unlink()
    library.refresh()
    assert library.names() == ["a", "c"]


def test_an_unchanged_file_is_not_read_again(tmp_path, monkeypatch):
    put(tmp_path / "a.pt")
    library = Library([tmp_path])
    monkeypatch.setattr("aesthetic_embeddings.aesthetics.library.load", None)
    library.refresh()
    assert library.names() == ["a"]


def test_an_unknown_name_suggests_similar_ones(tmp_path):
    library = Library([tmp_path])
    with pytest.raises(AestheticError, match="no aesthetic yet"):
        library.get("dark")
    put(tmp_path / "glowwave.pt", 1)
    put(tmp_path / "sea.pt", 2)
    library.refresh()
    with pytest.raises(AestheticError, match=r"'glowave'\. Did you mean glowwave\?"):
        library.get("glowave")
    with pytest.raises(AestheticError, match=r"'x'\. There are glowwave, sea\."):
        library.get("x")


def test_a_renamed_file_is_found_by_its_content(tmp_path):
    put(tmp_path / "a.pt", 1)
    library = Library([tmp_path])
    digest = embedding(1).content_hash
    library.rename("a", "moods/b")
    assert library.find(digest).name == "moods/b"
    assert library.find(digest[:10].upper()).name == "moods/b"
    assert library.find(digest[:7]) is None
    assert library.find("0" * 64) is None


# ---- changes ----


def test_new_files_go_to_the_first_folder(tmp_path):
    library = Library([tmp_path / "new", tmp_path])
    path = library.save(embedding(1, "moods/dark"))
    assert path == tmp_path / "new" / "moods" / "dark.safetensors"
    assert holds(library.get("moods/dark"), 1)


def test_a_taken_name_is_refused_unless_told_otherwise(tmp_path):
    put(tmp_path / "one" / "dark.safetensors", 1)
    put(tmp_path / "two" / "sea.pt", 2)
    library = Library([tmp_path / "one", tmp_path / "two"])
    for name in ("dark", "sea"):
        with pytest.raises(AestheticError, match=f"called '{name}' already"):
            library.save(embedding(3, name))
        library.save(embedding(3, name), overwrite=True)
        assert holds(library.get(name), 3)
    assert holds(load(tmp_path / "two" / "sea.pt"), 2)
    for name in ("DARK", "Sea"):
        with pytest.raises(AestheticError, match="would be one file"):
            library.save(embedding(4, name), overwrite=True)


def test_names_that_differ_only_in_how_an_accent_is_written_collide(tmp_path):
    library = Library([tmp_path])
    library.save(embedding(1, "caf\N{LATIN SMALL LETTER E WITH ACUTE}"))
    with pytest.raises(AestheticError, match="would be one file"):
        library.save(embedding(2, "cafe\N{COMBINING ACUTE ACCENT}"))


def test_rename_keeps_the_kind_of_file_and_overwrites_nothing(tmp_path):
    put(tmp_path / "two" / "dark.pt", 1)
    put(tmp_path / "two" / "sea.pt", 2)
    library = Library([tmp_path / "one", tmp_path / "two"])
    with pytest.raises(AestheticError, match="called 'sea' already"):
        library.rename("dark", "sea")
    with pytest.raises(AestheticError, match="cannot be a name"):
        library.rename("dark", "../sea")
    assert library.rename("dark", "Dark") == tmp_path / "two" / "Dark.pt"
    assert library.names() == ["Dark", "sea"]


def test_delete_takes_good_and_bad_files(tmp_path):
    put(tmp_path / "a.pt")
    (tmp_path / "bad.pt").write_bytes(b"x")
    library = Library([tmp_path])
    library.delete("a")
    library.delete("bad")
    assert os.listdir(tmp_path) == []
    with pytest.raises(AestheticError, match="no aesthetic"):
        library.delete("a")


def test_errors_of_the_system_are_reported(tmp_path):
    put(tmp_path / "a.pt")
    library = Library([tmp_path])
    (tmp_path / "a.pt").unlink()
    with pytest.raises(FileError, match=r"a\.pt cannot be renamed"):
        library.rename("a", "b")
    library = Library([put(tmp_path / "b.pt").parent])
    (tmp_path / "b.pt").unlink()
    with pytest.raises(FileError, match=r"b\.pt cannot be deleted"):
        library.delete("b")


def test_import_makes_safetensors_of_legacy_files(tmp_path):
    library = Library([tmp_path / "lib"])
    old = put(tmp_path / "sac_8plus.pt", 1)
    path = library.import_(old)
    assert path == tmp_path / "lib" / "sac_8plus.safetensors"
    assert load(path).notes == "imported from sac_8plus.pt"
    assert library.import_(old, "art/best").name == "best.safetensors"
    with pytest.raises(AestheticError, match="already"):
        library.import_(put(tmp_path / "sac_8plus.pt", 2))


def test_a_legacy_file_is_imported_beside_itself(tmp_path):
    library = Library([put(tmp_path / "dark.pt", 1).parent])
    library.import_(tmp_path / "dark.pt")
    assert library.names() == ["dark"]
    assert not any(e.fault for e in library.entries)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/etc/dark",
        "a//b",
        "a/",
        "..",
        "../a",
        "a/../../b",
        ".",
        ".hidden",
        "C:/a",
        "c:a",
        "a\\b",
        "\\\\server\\share",
        "a?",
        "a*",
        "<a>",
        'a"',
        "a|b",
        "a\nb",
        "a\0",
        "a.",
        "a ",
        " a",
        "x /y",
        "con",
        "NUL",
        "aux.txt",
        "moods/com1",
        "CONIN$",
        "moods/conout$.txt",
        "a\u200bb",
        "a\u202eb",
        "a\u2066b",
        "\ufeffa",
        "a\u00adb",
        "a\u2028b",
        "a\u3164",
        "a\ufe0f",
        "a\u180b",
        "a\u2065b",
        "a\U000e0101",
        "a\x9fb",
        "/".join("abcdefghi"),
        "x" * 150 + "/" + "y" * 150,
        "é" * 101,
        "x" * 10**6,
        "/" * 10**6,
        "LPT9.old",
        "a\udc80",
        "x" * 201,
    ],
)
def test_names_that_are_no_files_everywhere_are_refused(tmp_path, name):
    with pytest.raises(AestheticError, match="cannot be a name"):
        Library([tmp_path]).save(embedding(name=name))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        *("dark", "moods/dark & wet", "v1.2", "console", "com", "海", "a.b/c", "nulls", "x" * 200, "conin", "❤️ sunset"),
        *("/".join("abcdefgh"), "x" * 100 + "/" + "y" * 154, "ü" * 100, "naïve", "مساء"),
    ],
)
def test_good_names_are_accepted(name):
    check_name(name)


@given(st.text(st.sampled_from("aA./\\ :~*"), max_size=8))
def test_no_name_that_passes_leaves_the_folder(name):
    try:
        check_name(name)
    except AestheticError:
        return
    folder = os.path.join(os.sep, "lib")
    assert os.path.normpath(os.path.join(folder, name)) == os.path.join(folder, *name.split("/"))


def test_the_default_folder_is_the_users_own_or_as_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv("AESTHETIC_EMBEDDINGS", raising=False)
    assert default_folders()[0].parts[-2:] == ("aesthetic-gradients", "embeddings")
    monkeypatch.setenv("AESTHETIC_EMBEDDINGS", os.pathsep.join([str(tmp_path / "a"), "", str(tmp_path / "b")]))
    assert default_folders() == [tmp_path / "a", tmp_path / "b"]


def test_a_library_needs_a_folder():
    with pytest.raises(AestheticError, match="at least one folder"):
        Library([])


def test_folders_of_code_are_skipped(tmp_path):
    put(tmp_path / "dark.pt", 1)
    put(tmp_path / "code" / "models" / "weights.safetensors", 2)
    (tmp_path / "code" / "__init__.py").touch()
    (tmp_path / "__init__.py").touch()  # the extension's own package, where users drop files: entered, being asked for
    assert Library([tmp_path]).names() == ["dark"]


def beside(folder: Path, name: str, endings=(".preview.png", ".png", ".jpg", ".webp", ".json", ".civitai.info")):
    for ending in endings:
        (folder / (name + ending)).write_text(f"of {name}")


def test_side_files_are_renamed_and_deleted_too(tmp_path):
    put(tmp_path / "dark v1.2.safetensors", 1)
    beside(tmp_path, "dark v1.2")
    beside(tmp_path, "dark v1")  # another one's
    library = Library([tmp_path])
    library.rename("dark v1.2", "moods/bright")
    assert sorted(p.name for p in (tmp_path / "moods").iterdir()) == [
        "bright.civitai.info",
        "bright.jpg",
        "bright.json",
        "bright.png",
        "bright.preview.png",
        "bright.safetensors",
        "bright.webp",
    ]
    assert (tmp_path / "moods" / "bright.json").read_text() == "of dark v1.2"
    library.delete("moods/bright")
    assert list((tmp_path / "moods").iterdir()) == []
    assert len(list(tmp_path.glob("dark v1.*"))) == 6


def test_side_files_stay_with_a_second_file_of_the_name(tmp_path):
    put(tmp_path / "dark.safetensors", 1)
    put(tmp_path / "dark.pt", 2)
    beside(tmp_path, "dark", [".preview.png"])
    library = Library([tmp_path])
    library.delete("dark")
    assert (tmp_path / "dark.preview.png").exists()
    assert library.preview("dark") == tmp_path / "dark.preview.png"
    library.delete("dark")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_leaves_no_room_for_other_endings(tmp_path):
    name = "n" * 252  # 255 bytes with .pt, so that no longer ending is possible
    put(tmp_path / f"{name}.pt")
    library = Library([tmp_path])
    assert library.preview(name) is None
    library.rename(name, "short")
    library.rename("short", "s" * 200)
    library.delete("s" * 200)
    put(tmp_path / f"{name}.pt")
    library.refresh()
    library.delete(name)
    assert not library.names()


def test_a_preview_is_a_picture_beside_the_file(tmp_path):
    put(tmp_path / "moods" / "dark.pt", 1)
    beside(tmp_path / "moods", "dark", [".json", ".civitai.info"])
    library = Library([tmp_path])
    assert library.preview("moods/dark") is None
    beside(tmp_path / "moods", "dark", [".jpg"])
    assert library.preview("moods/dark") == tmp_path / "moods" / "dark.jpg"
    path = library.set_preview("moods/dark", b"png")
    assert path == library.preview("moods/dark") == tmp_path / "moods" / "dark.preview.png"
    assert path.read_bytes() == b"png"
    with pytest.raises(AestheticError, match="no aesthetic called 'light'"):
        library.set_preview("light", b"png")


def test_nearest(tmp_path):
    put(tmp_path / "a.pt", 1)
    put(tmp_path / "b.pt", 2)
    put(tmp_path / "same as a.pt", 1)
    AestheticEmbedding({"clip-8x1-4": torch.ones(4)}).save(tmp_path / "other family.safetensors")
    library = Library([tmp_path])
    mixed = library.blend(Mix((("a", 1), ("b", -0.5))), "mixed")
    (first, high), (second, low) = library.nearest(mixed, L)
    assert (first, second) == ("a", "b")
    assert high == pytest.approx(torch.cosine_similarity(mixed.vectors[L], embedding(1).vectors[L], dim=0).item())
    assert low < 0
    library.save(mixed)
    assert [name for name, _ in library.nearest(library.get("mixed"), L)] == ["a", "b"]


def test_vectors_of_one_family_name_and_several_lengths_are_not_compared(tmp_path):
    for seed, (name, length) in enumerate({"neutral": 5, "a": 5, "b": 5, "other": 7}.items()):
        vector = torch.randn(length, generator=torch.Generator().manual_seed(seed))
        AestheticEmbedding({"family": vector}).save(tmp_path / f"{name}.safetensors")
    library = Library([tmp_path])
    assert library.get("a").ordinary
    assert not library.get("other").ordinary
    assert library.nearest(library.get("other"), "family") == []
    (tmp_path / "neutral.safetensors").unlink()
    library.refresh()
    assert [name for name, _ in library.nearest(library.get("a"), "family")] == ["b"]
    with pytest.raises(AestheticError, match="no CLIP family in common"):
        library.blend(Mix((("a", 1), ("other", 1))))


def test_a_neutral_embedding_that_cannot_be_scaled_is_left_out(tmp_path):
    AestheticEmbedding({L: torch.full((768,), 2e-22)}).save(tmp_path / "neutral.safetensors")
    AestheticEmbedding({L: torch.full((768,), 5e17)}).save(tmp_path / "large.safetensors")
    put(tmp_path / "good.pt")
    library = Library([tmp_path])
    assert library.get("good").ordinary
    assert not library.get("large").ordinary


def test_ordinary_pictures_of_norm_zero_take_nothing_away(tmp_path):
    tiny = {L: torch.full((768,), 1e-40)}  # whose squares are zero
    AestheticEmbedding(embedding(1).vectors, against=tiny).save(tmp_path / "a.safetensors")
    put(tmp_path / "b.pt", 1)
    library = Library([tmp_path])
    assert library.nearest(library.get("a"), L)[0][1] == pytest.approx(1)
    assert library.get("a").own_share(L) is None


def test_a_refused_name_is_quoted_in_a_few_words():
    for name in ("x" * 10**6, "a\u202e" * 300, "a/" * 10**5):
        with pytest.raises(AestheticError, match="cannot be a name") as error:
            check_name(name)
        assert len(str(error.value)) < 200
        assert "\u202e" not in str(error.value)


def test_an_unknown_name_of_a_megabyte_is_quoted_in_a_few_words(tmp_path):
    put(tmp_path / "a.pt")
    start = time.process_time()
    with pytest.raises(AestheticError, match="no aesthetic called") as error:
        Library([tmp_path]).get("a" * 2**20)
    assert time.process_time() - start < 0.5
    assert len(str(error.value)) < 300


# ---- all or nothing ----


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("ending", [".png", ".preview.png", ".json", ".civitai.info"])
def test_rename_overwrites_no_other_file(tmp_path, ending):
    put(tmp_path / "dark.safetensors", 1)
    beside(tmp_path, "dark")
    (tmp_path / f"sunset{ending}").write_text("a stranger's")
    library, before = Library([tmp_path]), files_of(tmp_path)
    with pytest.raises(FileError, match=rf"sunset{ending} exists already.*move that file"):
        library.rename("dark", "sunset")
    assert files_of(tmp_path) == before
    assert library.names() == ["dark"]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("action", ["rename", "delete"])
def test_a_step_that_fails_leaves_all_as_it_was(tmp_path, monkeypatch, action, number):
    put(tmp_path / "dark.safetensors", 1)
    beside(tmp_path, "dark", (".preview.png", ".png", ".json", ".civitai.info"))
    library, before, calls = Library([tmp_path]), files_of(tmp_path), []

    def move(source, target):
        calls.append(source)
        if len(calls) == number + 1:
            raise OSError(28, "No space left on device")
        moved(source, target)

    moved = paths.move
    monkeypatch.setattr(paths, "move", move)
    with pytest.raises(FileError, match=rf"dark\.safetensors cannot be {action}d.*No space left"):
        library.rename("dark", "sunset") if action == "rename" else library.delete("dark")
    assert files_of(tmp_path) == before
    assert library.names() == ["dark"]
    monkeypatch.setattr(paths, "move", moved)
    library.rename("dark", "sunset") if action == "rename" else library.delete("dark")
    assert len(files_of(tmp_path)) == (5 if action == "rename" else 0)


def test_the_embedding_is_moved_first(tmp_path, monkeypatch):
    """So that whoever is killed in the middle has it whole, under the old name or the new one."""
    put(tmp_path / "dark.safetensors", 1)
    beside(tmp_path, "dark", (".preview.png",))
    order = []
    moved = paths.move
    monkeypatch.setattr(paths, "move", lambda a, b: (order.append(a.name), moved(a, b)))
    Library([tmp_path]).rename("dark", "sunset")
    Library([tmp_path]).delete("sunset")
    assert order == ["dark.safetensors", "dark.preview.png", "sunset.safetensors", "sunset.preview.png"]


# ---- folders ----


@pytest.fixture
def deep(tmp_path):
    """A folder of 1500 levels: more than Python recurses, also in removing them, and than a path can name."""
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems reach fewer folders by a path")
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        yield tmp_path
        os.chdir(here)
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_deep_folders_are_walked(deep):
    """What the system reaches by a path is found, the rest is left out."""
    put(deep / "d" / "d" / "dark.pt", 1)
    put(deep.joinpath(*"d" * 1100) / "deep.pt", 2)
    assert Library([deep]).names() == sorted(["d/d/dark", "d/" * 1100 + "deep"])


@pytest.mark.parametrize("target", ["itself", "n" * 300])
def test_a_link_that_leads_nowhere_is_left_out(tmp_path, target):
    put(tmp_path / "good.pt")
    try:
        for name in ("itself", "itself.pt"):
            (tmp_path / name).symlink_to(target if target != "itself" else name)
    except OSError:
        pytest.skip("this system allows no such links")
    assert Library([tmp_path]).names() == ["good"]


def test_each_folder_is_visited_once(tmp_path, monkeypatch):
    for i in range(5):
        put(tmp_path / "a" / "b" / str(i) / "dark.pt", i)
    try:
        (tmp_path / "a" / "loop").symlink_to(tmp_path)
    except OSError:
        pytest.skip("this system allows no links")
    calls = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (calls.append(path), scandir(path))[1])
    monkeypatch.setattr(os.path, "realpath", None)
    assert len(Library([tmp_path, tmp_path / "a"]).names()) == 5
    assert len(calls) == 8  # the root, a, b and five; not twice, and not through the link


def test_old_temporary_files_are_deleted_at_the_next_save(tmp_path):
    old, new, other = (tmp_path / f".{i * 32}.tmp" for i in "abc")
    named = tmp_path / ".mine.tmp"
    for file in (old, new, other, named):
        file.write_bytes(b"half")
    for file in (old, named):
        os.utime(file, (time.time() - 3601,) * 2)
    (tmp_path / "sub").mkdir()
    library = Library([tmp_path])
    library.save(embedding(1, "sub/dark"))  # another folder
    assert old.exists()
    library.save(embedding(2, "dark"))
    assert not old.exists()
    assert new.exists()
    assert named.exists()


def test_moving_where_the_system_cannot_rename_without_replacing(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "_rename_without_replacing", lambda *_: False)
    a, b, c = (tmp_path / name for name in "abc")
    a.write_text("a")
    c.write_text("c")
    paths.move(a, b)
    assert (b.read_text(), a.exists()) == ("a", False)
    with pytest.raises(FileExistsError):
        paths.move(b, c)
    assert (b.read_text(), c.read_text()) == ("a", "c")
    with pytest.raises(FileNotFoundError):
        paths.move(a, tmp_path / "d")
    assert not (tmp_path / "d").exists()
