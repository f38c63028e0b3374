"""A sketch network: a word, or a word and a drawing, to the steps of a pen."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lightning_tasks.drawings.batch import SketchBatch
from lightning_tasks.drawings.steps import Pen
from lightning_tasks.sketch.heads import MixtureHead, StrokeHead, sample_pens

SketchMode = Literal["generate", "reconstruct"]
STEP_SIZE = 2 + len(Pen) + 4
POSITION_SCALE = 0.25  # a drawing is some eight standard deviations of its offsets wide
LARGEST = 2**24  # numbers in a tensor of the attention
FURTHEST = 16  # steps apart that the attention tells from one another


class Latent(NamedTuple):
    """The normal distribution that the encoder gives for a drawing.

    Attributes:
        mean: Shape (B, latent_dim).
        log_variance: Shape (B, latent_dim).
    """

    mean: Tensor
    log_variance: Tensor


class Memory(NamedTuple):
    """What the decoder attends to.

    Attributes:
        values: Shape (B, S, memory_size).
        keys: Keys of the attention, computed from the values. Shape (B, S, attention_size).
        mask: Which of them are real. Shape (B, S), bool; or (B, T, S) where each of T queries sees others.
        steps: The step that each belongs to, from 0; -1 is the word. Shape (S,), int64.
        own: Whether it is the decoder's own state, not the encoder's. Shape (S,), bool.
    """

    values: Tensor
    keys: Tensor
    mask: Tensor
    steps: Tensor
    own: Tensor


class AdditiveAttention(nn.Module):
    """Attention by the energy v . tanh(W query + key) + b.

    Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473, appendix A.1.2, and b, which depends on how many
    steps lie between what is attended to and the step that asks, up to FURTHEST (as in T5, Raffel et al. 2020,
    https://arxiv.org/abs/1910.10683, section 2.1): "the next step of the drawing" need not be found by its looks.
    It starts as minus that distance (ALiBi, Press et al. 2022, https://arxiv.org/abs/2108.12409, of slope 1).

    Args:
        query_size: Length of a query.
        attention_size: Length of a key.
    """

    def __init__(self, query_size: int, attention_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, attention_size)
        self.energy = nn.Linear(attention_size, 1, bias=False)
        away = torch.arange(-FURTHEST, FURTHEST + 1).abs().float()
        self.distance = nn.Parameter(-away.repeat(2, 1))  # of the encoder's states, and of own ones

    def forward(self, queries: Tensor, memory: Memory, steps: Tensor) -> Tensor:
        """Give the context of each query.

        Args:
            queries: Shape (B, T, query_size).
            memory: Keys and values of the attention.
            steps: The step that each query belongs to. Shape (T,), int64.

        Returns:
            Shape (B, T, memory_size).
        """
        numbers = memory.keys.numel()
        # (B, T, S, attention_size) at once is fast where it is small.
        some = max(1, LARGEST // numbers)
        energies = [
            self.energy(torch.tanh(each[:, :, None] + memory.keys[:, None])).squeeze(-1)
            for each in self.query(queries).split(some, dim=1)
        ]
        away = (memory.steps - steps[:, None]).clamp(-FURTHEST, FURTHEST) + FURTHEST
        energy = torch.cat(energies, dim=1).float() + self.distance[memory.own.long(), away]
        mask = memory.mask if memory.mask.ndim == 3 else memory.mask[:, None]
        weights = energy.masked_fill(~mask, float("-inf")).softmax(dim=-1)
        return weights.to(memory.values.dtype) @ memory.values


class SketchNetwork(nn.Module):
    """Draws step by step, given a word and a latent vector (`generate`) or also a whole drawing (`reconstruct`).

    The encoder, a bidirectional LSTM of two layers, reads the embedding of the word and then, where it is given, the
    drawing. Its outputs are what the decoder may attend to; those of the word alone in `generate`, since a decoder that
    attends to the drawing which it is to draw learns to copy it, and has nothing to copy from when there is a word
    only. From its state after the whole drawing comes the latent vector (Ha and Eck 2018,
    https://arxiv.org/abs/1704.03477, section 3.2).

    The decoder is an LSTM of two layers that is told the last step, the word and the latent vector. Between its layers
    it attends to the encoder's outputs and to its own past. The query is the output of the first layer, and the context
    goes to the second (as in GNMT, Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 3): in training no layer
    waits for another's last step, so all steps of a layer are computed in one call.

    Args:
        num_words: Number of words.
        head: Last layer for offsets, from its number of features.
        embedding_size: Length of a word's embedding.
        encoder_size: Hidden size of each direction of the encoder.
        decoder_size: Hidden size of each layer of the decoder.
        attention_size: Length of the keys of the attention.
        latent_dim: Length of the latent vector.
        dropout: Share of the features that are dropped between the layers in training.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        num_words: int,
        head: Callable[[int], StrokeHead] = MixtureHead,
        embedding_size: int = 64,
        encoder_size: int = 256,
        decoder_size: int = 512,
        attention_size: int = 64,
        latent_dim: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = {"embedding": embedding_size, "encoder": encoder_size, "decoder": decoder_size}
        for name, size in {**sizes, "attention": attention_size}.items():
            if size < 1:
                raise ValueError(f"{name}_size must be at least 1, got {size}")
        if latent_dim < 1 or not 0 <= dropout < 1:
            raise ValueError(f"latent_dim must be at least 1 and dropout in [0, 1), got {latent_dim} and {dropout}")
        self.num_words = num_words
        self.latent_dim = latent_dim
        self.embedding = nn.Embedding(num_words, embedding_size)
        # The word is one more element of the sequence that the encoder reads; its other inputs are zero.
        self.encoder = nn.LSTM(
            embedding_size + STEP_SIZE, encoder_size, 2, batch_first=True, bidirectional=True, dropout=dropout
        )
        self.latent = nn.Linear(2 * encoder_size, 2 * latent_dim)
        self.start = nn.Linear(latent_dim, 4 * decoder_size)
        self.first = nn.LSTM(STEP_SIZE + embedding_size + latent_dim, decoder_size, batch_first=True)
        self.remember = nn.Linear(2 * encoder_size, decoder_size)
        self.key = nn.Linear(decoder_size, attention_size, bias=False)
        self.attention = AdditiveAttention(decoder_size, attention_size)
        self.second = nn.LSTM(2 * decoder_size, decoder_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.offset = head(2 * decoder_size)
        self.pen = nn.Linear(2 * decoder_size, len(Pen))

    # Encoder

    def encode(self, batch: SketchBatch) -> tuple[Memory, Latent]:
        """Read drawings; gives what the decoder attends to in `reconstruct`, and the latent distribution."""
        word = self._word_element(batch.words)
        zeros = word.new_zeros(*batch.pens.shape, self.embedding.embedding_dim)
        sequence = torch.cat([word, torch.cat([zeros, as_vectors(batch.offsets, batch.pens).to(word)], dim=-1)], dim=1)
        # Sorted here, as packing does it, on both sides: packing would wait to bring the order from one to the other.
        lengths = batch.lengths.cpu().sort(descending=True).values + 1  # DDP may have moved them
        order = batch.mask.sum(dim=1).sort(descending=True).indices
        packed = pack_padded_sequence(sequence.index_select(0, order), lengths, batch_first=True)
        outputs, (state, _) = self.encoder(packed)
        values, _ = pad_packed_sequence(outputs, batch_first=True, total_length=sequence.shape[1])
        back = order.argsort()
        values, state = values.index_select(0, back), state.index_select(1, back)
        mean, log_variance = self.latent(torch.cat([state[-2], state[-1]], dim=-1)).float().chunk(2, dim=-1)
        mask = F.pad(batch.mask, (1, 0), value=True)
        return self._memory(values, mask), Latent(mean, log_variance.clamp(-10.0, 10.0))

    def word_memory(self, words: Tensor) -> Memory:
        """Give what the decoder attends to in `generate`: the encoder's output for the words (B,) alone."""
        values, _ = self.encoder(self._word_element(words))
        return self._memory(values, torch.ones_like(words, dtype=torch.bool)[:, None])

    def _word_element(self, words: Tensor) -> Tensor:
        return F.pad(self.embedding(words)[:, None], (0, STEP_SIZE))

    def _memory(self, values: Tensor, mask: Tensor) -> Memory:
        values = self.remember(values)
        steps = torch.arange(values.shape[1], device=values.device) - 1
        return Memory(values, self.key(values), mask, steps, torch.zeros_like(steps, dtype=torch.bool))

    # Decoder

    def decode(self, batch: SketchBatch, z: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Say each step of drawings, given the true steps before it.

        Args:
            batch: The drawings.
            z: Latent vectors. Shape (B, latent_dim).
            memory: What `encode` or `word_memory` returned.

        Returns:
            What the head says of each offset, (B, T, P), and logits of the pen, (B, T, 3); float32.
        """
        states_1, states_2 = self._initial(z)
        last = F.pad(as_vectors(batch.offsets, batch.pens)[:, :-1], (0, 0, 1, 0))
        hidden, _ = self.first(self._inputs(last, batch.words, z), states_1)
        hidden = self.dropout(hidden)
        context, _ = self._attend(hidden, memory)
        features, _ = self.second(torch.cat([hidden, context], dim=-1), states_2)
        return self._say(features, context)

    def _initial(self, z: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Give the first states (1, B, decoder_size) of both layers."""
        h_1, c_1, h_2, c_2 = self.start(z.to(self.start.weight.dtype)).tanh()[None].chunk(4, dim=-1)
        return (h_1.contiguous(), c_1.contiguous()), (h_2.contiguous(), c_2.contiguous())

    def _inputs(self, last: Tensor, words: Tensor, z: Tensor) -> Tensor:
        told = torch.cat([self.embedding(words), z.to(self.embedding.weight.dtype)], dim=-1)
        return torch.cat([last.to(told), told[:, None].expand(-1, last.shape[1], -1)], dim=-1)

    def _attend(self, hidden: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Attend to the memory and to the decoder's own states, at each step those up to it.

        Returns:
            Contexts (B, T, decoder_size), and the memory with the new states.
        """
        size, count = hidden.shape[:2]
        steps = memory.own.sum() + torch.arange(count, device=hidden.device)
        past = torch.ones(count, count, dtype=torch.bool, device=hidden.device)
        grown = Memory(
            torch.cat([memory.values, hidden], dim=1),
            torch.cat([memory.keys, self.key(hidden)], dim=1),
            torch.cat([memory.mask, past[:1].expand(size, -1)], dim=-1),
            torch.cat([memory.steps, steps]),
            torch.cat([memory.own, past[0]]),
        )
        seen = torch.cat([memory.mask[:, None].expand(-1, count, -1), past.tril().expand(size, -1, -1)], dim=-1)
        return self.attention(hidden, grown._replace(mask=seen), steps), grown

    def _say(self, features: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.cat([self.dropout(features), context], dim=-1)
        return self.offset(features), self.pen(features).float()

    # Drawing

    def draw(
        self,
        words: Tensor,
        z: Tensor,
        memory: Memory,
        temperature: float,
        generator: torch.Generator | None = None,
        begun: SketchBatch | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw without end, a step at a time.

        Args:
            words: Shape (B,), int64.
            z: Latent vectors. Shape (B, latent_dim).
            memory: What `encode` or `word_memory` returned.
            temperature: Above 0; small ones take what is most likely.
            generator: Generator of the random numbers.
            begun: First steps, to go on from, of equal length and without END.

        Yields:
            Offsets (B, 2) and states of the pen (B,) of the next step.
        """
        states_1, states_2 = self._initial(z)
        offsets, pens = z.new_zeros(len(z), 0, 2), words.new_zeros(len(z), 0)
        if begun is not None:
            offsets, pens = begun.offsets, begun.pens
        last = F.pad(as_vectors(offsets, pens), (0, 0, 1, 0))
        while True:
            hidden, states_1 = _run(self.first, self._inputs(last, words, z), states_1)
            context, memory = self._attend(hidden, memory)
            features, states_2 = _run(self.second, torch.cat([hidden, context], dim=-1), states_2)
            described, logits = self._say(features[:, -1], context[:, -1])
            pen = sample_pens(logits, temperature, generator)
            offset = self.offset.sample(described, temperature, generator)
            yield offset, pen
            offsets, pens = torch.cat([offsets, offset[:, None]], dim=1), torch.cat([pens, pen[:, None]], dim=1)
            last = as_vectors(offsets, pens)[:, -1:]


def _run(lstm: nn.LSTM, x: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run a layer; a single step without what nn.LSTM prepares for many, which takes a CPU longer than the step."""
    if x.shape[1] > 1:
        return lstm(x, states)
    h, c = torch.lstm_cell(x[:, 0], (states[0][0], states[1][0]), *lstm.all_weights[0])
    return h[:, None], (h[None], c[None])


SketchNetworkCallable = Callable[[int], SketchNetwork]


def as_vectors(offsets: Tensor, pens: Tensor) -> Tensor:
    """Tell a network steps: what they are, and where they lead.

    An LSTM can add offsets up, but learns it slowly; where the pen is says whether a shape is closed, and which step of
    a drawing comes next.

    Args:
        offsets: Shape (B, T, 2).
        pens: Shape (B, T).

    Returns:
        dx, dy and the state of the pen as one of three, as in Ha and Eck 2018; then the place of the pen, from where
        the drawing starts and from where the stroke does, by POSITION_SCALE. Shape (B, T, STEP_SIZE).
    """
    places = offsets.cumsum(dim=1)
    steps = torch.arange(pens.shape[1], device=pens.device)
    begins = F.pad(pens[:, :-1] == Pen.LIFT, (1, 0))  # the step after a LIFT leads to where a stroke starts
    started = torch.where(begins, steps + 1, 0).cummax(dim=1).values
    starts = F.pad(places, (0, 0, 1, 0)).gather(1, started[..., None].expand(-1, -1, 2))
    where = POSITION_SCALE * torch.cat([places, places - starts], dim=-1)
    return torch.cat([offsets, F.one_hot(pens, len(Pen)).to(offsets.dtype), where], dim=-1)
