"""Updates: differences and replacements, the right base, and payloads that stay small."""

import numpy as np
import pytest

from nnpf import nnc
from nnpf.nnc.updates import (
    apply_update,
    base_model_id,
    decode_update,
    difference,
    fingerprint,
    semantics_of,
    updated,
)
from tests.nnc.make_vectors import model
from tests.nnc.vectors import assert_same


@pytest.fixture
def base() -> dict[str, np.ndarray]:
    """A base as a decoder has it."""
    return nnc.decode(nnc.encode(model()))


def changed(base: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    target = {name: np.copy(value) for name, value in base.items()}
    target["conv.bias"] = target["conv.bias"] + np.float32(0.25)
    return target


def test_a_difference_leads_to_the_target(base: dict[str, np.ndarray]) -> None:
    target = changed(base)
    update = difference(base, target)
    assert list(update) == ["conv.bias"]
    assert_same(apply_update(base, update, "difference"), target)


def test_a_replacement_stands_in_the_place_of_the_base(base: dict[str, np.ndarray]) -> None:
    target = changed(base)
    assert_same(apply_update(base, {"conv.bias": target["conv.bias"]}, "replace"), target)


def test_a_whole_round_through_payloads() -> None:
    encoder, decoder = nnc.Encoder(nnc.Settings(qp=-40)), nnc.Decoder()
    base = decoder.decode(encoder.encode(model()))
    target = changed(base)
    payload = encoder.encode_update(difference(base, target), base_model_id=base_model_id(base))
    assert len(payload) < 160  # one tensor of eight numbers, and 71 bytes that name the base
    result = decode_update(decoder, base, payload)
    assert decoder.last is not None
    assert semantics_of(decoder.last) == "difference"
    assert np.abs(result["conv.bias"] - target["conv.bias"]).max() < 0.01
    assert_same(
        {k: v for k, v in result.items() if k != "conv.bias"}, {k: v for k, v in base.items() if k != "conv.bias"}
    )


def test_an_update_is_never_applied_to_another_base() -> None:
    encoder, decoder = nnc.Encoder(), nnc.Decoder()
    base = decoder.decode(encoder.encode(model()))
    payload = encoder.encode_update({"conv.bias": np.ones(8, np.float32)}, base_model_id=base_model_id(base))
    other = changed(base)
    before = decoder.last
    with pytest.raises(nnc.NncError, match="an update of the base sha256:"):
        decode_update(decoder, other, payload)
    assert decoder.last is before
    decode_update(decoder, base, payload)


def test_a_result_that_is_not_what_was_meant_is_an_error() -> None:
    """The hash of the result: also where the base is right, nothing else than what the encoder meant comes out."""
    encoder, decoder = nnc.Encoder(), nnc.Decoder()
    base = decoder.decode(encoder.encode(model()))
    update = {"conv.bias": np.ones(8, np.float32)}
    coded = encoder.copy().encode_update(update)
    result = apply_update(base, decoder.copy().decode(coded), "difference")
    right = encoder.copy().encode_update(update, base_model_id=base_model_id(base, result))
    found = updated(decoder.copy(), base, right)
    assert found.base_checked
    assert found.result_checked
    assert_same(found.tensors, result)
    assert str(found) == "difference"
    wrong = encoder.copy().encode_update(update, base_model_id=base_model_id(base, base))
    with pytest.raises(nnc.NncError, match="base_model_id: the update should lead to sha256:"):
        updated(decoder, base, wrong)


def test_a_hash_may_be_of_some_tensors_of_the_base() -> None:
    """Of those that a payload of it carries: a model has constants besides."""
    encoder, decoder = nnc.Encoder(), nnc.Decoder()
    base = decoder.decode(encoder.encode(model()))
    payload = encoder.encode_update({"conv.bias": np.ones(8, np.float32)}, base_model_id=base_model_id(base))
    more = {**base, "constant": np.ones(3, np.float32)}
    with pytest.raises(nnc.NncError, match="an update of the base"):
        updated(decoder, more, payload)
    found = updated(decoder, more, payload, identity=lambda: base)
    assert found.base_checked
    assert found.tensors["constant"] is more["constant"]


def test_where_the_payload_does_not_say_the_caller_must() -> None:
    """As with plain differences that were coded as if they were a model."""
    base = nnc.decode(nnc.encode(model()))
    payload = nnc.encode({"conv.bias": np.full(8, 0.5, np.float32)})
    with pytest.raises(nnc.NncError, match="nothing says whether"):
        decode_update(nnc.Decoder(), base, payload)
    found = updated(nnc.Decoder(), base, payload, "replace")
    assert str(found) == "replace, as the payload does not say"
    added = decode_update(nnc.Decoder(), base, payload, "difference")["conv.bias"]
    replaced = decode_update(nnc.Decoder(), base, payload, "replace")["conv.bias"]
    assert np.allclose(added - base["conv.bias"], replaced, atol=1e-6)


def test_a_payload_that_says_difference_is_no_replacement() -> None:
    encoder, decoder = nnc.Encoder(), nnc.Decoder()
    base = decoder.decode(encoder.encode(model()))
    payload = encoder.encode_update({"conv.bias": np.ones(8, np.float32)})
    with pytest.raises(nnc.NncError, match="says of itself that it is a difference"):
        decode_update(decoder, base, payload, "replace")


def test_a_mismatch_names_the_tensors(base: dict[str, np.ndarray]) -> None:
    with pytest.raises(nnc.NncError, match="base lacks: 'other'"):
        apply_update(base, {"other": np.ones(1, np.float32)}, "replace")
    with pytest.raises(nnc.NncError, match=r"'conv.bias' \(3,\) float32, not \(8,\) float32"):
        apply_update(base, {"conv.bias": np.ones(3, np.float32)}, "difference")
    with pytest.raises(nnc.NncError, match="'table'"):
        apply_update(base, {"table": np.ones((5, 6), np.float32)}, "difference")


def test_a_fingerprint_depends_on_everything_but_the_order(base: dict[str, np.ndarray]) -> None:
    same = fingerprint(base)
    assert fingerprint(dict(reversed(base.items()))) == same
    assert fingerprint(changed(base)) != same
    assert fingerprint({**base, "table": base["table"].reshape(6, 5)}) != same
    assert fingerprint({("x" if k == "scale" else k): v for k, v in base.items()}) != same


def test_updates_need_not_depend_on_each_other() -> None:
    """A viewer who tunes in has the base and one update: each is coded and decoded with a copy taken after the base."""
    encoder, decoder = nnc.Encoder(), nnc.Decoder()
    decoder.decode(encoder.encode(model()))
    rng = np.random.default_rng(7)
    updates = [{"größe": (rng.normal(size=(12, 20)) / 10).astype(np.float32)} for _ in range(2)]
    payloads = [encoder.copy().encode_update(u) for u in updates]
    for update, payload in zip(reversed(updates), reversed(payloads), strict=True):
        found = decoder.copy().decode(payload)["größe"]
        assert np.abs(found - update["größe"]).max() < 0.01


def test_an_update_does_not_fit_another_shape() -> None:
    encoder = nnc.Encoder()
    encoder.encode(model())
    with pytest.raises(nnc.NncError, match=r"'conv\.bias' has 3 elements, the tensor it updates 8"):
        encoder.encode_update({"conv.bias": np.ones(3, np.float32)})


def test_an_encoder_can_follow_a_decoder() -> None:
    """Whoever has only the payload of the base can make updates of it."""
    payload = nnc.Encoder().encode(model())
    decoder = nnc.Decoder()
    decoder.decode(payload)
    encoder = nnc.Encoder()
    encoder.follow(decoder)
    update = {"größe": np.full((12, 20), 0.125, np.float32)}
    found = decoder.decode(encoder.encode_update(update))["größe"]
    assert np.abs(found - 0.125).max() < 0.01
    assert decoder.last is not None
    assert decoder.last.coded[0].temporal
