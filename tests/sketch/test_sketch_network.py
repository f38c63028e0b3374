"""Sketch networks and their heads: against plain forms, step by step, and on what must not be seen."""

import math

import numpy as np
import pytest
import torch
from torch import distributions as D

from lightning_tasks.drawings.batch import SketchBatch
from lightning_tasks.drawings.steps import Pen
from lightning_tasks.sketch.heads import MixtureHead, RegressionHead, sample_pens
from lightning_tasks.sketch.losses import divergence
from lightning_tasks.sketch.network import AdditiveAttention, Memory, SketchNetwork, as_vectors
from tests.helpers.padding import pad

SMALL = {"embedding_size": 3, "encoder_size": 4, "decoder_size": 6, "attention_size": 5, "latent_dim": 2}


def make_batch(lengths=(5, 3, 7), seed=0, num_words=3):
    generator = torch.Generator().manual_seed(seed)
    steps = []
    for length in lengths:
        offsets = torch.randn(length - 1, 2, generator=generator)
        lifted = torch.randint(0, 2, (length - 1, 1), generator=generator)
        steps.append(torch.cat([offsets, lifted.float()], dim=1))
    return pad(steps, torch.arange(len(lengths)) % num_words, max_length=50)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = SketchNetwork(3, RegressionHead, **SMALL, dropout=0.0).eval()
    torch.nn.init.normal_(network.attention.distance)
    return network


# Heads


def described_mixture(num_mixtures=3, shape=(4, 2)):
    return torch.randn(*shape, 6 * num_mixtures, generator=torch.Generator().manual_seed(1))


def test_mixture_score_is_the_likelihood_of_torch_distributions():
    described = described_mixture()
    offsets = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(2))
    logits, x, y, log_x, log_y, rho = described.double().chunk(6, dim=-1)
    rho, s_x, s_y = 0.999 * rho.tanh(), log_x.exp(), log_y.exp()
    covariance = torch.stack([s_x**2, rho * s_x * s_y, rho * s_x * s_y, s_y**2], dim=-1).unflatten(-1, (2, 2))
    normal = D.MultivariateNormal(torch.stack([x, y], dim=-1), covariance)
    expected = -D.MixtureSameFamily(D.Categorical(logits=logits), normal).log_prob(offsets.double())
    torch.testing.assert_close(MixtureHead(8, 3).score(described, offsets).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_mixture_samples_have_the_moments_of_the_chosen_normal(temperature):
    described = torch.tensor([5.0, -5.0, 1.0, 9.0, -2.0, 9.0, math.log(2.0), 0, math.log(0.5), 0, 0.8, 0])
    drawn = MixtureHead(8, 2).sample(described.expand(40_000, -1), temperature, torch.Generator().manual_seed(0))
    kept = drawn[(drawn - torch.tensor([9.0, 9.0])).abs().amax(dim=1) > 4].numpy()  # 1 in 20,000 is of the other
    rho = 0.999 * math.tanh(0.8)
    covariance = temperature * np.array([[4.0, rho], [rho, 0.25]])
    np.testing.assert_allclose(kept.mean(axis=0), [1.0, -2.0], atol=0.05)
    np.testing.assert_allclose(np.cov(kept.T), covariance, atol=0.08)


def test_mixture_temperature_sharpens_the_choice():
    described = torch.tensor([1.0, 0.0, -10.0, 10.0, 0, 0, -3, -3, -3, -3, 0, 0])
    for temperature, share in ((1.0, 1 / (1 + math.exp(-1))), (0.25, 1 / (1 + math.exp(-4)))):
        drawn = MixtureHead(8, 2).sample(described.expand(20_000, -1), temperature, torch.Generator().manual_seed(0))
        assert (drawn[:, 0] < 0).float().mean().item() == pytest.approx(share, abs=0.01)


def test_mixture_stays_finite_far_away_and_in_half_precision():
    head = MixtureHead(8, 3)
    described = (100 * described_mixture()).requires_grad_()
    score = head.score(described, torch.full((4, 2, 2), 1000.0))
    score.sum().backward()
    assert score.isfinite().all()
    assert described.grad.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert head(torch.randn(2, 8)).dtype == torch.float32


def test_regression_score_is_the_mean_squared_error_of_both_axes():
    head = RegressionHead(8)
    score = head.score(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[4.0, 2.0], [1.0, 2.0]]))
    assert score.tolist() == [4.5, 2.5]
    described = torch.randn(3, 2)
    assert torch.equal(head.sample(described, 0.1), described)


