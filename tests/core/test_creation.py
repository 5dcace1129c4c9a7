import copy
import io
import threading
import warnings

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from aesthetic_embeddings import pocket
from aesthetic_embeddings.aesthetics import creation, image_encoder
from aesthetic_embeddings.aesthetics import pictures as reading
from aesthetic_embeddings.aesthetics.creation import (
    Creation,
    combine,
    create,
    create_each,
    create_in_library,
    create_with_report,
)
from aesthetic_embeddings.aesthetics.embedding import AestheticEmbedding
from aesthetic_embeddings.aesthetics.encoders import ENCODERS, encoder_name, encoder_of_family
from aesthetic_embeddings.aesthetics.families import clip_signature
from aesthetic_embeddings.aesthetics.library import Library
from aesthetic_embeddings.errors import AestheticError, EncoderError, FileError, Interrupted

SIZE = 32
FAMILY = "clip-32x2-24"
PilProcessor = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor


def clip(**vision):
    torch.manual_seed(3)
    sizes = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"hidden_size": 32, "vocab_size": 99, **sizes}
    vision = {"hidden_size": 16, "image_size": SIZE, "patch_size": 8, **sizes, **vision}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()


def processor():
    return PilProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """As on a machine without bf16, whose results are those of the model itself."""
    monkeypatch.setattr(image_encoder, "_bf16_is_faster", lambda weight: False)


@pytest.fixture(scope="module")
def model():
    return clip()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "pocket-clip"
    model.save_pretrained(path, safe_serialization=True)
    processor().save_pretrained(path)
    return path


