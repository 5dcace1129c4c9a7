import pytest

from aesthetic_embeddings.aesthetics.families import supported_models

L, H, G = "clip-vit-l-14", "open-clip-vit-h-14", "open-clip-vit-bigg-14"


@pytest.mark.parametrize(
    ("families", "words"),
    [
        ([L], "SD1 and Flux, and one of the two encoders of SDXL and SD3"),
        ([G], "SDXL's refiner, and one of the two encoders of SDXL and SD3"),
        ([H], "SD2"),
        ([G, L], "SD1, SDXL, SDXL's refiner, SD3 and Flux"),
        ([L, H, G], "SD1, SD2, SDXL, SDXL's refiner, SD3 and Flux"),
        (["clip-192x3-64"], "models with a clip-192x3-64"),
        ([H, "clip-192x3-64"], "SD2, and models with a clip-192x3-64"),
    ],
)
def test_which_models_an_aesthetic_is_for(families, words):
    assert supported_models(families) == words
