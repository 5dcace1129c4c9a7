import torch

from aesthetic_embeddings.storage.lru_cache import LRUCache, fingerprint


def test_stored_values_are_found():
    memory = LRUCache[str](10)
    memory.put("a", "first", 4)
    assert memory.get("a") == "first"
    memory.put("a", "second", 4)
    assert memory.get("a") == "second"
    assert memory.get("b") is None


def test_the_least_recently_used_are_dropped_first():
    memory = LRUCache[str](10)
    memory.put("a", "a", 4)
    memory.put("b", "b", 4)
    memory.get("a")
    memory.put("c", "c", 4)
    assert [memory.get(key) for key in "abc"] == ["a", None, "c"]


def test_the_limit_is_on_bytes_and_counts_a_key_once():
    memory = LRUCache[str](10)
    for _ in range(5):
        memory.put("a", "a", 6)
    memory.put("b", "b", 4)
    assert (memory.get("a"), memory.get("b")) == ("a", "b")
    memory.put("c", "too large", 11)
    assert memory.get("c") is None


def test_fingerprints_tell_values_shapes_dtypes_and_order_apart():
    x, y = torch.arange(6.0), torch.ones(6)
    different = [
        (x,),
        (x.double(),),
        (x.view(2, 3),),
        (x + 1e-6,),
        (x.half(),),
        (x, y),
        (y, x),
        (torch.cat([x, y]),),
        (),
    ]
    assert len({fingerprint(*tensors) for tensors in different}) == len(different)


def test_fingerprints_do_not_depend_on_strides_gradients_or_scalars():
    x = torch.randn(4, 3)
    assert fingerprint(x.T.contiguous().T) == fingerprint(x)
    assert fingerprint(x.clone().requires_grad_()) == fingerprint(x)
    with torch.inference_mode():
        made_there = x.clone()
    assert fingerprint(made_there) == fingerprint(x)
    fingerprint(torch.tensor(1.0), torch.empty(0), torch.ones(2, dtype=torch.bfloat16))


def test_it_shrinks_at_once():
    memory = LRUCache[str](10)
    memory.put("a", "a", 4)
    memory.put("b", "b", 4)
    memory.resize(5)
    assert (memory.get("a"), memory.get("b")) == (None, "b")
    memory.resize(0)
    memory.put("c", "c", 1)
    assert (memory.get("b"), memory.get("c")) == (None, None)