def noise(width=40, height=30, seed=0, mode="RGB"):
    numbers = torch.randint(
        0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    return Image.fromarray(numbers.numpy()).resize((width, height)).convert(mode)


@pytest.fixture
def pictures(tmp_path):
    path = tmp_path / "pictures"
    (path / "more" / "still").mkdir(parents=True)
    for i, name in enumerate(["a.png", "b.webp", "more/c.bmp", "more/still/d.TIFF"]):
        noise(40 + i, 30 + 3 * i, seed=i).save(path / name, **({"lossless": True} if name == "b.webp" else {}))
    return path


def reference(model, images):
    """What the issue defines: the mean of CLIPModel.get_image_features over CLIP's own preprocessing."""
    pixels = processor()(images=images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        features = model.get_image_features(pixel_values=pixels)
    return (features if isinstance(features, torch.Tensor) else features.pooler_output).mean(0)


def distance(a, b):
    return 1 - float(torch.cosine_similarity(a.double(), b.double(), dim=0))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# ---- what it computes ----


def test_the_result_is_the_mean_of_clips_own_image_features(model, folder, pictures):
    images = [noise(40 + i, 30 + 3 * i, seed=i) for i in range(4)]
    expected = reference(model, images)
    for images_given, encoder in [
        (pictures, folder),
        (str(pictures), str(folder)),
        (images, model),
        ((image for image in images), model),
        ([pictures / "a.png", pictures / "more", images[1]], model),
    ]:
        e = create(images_given, encoder, name="dark", batch_size=3)
        assert isinstance(e, AestheticEmbedding)
        assert list(e.vectors) == [FAMILY]
        torch.testing.assert_close(e.vectors[FAMILY], expected, rtol=0, atol=1e-5)
        assert distance(e.vectors[FAMILY], expected) < 1e-7
        assert (e.name, e.images, e.created[:2]) == ("dark", 4, "20")


def test_similarities_and_names_of_the_pictures(model, pictures):
    result = create_with_report(pictures, model)
    each = torch.stack([reference(model, [noise(40 + i, 30 + 3 * i, seed=i)]) for i in range(4)])
    assert [file.rpartition("pictures")[2].replace("\\", "/") for file in result.files] == [
        "/a.png",
        "/b.webp",
        "/more/c.bmp",
        "/more/still/d.TIFF",
    ]
    torch.testing.assert_close(result.similarities, torch.cosine_similarity(each, each.mean(0)[None]))
    assert result.skipped == ()
    assert create_with_report(noise(), model).files == ("picture 1",)


def test_only_the_name_of_the_encoders_folder_is_stored(folder, model):
    assert create(noise(), folder).encoder == "pocket-clip"
    assert create(noise(), model).encoder == "CLIPModel"


def test_a_vision_tower_alone_belongs_to_the_family_of_its_dimension():
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    for dim, family in ((768, "clip-vit-l-14"), (1280, "open-clip-vit-bigg-14"), (24, None)):
        config = CLIPVisionConfig(**sizes, image_size=SIZE, patch_size=16, projection_dim=dim)
        tower = CLIPVisionModelWithProjection(config)
        if family:
            assert list(create(noise(), tower).vectors) == [family]
        else:
            with pytest.raises(EncoderError, match="whole CLIPModel"):
                create(noise(), tower)


def test_a_vision_tower_loads_from_its_folder(tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    tower = CLIPVisionModelWithProjection(
        CLIPVisionConfig(**sizes, image_size=SIZE, patch_size=16, projection_dim=1024)
    )
    tower.save_pretrained(tmp_path, safe_serialization=True)  # without a preprocessor: CLIP's usual one stands in
    expected = create(noise(), tower, processor=processor()).vectors["open-clip-vit-h-14"]
    torch.testing.assert_close(create(noise(), tmp_path).vectors["open-clip-vit-h-14"], expected)


def test_the_processor_is_the_models_own_else_the_one_given(model, folder, tmp_path):
    other = PilProcessor(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=[0, 0, 0],
        image_std=[1, 1, 1],
    )
    model.save_pretrained(tmp_path, safe_serialization=True)
    other.save_pretrained(tmp_path)
    own = create(noise(), tmp_path).vectors[FAMILY]
    loaded = create(noise(), CLIPModel.from_pretrained(tmp_path)).vectors[FAMILY]
    given = create(noise(), model, processor=other).vectors[FAMILY]
    torch.testing.assert_close(own, given)
    torch.testing.assert_close(loaded, given)
    assert not torch.allclose(own, create(noise(), model).vectors[FAMILY])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_model_runs_in_the_dtype_it_has(model, dtype):
    e = create(noise(), copy.deepcopy(model).to(dtype))
    assert distance(e.vectors[FAMILY], reference(model, [noise()])) < 1e-3


def test_everything_is_left_as_it_was(pictures, folder):
    model = clip(attention_dropout=0.5)
    model.train()
    model.vision_model.encoder.layers[0].eval()
    modes = [module.training for module in model.modules()]
    weights, random = state(model), torch.get_rng_state()
    flags = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    first = create(pictures, model)
    assert torch.equal(first.vectors[FAMILY], create(pictures, model).vectors[FAMILY])  # no dropout
    create(pictures, folder)

    def stop(done, total):
        raise Interrupted("enough")

    with pytest.raises(Interrupted):
        create(pictures, model, on_progress=stop)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert flags == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


# ---- pictures of all kinds ----


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return Image.open(file)


def color(image, at=(1, 1)):
    return reading.to_rgb(image).getpixel(at)


def test_exif_turns_a_picture_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (20, 10), "blue")
    image.paste("red", (0, 0, 10, 10))
    upright = reading.to_rgb(saved(image, format="PNG", exif=exif))
    assert upright.size == (10, 20)
    assert upright.getpixel((5, 2)) == (255, 0, 0)


def test_transparent_parts_are_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    assert color(saved(clear, format="PNG")) == (255, 255, 255)
    assert color(saved(half, format="WEBP", lossless=True)) == (255, 127, 127)
    assert color(clear.convert("LA")) == (255, 255, 255)
    assert color(half.convert("RGBa")) == pytest.approx((255, 127, 127), abs=1)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    assert color(saved(palette, format="PNG")) == (0, 0, 255)
    assert color(saved(palette, format="PNG", transparency=1)) == (255, 255, 255)
    assert color(saved(palette, format="GIF", transparency=1)) == (255, 255, 255)
    keyed = saved(Image.new("RGB", (8, 8), (1, 2, 3)), format="PNG", transparency=(1, 2, 3))
    assert color(keyed) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_every_color_mode_is_read(mode):
    assert color(Image.new("RGB", (8, 8), "white").convert(mode)) == (255, 255, 255)
    assert color(Image.new("RGB", (8, 8), "black").convert(mode)) == (0, 0, 0)


def test_cmyk_jpegs():
    assert color(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), format="JPEG")) == pytest.approx((255, 0, 0), abs=4)


