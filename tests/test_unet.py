"""The U-Net: shapes, gradients, independence of rows, hooks, text, time, what it refuses and what it costs."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny import CONFIG, PROMPTS, awake, make_unet

from unet import PRESETS, Site, Tokenizer, UNet, UNetConfig, cost
from unet.attention import Attention, Text, attend
from unet.blocks import ResBlock, sinusoids

EXACT = {"rtol": 0, "atol": 2e-5}  # float32 rounding of values of size 1 to 10 through some twenty layers


def inputs(config: UNetConfig = CONFIG, prompts=PROMPTS) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A noisy batch, its times and its tokens."""
    x = torch.randn(len(prompts), 3, config.size, config.size, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(100, 100 + 500 * len(prompts), 500), Tokenizer().encode(prompts, config.words)


BIGGER = {"stem": 2, "size": 16, "blocks": 2, "predicts": "v"}


SHAPES = [{}, BIGGER, {"multipliers": (2, 3), "text_layers": 0}, {"cross_sizes": ()}, {"self_sizes": ()}]


@pytest.mark.parametrize("shape", SHAPES)
def test_eps_is_like_the_image_and_every_parameter_that_asks_for_a_gradient_gets_one(shape):
    """Of a network with every layer pushed off zero: a layer of zeros passes no gradient to what stands before it.

    Without cross-attention no layer reads the text encoder.
    """
    config = replace(CONFIG, **shape)
    unet = make_unet(config)
    x, t, tokens = inputs(config)
    eps = unet(x, t, tokens)
    assert eps.shape == x.shape and eps.dtype == torch.float32 and eps.isfinite().all()
    eps.square().sum().backward()
    asking = {name: p.grad for name, p in unet.named_parameters() if p.requires_grad}
    assert [name for name, grad in asking.items() if grad is None or not grad.any()] == []
    if not config.cross_sizes:
        assert [name for name, _ in unet.named_parameters() if not name.startswith("text.")] == list(asking)
        return
    words = unet.text.words.weight.grad.any(dim=1).nonzero().ravel().tolist()
    assert words == sorted(set(tokens.ravel().tolist()) - {Tokenizer.PAD})  # every word has a part in it, no padding


def test_a_new_network_predicts_zero():
    """The last layer starts at zero (Ho et al. 2020, code): the first loss is the variance of the noise, exactly 1."""
    x, t, tokens = inputs()
    assert not UNet(CONFIG, len(Tokenizer()), torch.linspace(1, 0.1, 1001))(x, t, tokens).any()


def test_new_layers_pass_their_input_on_and_a_time_of_zeros_neither_scales_nor_shifts():
    """What is added to the input starts at zero; without scale and shift a block is that of He et al. 2016."""
    torch.manual_seed(0)
    x, text = torch.randn(2, 8, 4, 4), Text(torch.randn(2, 3, 6), torch.ones(2, 3, dtype=torch.bool))
    block, cross = ResBlock(8, 8, 4, time_width=5), Attention(8, Site("down.0", "cross", "down", 4), 2, 4, text_width=6)
    assert torch.equal(block(x, torch.randn(2, 5)), x) and torch.equal(cross(x, text), x)
    torch.nn.init.normal_(block.conv_2.weight)
    torch.nn.init.zeros_(block.scale_shift.bias)
    added = block.conv_2(F.silu(block.norm_2(block.conv_1(F.silu(block.norm_1(x))))))
    torch.testing.assert_close(block(x, torch.zeros(2, 5)), x + added)


def test_dropout_acts_in_training_alone():
    unet, given = make_unet(replace(CONFIG, dropout=0.5)), inputs()
    with torch.no_grad():
        still, again, training = unet(*given), unet(*given), unet.train()(*given)
    assert torch.equal(still, again) and not torch.equal(still, training)


@pytest.mark.parametrize("change", ["x", "t", "tokens"])
def test_rows_of_a_batch_are_independent(change):
    unet = make_unet()
    x, t, tokens = inputs()
    other_x, other_t, other_tokens = x.clone(), t.clone(), tokens.clone()
    {"x": other_x, "t": other_t, "tokens": other_tokens}[change][1] = {"x": 3.0, "t": 7, "tokens": 5}[change]
    with torch.no_grad():
        one, two = unet(x, t, tokens), unet(other_x, other_t, other_tokens)
    torch.testing.assert_close(one[0], two[0], **EXACT)
    assert (one[1] - two[1]).abs().max() > 1e-3  # and what was changed matters: x, t and the words all enter


def test_v_is_turned_into_eps():
    """A twin that "predicts eps" shows what the last layer says: v. The image that x_t and eps mean must fit it."""
    v_unet, twin = make_unet(replace(CONFIG, predicts="v")), make_unet(CONFIG)
    twin.load_state_dict(v_unet.state_dict())
    x_t, t, tokens = inputs()
    with torch.no_grad():
        v, eps = twin(x_t, t, tokens).double(), v_unet(x_t, t, tokens).double()
    a, b = v_unet.alpha_bar[t][:, None, None, None].sqrt(), (1 - v_unet.alpha_bar[t])[:, None, None, None].sqrt()
    x_0 = a * x_t - b * v  # of the two equations x_t = a x_0 + b eps and v = a eps - b x_0, with a^2 + b^2 = 1
    torch.testing.assert_close(a * x_0 + b * eps, x_t.double(), **EXACT)
    torch.testing.assert_close(a * eps - b * x_0, v, **EXACT)


def test_a_hook_is_called_once_per_site_in_order_with_the_time():
    config, seen = replace(CONFIG, **BIGGER), []
    unet = make_unet(config)
    with torch.no_grad():
        unet(*inputs(config), hook=lambda weights, site, t: seen.append((site, t.tolist())) or weights)
    assert seen == [(site, inputs(config)[1].tolist()) for site in unet.sites]
    assert len({site.name for site in unet.sites}) == len(unet.sites)
    for site in unet.sites:
        sizes = {"self": config.self_sizes, "cross": config.cross_sizes}[site.kind]
        assert site.size in sizes and site.name.startswith(site.stage) and site.name.endswith(site.kind)


def test_a_hook_sees_weights_that_sum_to_1_and_nothing_writes_into_them():
    """So a store of maps may keep them without a copy; and a hook that only looks changes nothing."""
    unet, (x, t, tokens) = make_unet(), inputs()
    absent, seen = (tokens == Tokenizer.PAD)[:, None, None], []

    def look(weights, site, t):
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]), rtol=0, atol=1e-6)
        if site.kind == "cross":
            assert ((weights == 0) == absent.expand_as(weights)).all()
        seen.append((weights, weights.clone()))
        return weights

    assert absent.any()  # else nothing was padded
    with torch.no_grad():
        torch.testing.assert_close(unet(x, t, tokens, hook=look), unet(x, t, tokens), **EXACT)
    assert all(torch.equal(weights, copy) for weights, copy in seen)