def test_pens_are_drawn_by_their_probability_at_a_temperature():
    logits = torch.tensor([0.0, math.log(2), math.log(3)]).expand(30_000, -1)
    for temperature, shares in ((1.0, [1 / 6, 2 / 6, 3 / 6]), (0.5, [1 / 14, 4 / 14, 9 / 14])):
        drawn = sample_pens(logits, temperature, torch.Generator().manual_seed(0))
        np.testing.assert_allclose(np.bincount(drawn) / len(drawn), shares, atol=0.01)


def test_mixture_refuses_none():
    with pytest.raises(ValueError, match="num_mixtures must be at least 1, got 0"):
        MixtureHead(8, 0)


# Latent loss


def test_divergence_is_that_of_torch_distributions():
    mean, log_variance = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = D.kl_divergence(D.Normal(mean, (log_variance / 2).exp()), D.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(divergence(mean, log_variance), expected)


# Attention


@pytest.mark.parametrize("largest", [2**26, 1])
def test_attention_is_the_plain_form(monkeypatch, largest):
    monkeypatch.setattr("lightning_tasks.sketch.network.LARGEST", largest)
    torch.manual_seed(0)
    attention = AdditiveAttention(4, 3)
    torch.nn.init.normal_(attention.distance)
    queries, values, keys = torch.randn(2, 5, 4), torch.randn(2, 6, 7), torch.randn(2, 6, 3)
    mask = torch.arange(6) < torch.tensor([[4], [6]])
    of_step, own = [-1, 0, 1, 2, 0, 40], [0, 0, 0, 0, 1, 1]
    memory = Memory(values, keys, mask, torch.tensor(of_step), torch.tensor(own, dtype=torch.bool))
    asked = [10, 11, 12, 20, 14]
    context = attention(queries, memory, torch.tensor(asked))
    for b, t in ((0, 0), (0, 4), (1, 3)):
        real = range(4 if b == 0 else 6)
        energies = []
        for s in real:
            away = min(max(of_step[s] - asked[t], -16), 16)
            content = attention.energy(torch.tanh(attention.query(queries[b, t]) + keys[b, s]))
            energies.append(content + attention.distance[own[s], 16 + away])
        weights = torch.cat(energies).softmax(dim=0)
        torch.testing.assert_close(context[b, t], sum(w * values[b, s] for w, s in zip(weights, real, strict=True)))


# The network


def test_steps_as_vectors_by_hand():
    # A stroke from (0, 0) through (4, 8) to (8, 8), a move to (8, 0), a stroke from there to (12, 4), the end.
    offsets = torch.tensor([[[4.0, 8.0], [4.0, 0.0], [0.0, -8.0], [4.0, 4.0], [0.0, 0.0]]])
    pens = torch.tensor([[Pen.DOWN, Pen.LIFT, Pen.DOWN, Pen.LIFT, Pen.END]])
    assert as_vectors(offsets, pens)[0].tolist() == [
        [4, 8, 1, 0, 0, 1, 2, 1, 2],
        [4, 0, 0, 1, 0, 2, 2, 2, 2],
        [0, -8, 1, 0, 0, 2, 0, 0, 0],
        [4, 4, 0, 1, 0, 3, 1, 1, 1],
        [0, 0, 0, 0, 1, 3, 1, 0, 0],
    ]


@pytest.mark.parametrize("mode", ["generate", "reconstruct"])
def test_drawing_step_by_step_says_what_decoding_at_once_says(network, mode):
    batch = make_batch()
    whole, latent = network.encode(batch)
    memory = whole if mode == "reconstruct" else network.word_memory(batch.words)
    steps = network.draw(batch.words, latent.mean, memory, 1.0, torch.Generator().manual_seed(0))
    drawn = [next(steps) for _ in range(6)]
    offsets, pens = (torch.stack(each, dim=1) for each in zip(*drawn, strict=True))
    made = SketchBatch.of(offsets, pens, torch.full((3,), 6), batch.words)
    described, _ = network.decode(made, latent.mean, memory)
    torch.testing.assert_close(described, offsets)
    begun = SketchBatch.of(offsets[:, :4], pens[:, :4], torch.full((3,), 4), batch.words)
    goes_on = network.draw(batch.words, latent.mean, memory, 1.0, None, begun)
    torch.testing.assert_close(next(goes_on)[0], offsets[:, 4])


def test_decoding_sees_the_past_only(network):
    batch = make_batch((6, 6))
    z = torch.zeros(2, 2)
    memory = network.word_memory(batch.words)
    before, logits = network.decode(batch, z, memory)
    changed = batch._replace(offsets=batch.offsets.index_fill(1, torch.tensor([3]), 9.0))
    after, logits_after = network.decode(changed, z, memory)
    torch.testing.assert_close(after[:, :4], before[:, :4])  # step 4 is the first that is told step 3
    torch.testing.assert_close(logits_after[:, :4], logits[:, :4])
    assert (after[:, 4:] - before[:, 4:]).abs().amin() > 1e-6


def test_padding_changes_nothing(network):
    batch = make_batch((5, 3, 7))
    whole, latent = network.encode(batch)
    alone = SketchBatch(*(each[1:2] for each in batch))._replace(
        offsets=batch.offsets[1:2, :3], pens=batch.pens[1:2, :3]
    )
    whole_alone, latent_alone = network.encode(alone)
    torch.testing.assert_close(latent.mean[1:2], latent_alone.mean)
    described, _ = network.decode(batch, latent.mean, whole)
    described_alone, _ = network.decode(alone, latent_alone.mean, whole_alone)
    torch.testing.assert_close(described[1:2, :3], described_alone)


def test_generating_sees_no_drawing(network):
    first, second = make_batch(seed=0), make_batch(seed=5)
    z = torch.zeros(3, 2)
    for mode, equal in (("generate", True), ("reconstruct", False)):
        said = []
        for batch in (first, second):
            memory = network.encode(batch)[0] if mode == "reconstruct" else network.word_memory(batch.words)
            said.append(network.decode(first, z, memory)[0])
        assert torch.allclose(*said) is equal


def test_words_and_latent_vectors_matter(network):
    batch = make_batch((4, 4, 4))
    same = batch._replace(words=torch.zeros(3, dtype=torch.long))
    z = torch.zeros(3, 2)
    memory = network.word_memory(batch.words)
    assert not torch.allclose(network.decode(batch, z, memory)[0][1:], network.decode(same, z, memory)[0][1:])
    assert not torch.allclose(network.decode(batch, z, memory)[0], network.decode(batch, z + 1, memory)[0])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"decoder_size": 0}, "decoder_size must be at least 1, got 0"),
        ({"latent_dim": 0}, "latent_dim must be at least 1"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\), got 2 and 1.0"),
    ],
)
def test_network_refuses(option, words):
    with pytest.raises(ValueError, match=words):
        SketchNetwork(3, **{**SMALL, **option})


def test_a_drawing_ends_where_the_pen_does():
    batch = make_batch((3,))
    assert batch.pens[0, -1] == Pen.END
    assert batch.lengths.tolist() == [3]