def test_16_bits_are_scaled_not_clipped():
    grey = Image.new("I;16", (8, 8), 32896)
    for image in (grey, saved(grey, format="PNG"), saved(grey, format="TIFF"), Image.new("I", (8, 8), 32896)):
        assert color(image) == (128, 128, 128)
    # a photo that is dark all over stays dark: the scale is that of the format, not of the picture
    assert color(Image.new("I;16", (8, 8), 257 * 20)) == (20, 20, 20)
    assert color(Image.new("I;16B", (8, 8), 65535)) == (255, 255, 255)
    assert color(Image.new("F", (8, 8), 0.5)) == (128, 128, 128)
    assert color(saved(Image.new("F", (8, 8), 100.0), format="TIFF")) == (100, 100, 100)
    assert color(Image.new("F", (8, 8), -3.0)) == (0, 0, 0)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_counts(format):
    frames = [Image.new("RGB", (8, 8), name) for name in ("red", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    animated = saved(frames[0], format=format, save_all=True, append_images=frames[1:], **options)
    assert animated.n_frames == 2
    assert color(animated) == (255, 0, 0)


@pytest.mark.parametrize(
    "format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "JPEG2000", "PCX", "SGI"]
)
def test_formats(model, format, tmp_path):
    path = tmp_path / "picture"  # the bytes count, not the suffix
    noise(64, 64).save(path, format=format)
    assert create_with_report(path, model).files == (str(path),)


# ---- pictures that are none ----


def test_combining_is_creating_from_the_rest_without_reading_again(folder, pictures):
    (pictures / "cut.png").write_bytes((pictures / "a.png").read_bytes()[:100])
    files = [pictures / name for name in ("a.png", "b.webp", "more/c.bmp", "cut.png")]
    parts = [create_with_report(files[:2], folder), create_with_report(files[1:], folder, name="all")]
    both, rest = create_with_report(files, folder), create_with_report(files[1:3], folder)
    for made, expected in ((combine(parts), both), (combine(parts, {str(files[0]), str(files[3])}), rest)):
        assert (made.files, made.skipped) == (expected.files, expected.skipped)
        assert (made.embedding.images, made.embedding.name) == (len(made.files), "all")
        torch.testing.assert_close(made.similarities, expected.similarities)
        torch.testing.assert_close(made.embedding.vectors, expected.embedding.vectors)
    with pytest.raises(AestheticError, match="No pictures are left"):
        combine(parts, set(map(str, files)))


def test_bad_files_are_skipped_and_listed_with_their_reason(model, pictures, monkeypatch):
    (pictures / "empty.png").write_bytes(b"")
    (pictures / "page.jpg").write_bytes(b"<html>Not found</html>")
    (pictures / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 50)
    whole = (pictures / "a.png").read_bytes()
    (pictures / "cut.png").write_bytes(whole[: len(whole) // 2])
    noise(4, 250).save(pictures / "strip.png")
    noise(3, 3).save(pictures / "dot.png")
    noise(100, 100).save(pictures / "bomb.png")
    (pictures / "a.txt").write_text("a caption")
    (pictures / "meta.json").write_text("{}")
    (pictures / "._a.png").write_bytes(b"hidden by macOS")
    monkeypatch.setattr(reading, "_PIXEL_LIMIT", 5000)
    result = create_with_report(pictures, model)
    skipped = {file.replace("\\", "/").rpartition("/")[2]: reason for file, reason in result.skipped}
    assert len(result.files) == result.embedding.images == 4
    assert set(skipped) == {"empty.png", "page.jpg", "phone.heic", "cut.png", "strip.png", "dot.png", "bomb.png"}
    assert skipped["empty.png"] == "empty"
    assert skipped["page.jpg"].startswith("not a picture")
    assert skipped["cut.png"].startswith("damaged or cut short: ")
    assert skipped["bomb.png"] == "too large: 100 × 100 pixels"
    assert skipped["strip.png"] == "too small or too narrow to show anything: 4 × 250 pixels"


def test_pillows_bomb_check_is_respected(model, pictures, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 800)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = create_with_report(pictures, model)  # all are too large, 43 × 39 more than twice
    assert [(file[-6:], reason[:10]) for file, reason in result.skipped] == [("d.TIFF", "Image size")]


def test_a_file_that_crashes_its_reader_is_skipped(model, pictures, monkeypatch):
    def broken(image):
        raise ZeroDivisionError("in a plugin")

    monkeypatch.setattr(reading, "to_rgb", broken)
    with pytest.raises(AestheticError, match=r"None of the pictures.*4 in all.*a\.png: damaged.*in a plugin"):
        create(pictures, model)


def test_no_pictures_at_all_is_an_error_that_says_so(model, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(AestheticError, match=f"There are no pictures in {tmp_path.as_posix()}"):
        create(tmp_path.as_posix(), model)
    for nothing in ([], iter([])):
        with pytest.raises(AestheticError, match="There are no pictures"):
            create(nothing, model)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(AestheticError, match=r"None of the pictures could be read, 1 in all.*a\.png: empty"):
        create(tmp_path, model)


def test_paths_and_things_that_are_no_pictures(model, tmp_path):
    with pytest.raises(FileError, match="gone does not exist"):
        create(tmp_path / "gone", model)
    with pytest.raises(AestheticError, match="not Tensor"):
        create([torch.zeros(3, 8, 8)], model)
    with pytest.raises(AestheticError, match="batch_size"):
        create(noise(), model, batch_size=0)


# ---- batches, threads, progress ----


@pytest.mark.parametrize(
    "failure",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_batches_halve_when_memory_runs_out(model, monkeypatch, failure):
    sizes = []
    forward = model.vision_model.forward

    def limited(pixel_values, **options):
        sizes.append(len(pixel_values))
        if len(pixel_values) > 2:
            raise failure
        return forward(pixel_values=pixel_values, **options)

    images = [noise(seed=i) for i in range(9)]
    expected = create(images, model).vectors[FAMILY]
    monkeypatch.setattr(model.vision_model, "forward", limited)
    torch.testing.assert_close(create(images, model, batch_size=8).vectors[FAMILY], expected)
    assert sizes == [8, 4, 2, 2, 2, 2, 1]  # what was learnt in the first batch is kept


def test_other_failures_of_the_encoder_are_not_hidden(model, monkeypatch):
    def fail(**_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(model.vision_model, "forward", fail)
    with pytest.raises(RuntimeError, match="illegal"):
        create([noise(), noise()], model)


def test_not_even_one_picture_fits(model, monkeypatch):
    def fail(**_):
        raise MemoryError

    monkeypatch.setattr(model.vision_model, "forward", fail)
    with pytest.raises(EncoderError, match="memory of cpu does not suffice"):
        create([noise(), noise()], model)


def test_pictures_are_read_only_a_little_ahead(model, monkeypatch):
    pulled = 0
    worst = 0
    threads = set()

    def many():
        nonlocal pulled
        for i in range(60):
            pulled += 1
            yield noise(seed=i)

    prepare = image_encoder.ImageEncoder.prepare

    def noting(self, source):
        threads.add(threading.current_thread())
        return prepare(self, source)

    def progress(done, total):
        nonlocal worst
        worst = max(worst, pulled - done)
        assert total == 0

    monkeypatch.setattr(image_encoder.ImageEncoder, "prepare", noting)
    assert create(many(), model, batch_size=4, on_progress=progress).images == 60
    assert worst <= 2 * 4 + 1
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def test_progress_counts_to_the_end_and_can_stop(model, pictures):
    (pictures / "bad.png").write_bytes(b"")
    calls = []
    create(pictures, model, batch_size=2, on_progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert calls[-1] == (5, 5)

    class Own(Exception):
        pass

    def stop(done, total):
        raise Own

    running = threading.active_count()
    with pytest.raises(Own):
        create(pictures, model, on_progress=stop)
    assert threading.active_count() == running


# ---- encoders that are none ----


def test_an_encoder_that_is_not_here_is_not_downloaded(tmp_path):
    for missing in (str(tmp_path), "nobody/no-such-clip-at-all", "no such folder/at all/here"):
        with pytest.raises(EncoderError, match="There is no CLIP called"):
            create(noise(), missing)


def test_an_encoder_that_is_no_clip_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(EncoderError, match="holds 'bert', not a CLIP"):
        create(noise(), tmp_path)
    with pytest.raises(EncoderError, match="Linear cannot encode pictures"):
        create(noise(), torch.nn.Linear(2, 2))


def test_a_damaged_encoder_is_named(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(EncoderError, match=r"is damaged|no CLIP"):
        create(noise(), tmp_path)


def test_features_that_are_not_finite_are_the_encoders_fault(model):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.visual_projection.weight.fill_(float("inf"))
    with pytest.raises(EncoderError, match="not finite"):
        create(noise(), broken)


def test_bf16_is_close(model, monkeypatch):
    pictures = [Image.effect_noise((64, 48), 80).convert("RGB") for _ in range(5)]
    exact = create(pictures, model, processor=processor())
    monkeypatch.setattr(image_encoder, "_bf16_is_faster", lambda weight: True)
    found = create(pictures, model, processor=processor())
    assert found.content_hash != exact.content_hash
    assert 1 - float(torch.cosine_similarity(found.vectors[FAMILY], exact.vectors[FAMILY], dim=0)) < 1e-3


# ---- what it is told apart from, and who looked ----


def test_the_mean_of_ordinary_pictures_is_kept_beside_that_of_the_others(model, pictures, tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.mkdir()
    for i in range(3):
        noise(seed=20 + i).save(ordinary / f"{i}.png")
    (ordinary / "damaged.png").write_bytes(b"no picture")
    seen = []
    made = create_with_report(pictures, model, against=ordinary, on_progress=lambda *done: seen.append(done))
    assert torch.equal(made.embedding.vectors[FAMILY], create(pictures, model).vectors[FAMILY])
    assert torch.equal(made.embedding.against[FAMILY], create(ordinary, model).vectors[FAMILY])
    assert (seen[-1], (4, 4) in seen) == ((4, 4), True)
    assert str(ordinary / "damaged.png") in dict(made.skipped)
    rest = combine([made], {made.files[0]}).embedding
    assert torch.equal(rest.against[FAMILY], made.embedding.against[FAMILY])
    assert rest.clips == made.embedding.clips


def test_an_aesthetic_knows_its_clip_where_the_text_projection_tells(model, pictures):
    assert create(pictures, model).clips == {FAMILY: clip_signature(model.text_projection.weight)}
    dim = {"hidden_size": 16, "image_size": SIZE, "patch_size": 8, "intermediate_size": 32, "projection_dim": 768}
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**dim, num_hidden_layers=1, num_attention_heads=2))
    assert create(pictures, vision).clips == {}


# ---- several encoders, and the library ----


def other_clip(folder):
    torch.manual_seed(4)
    sizes = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={"hidden_size": 16, "vocab_size": 99, **sizes},
        vision_config={"hidden_size": 16, "image_size": SIZE, "patch_size": 8, **sizes},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


def test_each_encoder_sees_the_same_pictures_and_is_named(folder, pictures, tmp_path):
    other, calls = other_clip(tmp_path / "other-clip"), []
    made = create_each(iter([pictures]), [folder, other], "dark", on_progress=lambda *call: calls.append(call))
    assert [list(each.embedding.vectors) for each in made] == [[FAMILY], ["clip-16x1-8"]]
    assert made[0].files == made[1].files
    assert [(who, done) for who, done, _ in calls if done == 0] == [("pocket-clip", 0), ("other-clip", 0)]
    assert calls[-1] == ("other-clip", 4, 4)
    with pytest.raises(AestheticError, match="Choose an encoder"):
        create_each(pictures, [])


def test_stopping_between_encoders_saves_nothing(folder, pictures, tmp_path):
    library = Library([tmp_path / "library"])

    def stop(who, done, total):
        if who == "other-clip":
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        create_in_library(library, "dark", pictures, [folder, other_clip(tmp_path / "other-clip")], on_progress=stop)
    assert not (tmp_path / "library").exists()


def test_a_name_that_exists_is_refused_replaced_or_added_to(folder, pictures, tmp_path):
    library, other = Library([tmp_path / "library"]), other_clip(tmp_path / "other-clip")
    _, path = create_in_library(library, "dark", pictures, [folder])
    assert path == tmp_path / "library" / "dark.safetensors"
    before = library.get("dark").content_hash
    with pytest.raises(AestheticError, match="already"):
        create_in_library(library, "dark", None, None)  # before any of it is looked at
    create_in_library(library, "dark", pictures / "a.png", [folder], if_exists="replace")
    assert library.get("dark").content_hash != before
    create_in_library(library, "dark", pictures / "a.png", [other], if_exists="add")
    assert set(library.get("dark").vectors) == {FAMILY, "clip-16x1-8"}
    with pytest.raises(AestheticError, match="no aesthetic called"):
        create_in_library(library, "light", None, None, if_exists="add")
    with pytest.raises(AestheticError, match="if_exists"):
        create_in_library(library, "light", pictures, [folder], if_exists="perhaps")


def test_an_encoder_that_does_not_fit_a_device_runs_on_the_cpu(folder, pictures, monkeypatch):
    devices = []

    def load(encoder, processor, device, *rest):
        devices.append(str(device))
        if str(device) != "cpu":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return loaded(encoder, processor, device, *rest)

    loaded = creation.load_image_encoder
    monkeypatch.setattr(creation, "load_image_encoder", load)
    (made,) = create_each(pictures, [folder], device="cuda")
    assert devices == ["cuda", "cpu"]
    assert made.embedding.images == 4


def test_the_hubs_cache_and_the_pocket_model_have_names(tmp_path):
    assert encoder_name(str(pocket.MODEL)) == "pocket"
    assert encoder_name("openai/clip-vit-large-patch14") == "openai/clip-vit-large-patch14"
    for repository, inner, name in [
        ("openai--clip-vit-large-patch14", "", "clip-vit-large-patch14"),
        ("h94--IP-Adapter", "sdxl_models/image_encoder", "CLIP-ViT-bigG-14-laion2B-39B-b160k"),
        ("somebody--a-clip", "", "a-clip"),
    ]:
        folder = tmp_path / f"models--{repository}" / "snapshots" / ("0" * 40) / inner
        folder.mkdir(parents=True)
        assert encoder_name(str(folder)) == name


def test_each_known_encoder_makes_another_family():
    assert len({encoder.family for encoder in ENCODERS}) == len({encoder.name for encoder in ENCODERS}) == 3
    assert all(encoder_of_family(encoder.family) is encoder for encoder in ENCODERS)
    assert encoder_of_family("clip-8x1-4") is None


def test_an_encoder_that_is_not_here_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    wanted = "hf download h94/IP-Adapter sdxl_models/image_encoder/config.json sdxl_models/image_encoder/model.safet"
    with pytest.raises(EncoderError, match=f"3.69 GB.*{wanted}"):
        create(noise(), encoder_of_family("open-clip-vit-bigg-14"))


def test_pickled_weights_are_loaded_only_on_request(model, tmp_path):
    model.config.save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"pytorch_model\.bin alone.*run code"):
        create(noise(), tmp_path)
    for index in ('{"weight_map": {"x": "pytorch_model.bin"}}', "[]", "{}", '{"weight_map": {}}', "[" * 100_000):
        (tmp_path / "model.safetensors.index.json").write_text(index)
        with pytest.raises(EncoderError, match=r"pytorch_model\.bin alone.*run code"):
            create(noise(), tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    e = create(noise(), tmp_path, allow_pickle=True)
    torch.testing.assert_close(e.vectors, create(noise(), model).vectors)


# ---- outliers ----


def created(features):
    features = torch.as_tensor(features, dtype=torch.float32)
    files = tuple(f"{i}.png" for i in range(len(features)))
    about = AestheticEmbedding({f"clip-8x1-{features.shape[1]}": features.double().mean(0)}, images=len(files))
    similarities = torch.cosine_similarity(features.double(), features.double().mean(0)[None]).float()
    return Creation(about, files, similarities, (), features)


def around(direction, count, spread, seed=0):
    """Features with a cosine of about 1 / sqrt(1 + spread^2) with a direction."""
    noise = torch.randn(count, len(direction), generator=torch.Generator().manual_seed(seed))
    return direction / direction.norm() + spread * noise / len(direction) ** 0.5


def test_one_picture_of_another_kind_is_an_outlier():
    generator = torch.Generator().manual_seed(1)
    one, other = torch.randn(2, 64, generator=generator)
    made = created(torch.cat([around(one, 12, 0.6), around(other, 1, 0.6, seed=2)]))
    assert made.outliers() == [False] * 12 + [True]
    assert created(made.features[8:12]).outliers() == [False] * 4  # too few to say


def test_among_near_identical_pictures_none_is_an_outlier():
    """200 sunsets: most have nearly one cosine, and a tail a little less, which the fence alone would exclude."""
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(768, generator=generator)
    made = created(torch.cat([around(direction, 181, 0.22), around(direction, 19, 0.36, seed=5)]))
    x = made.similarities
    low, high = x.quantile(0.25), x.quantile(0.75)
    assert 0.96 < float(x.mean()) < 0.98
    assert int((x < low - 1.5 * (high - low)).sum()) >= 15
    assert not any(made.outliers())


@given(st.integers(0, 10**6), st.integers(1, 60), st.floats(0.05, 3), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_after_the_outliers_are_removed_no_other_is_one(seed, count, spread, tail):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.rand(count, generator=generator).clamp_min(1e-3) ** (-tail)  # from none to a heavy tail
    noise = torch.randn(count, 16, generator=generator) * scale[:, None]
    made = created(torch.ones(16) + spread * noise)
    odd = made.outliers()
    rest = {file for file, is_odd in zip(made.files, odd, strict=True) if is_odd}
    assert len(rest) < count
    assert not any(combine([made], rest).outliers())