def test_the_weights_that_a_hook_returns_are_used():
    """Attending only to the start token gives the same as a prompt that has only the start token, at every site."""
    unet, (x, t, tokens) = make_unet(replace(CONFIG, text_layers=0)), inputs()

    def only_start(weights, site, t):
        if site.kind == "self":
            return weights
        return torch.cat([torch.ones_like(weights[..., :1]), torch.zeros_like(weights[..., 1:])], dim=-1)

    with torch.no_grad():
        hooked, null = unet(x, t, tokens, hook=only_start), unet(x, t, Tokenizer().encode(["", ""], CONFIG.words))
    torch.testing.assert_close(hooked, null, **EXACT)


def test_attend_eq_1():
    """softmax(q k^T / sqrt(d)) v entry by entry, without and with a hook, with a mask."""
    q, k, v = torch.randn(3, 2, 2, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    mask = torch.tensor([[True, True, False, True], [True, False, False, False]])[:, None, None, :]
    expected = torch.zeros_like(v)
    for b in range(2):
        for head in range(2):
            for n in range(4):
                real = [m for m in range(4) if mask[b, 0, 0, m]]
                scores = [math.exp(sum(q[b, head, n] * k[b, head, m]) / math.sqrt(5)) for m in real]
                expected[b, head, n] = sum(s / sum(scores) * v[b, head, m] for m, s in zip(real, scores, strict=True))
    site = Site("x", "cross", "middle", 2)
    for hook in (None, lambda weights, site: weights):
        torch.testing.assert_close(attend(q, k, v, mask, site, hook), expected, rtol=0, atol=1e-12)


def test_a_layer_is_pytorchs_multi_head_attention():
    """Whose weights are queries, keys and values in this order, each head by head; to itself, and to words."""
    words = Text(torch.randn(2, 5, 8), torch.arange(5) < torch.tensor([[5], [3]]))
    x, theirs = torch.randn(2, 8, 4, 4), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    for text in (None, words):
        layer = awake(Attention(8, Site("up.0", "cross", "up", 4), 2, 4, text and 8))
        theirs.in_proj_weight.data = torch.cat([layer.to_q.weight.flatten(1), layer.to_kv.weight.flatten(1)])
        theirs.out_proj.weight.data, theirs.out_proj.bias.data = layer.out.weight.flatten(1), layer.out.bias
        pixels = layer.norm(x).flatten(2).mT
        keys, absent = (pixels, None) if text is None else (text.states, ~text.mask)
        expected = x + theirs(pixels, keys, keys, absent)[0].mT.view_as(x)
        torch.testing.assert_close(layer(x, text), expected, **EXACT)


def test_a_longer_words_budget_changes_nothing():
    """The same weights with room for more words: the padding behind the prompt must not be seen by anyone."""
    unet, long = make_unet(), make_unet(replace(CONFIG, words=CONFIG.words + 5))
    weights = unet.state_dict()
    weights["text.places"] = torch.cat([weights["text.places"], torch.full((5, CONFIG.text_width), 9.0)])
    long.load_state_dict(weights)
    x, t, tokens = inputs()
    with torch.no_grad():
        torch.testing.assert_close(long(x, t, inputs(long.config)[2]), unet(x, t, tokens), **EXACT)
        assert torch.equal(unet(x, t, unet.text(tokens)), unet(x, t, tokens))  # text may be passed instead of tokens


def test_the_order_of_words_enters():
    unet = make_unet()
    x, t, tokens = inputs(prompts=["a red circle", "circle red a"])
    with torch.no_grad():
        one, two = unet(x[:1].expand_as(x), t[:1].expand_as(t), tokens)
    assert (one - two).abs().max() > 1e-3


def test_sinusoids_are_cosines_and_sines_at_a_geometric_row_of_frequencies():
    width, times = 12, [1, 37, 1000]
    table = sinusoids(torch.tensor(times), width)
    assert table.shape == (3, width)
    for row, t in zip(table.tolist(), times, strict=True):
        for i in range(6):  # float32 angles of up to 1000 are known to within 1000 * 2^-24
            angle = t * 10000 ** (-i / 5)
            assert row[i] == pytest.approx(math.cos(angle), abs=2e-4)
            assert row[6 + i] == pytest.approx(math.sin(angle), abs=2e-4)


def linear(a: int, b: int) -> int:
    """Parameters of a linear layer, or of a 1 x 1 convolution; a 3 x 3 one has 9 times the inputs."""
    return a * b + b


def test_the_count_of_the_papers_network_is_the_papers():
    """Ho et al.'s CIFAR-10 network, layer by layer from their code (unet.py); appendix B says 35.7 million parameters.

    The preset `ddpm` is that network but for four things: it reads text, the time scales beside shifting, the middle
    has no attention, and query, key and value no biases.
    """
    blocks, kept, c, time = [], [128], 128, 512  # (channels in, channels out, stage) of the 22 residual blocks
    for stage, width in enumerate((128, 256, 256, 256)):
        for _ in range(2):
            blocks.append((c, width, stage))
            kept.append(c := width)
        kept += [c] if stage < 3 else []
    blocks += 2 * [(c, c, 3)]
    for stage, width in ((3, 256), (2, 256), (1, 256), (0, 128)):
        for _ in range(3):
            blocks.append((c + kept.pop(), width, stage))
            c = width
    ends = linear(128, time) + linear(time, time) + linear(27, 128) + 2 * 128 + linear(9 * 128, 3)
    resizes, attention = linear(9 * 128, 128) + 5 * linear(9 * 256, 256), 2 * 256 + 4 * linear(256, 256)
    with_attention = [width for _, width, stage in blocks if stage == 1]  # 16 x 16
    paper = ends + resizes + (len(with_attention) + 1) * attention
    for a, b, _ in blocks:  # two norms and 3 x 3 convolutions, the time's shift, 1 x 1 beside where the width changes
        paper += 2 * a + linear(9 * a, b) + linear(time, b) + 2 * b + linear(9 * b, b) + linear(a, b) * (a != b)
    assert round(paper / 1e6, 1) == 35.7
    with torch.device("meta"):
        unet = UNet(replace(PRESETS["ddpm"], cross_sizes=()), len(Tokenizer()), torch.ones(2))
    ours = sum(p.numel() for name, p in unet.named_parameters() if not name.startswith("text."))
    assert ours - paper == sum(linear(time, b) for _, b, _ in blocks) - attention - sum(3 * b for b in with_attention)


def test_cost_is_what_a_hand_counts():
    """One stage of 4 x 4 pixels and 8 channels: two layers in the middle, one on the way down, two on the way up."""
    config = replace(CONFIG, size=4, multipliers=(1,), self_sizes=(4,), cross_sizes=(4,), words=3)
    pixels, c, words, width, time = 16, 8, 3, 8, 32

    def attention(keys, key_width):
        return 2 * pixels * c * c + 2 * keys * key_width * 2 * c + 2 * 2 * pixels * keys * c + 2 * pixels * c * c

    def layer(c_in):
        res = 2 * pixels * 9 * (c_in * c + c * c) + 2 * time * 2 * c + (2 * pixels * c_in * c if c_in != c else 0)
        return res + attention(pixels, c) + attention(words, width)

    text = 2 * words * width * (3 * width + width + 4 * width + 4 * width) + 2 * 2 * words * words * width
    ends = 2 * (c * time + time * time) + 2 * 2 * pixels * 9 * 3 * c
    unet = make_unet(config)
    parameters, gflop = cost(unet)
    assert gflop == pytest.approx((text + ends + 3 * layer(c) + 2 * layer(2 * c)) / 1e9, rel=1e-12)
    assert parameters == sum(math.prod(p.shape) for p in unet.parameters())
