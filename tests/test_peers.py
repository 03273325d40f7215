"""Other people's libraries beside ours: the rows of notebooks/PEERS.md, measured.

    python -m pytest tests/test_peers.py -s -rs 2>/dev/null

prints their numbers. No library is a requirement: without it a test is skipped, and -rs says what to install. Data of
N(0, 1/4) has a linear eps, so that a deterministic sampler is a factor: it takes 1 to the standard deviation of its
samples, and 0.5 is right.
"""

import importlib.metadata
import math
import warnings

import numpy as np
import pytest
import torch
from helpers import normal
from tiny import make_trained, make_unet
from torch import nn

import ddim
import ddpm
import unet
from ddpm.analytic import GaussianEps
from ddpm.evaluation.frechet import Reference, moments
from ddpm.training.loop import update_averages
from unet.blocks import sinusoids

SCHEDULE = ddpm.Schedule()
EPS = GaussianEps(SCHEDULE, 0.0, 0.25)
ONE = torch.ones(1, 1, 1, 1)


def peer(package, module=None):
    """The library, or a skipped test; prints its version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = module or package.replace("-", "_")
        imported = pytest.importorskip(name, reason=f"pip install {package}", exc_type=ImportError)
    print(f"\n{package} {importlib.metadata.version(package)}", end=": ")
    return imported


def theirs(scheduler, S, x=ONE, dtype=torch.float32, generator=None):
    """x_T -> x_0 with a scheduler of diffusers and the exact eps, the state in dtype."""
    scheduler.set_timesteps(S)
    x, drawn = (x * scheduler.init_noise_sigma).to(dtype), {"generator": generator} if generator else {}
    for t in scheduler.timesteps:
        time = torch.full((len(x),), int(t) + 1)  # their -1 is our 0, where eps is 0
        eps = EPS(scheduler.scale_model_input(x, t).float(), time).to(dtype)
        x = scheduler.step(eps, t, x, **drawn).prev_sample
    return x.float()


def ours(S, sampler=ddim.sample, **flags):
    return ddpm.last(sampler(EPS, SCHEDULE, ONE, S, **flags))


def trailing(diffusers, name, **flags):
    clip = {"clip_sample": False} if name.startswith("DD") else {}
    return getattr(diffusers, name)(timestep_spacing="trailing", **clip, **flags)


# ---- time and grids --------------------------------------------------------------------------------------------------


def test_our_t_is_their_t_minus_1():
    scheduler = peer("diffusers").DDIMScheduler()
    x_0, noise = normal(4096, dtype=torch.float32).clamp(-1, 1), normal(4096, seed=1, dtype=torch.float32)
    errors = {0: 0.0, -1: 0.0}
    for t in range(1, 1000):
        for shift in errors:
            error = scheduler.add_noise(x_0, noise, torch.tensor([t + shift])) - ddpm.q_sample(SCHEDULE, x_0, t, noise)
            errors[shift] = max(errors[shift], error.square().mean().sqrt().item())
    print(f"root mean square of x_t's error, largest of all t: {errors[0]:.4f} with t, {errors[-1]:.0e} with t - 1")
    assert errors[-1] < 2e-6


def test_sinusoids_are_those_of_cosines_first_and_shift_1():
    embedding = peer("diffusers", "diffusers.models.embeddings").get_timestep_embedding
    t = torch.tensor([1, 10, 500, 1000])
    cosines_first = {s: embedding(t, 64, flip_sin_to_cos=True, downscale_freq_shift=s) for s in (0, 1)}
    errors = {s: (sinusoids(t, 64) - e).abs().max().item() for s, e in cosines_first.items()}
    print(f"largest difference at shift 0: {errors[0]:.2f}")
    torch.testing.assert_close(sinusoids(t, 64), cosines_first[1], rtol=0, atol=1e-4)


def test_trailing_times_plus_1_are_our_linear_grid_for_divisors_of_1000():
    scheduler, same, longer = trailing(peer("diffusers"), "DDIMScheduler"), [], []
    for S in range(1, 1001):
        scheduler.set_timesteps(S)
        grid = [t + 1 for t in scheduler.timesteps.tolist()]
        same += [S] if [*grid, 0] == ddim.timesteps(1000, S) else []
        longer += [S] if len(grid) > S else []
    default = type(scheduler)()
    default.set_timesteps(600)
    print(f"the same for {len(same)} S; S + 1 times for {len(longer)} S, from {longer[0]} on", end="; ")
    print(f"600 steps by default begin at their t = {default.timesteps[0]}")
    assert same == [S for S in range(1, 1001) if 1000 % S == 0]


def test_every_grid_ends_at_the_data():
    """The exact denoiser after S steps: a first-order error here, something else there."""
    diffusers, x = peer("diffusers"), normal(16384, 1, 1, 1, dtype=torch.float32)
    for S in (50, 61, 300, 501):
        print(f"\n  S = {S}: ours {ours(S).item():.3f}", end="")
        for name in ("DDIM", "DDPM", "DPMSolverMultistep", "EulerDiscrete"):
            draws = torch.Generator().manual_seed(0) if name == "DDPM" else None
            print(
                f", {name} {theirs(trailing(diffusers, f'{name}Scheduler'), S, x, generator=draws).std():.3f}", end=""
            )
        assert abs(ours(S).item() - 0.5) < 1.5 / S


def test_denoising_diffusion_pytorch_has_another_rounding():
    package, times = peer("denoising-diffusion-pytorch"), []

    class Model(nn.Module):
        channels, out_dim, self_condition, random_or_learned_sinusoidal_cond = 1, 1, False, False

        def forward(self, x, t, *_):
            times.append(t[0].item() + 1)
            return x

    diffusion, other = package.GaussianDiffusion(Model(), image_size=1), []
    for S in range(1, 101):
        diffusion.sampling_timesteps = S
        times.clear()
        with warnings.catch_warnings(), torch.no_grad():
            diffusion.ddim_sample((1, 1, 1, 1))
        other += [S] if [*times, 0] != ddim.timesteps(1000, S) else []
    print(f"another grid than floor(i T / S) for {len(other)} of S = 1..100: {other}")
    assert not [S for S in other if 1000 % S == 0]  # there nothing is rounded


# ---- steps -----------------------------------------------------------------------------------------------------------


def test_ddim_and_2m_are_theirs_on_the_same_grid():
    diffusers = peer("diffusers")
    for name, sampler in ("DDIMScheduler", ddim.sample), ("DPMSolverMultistepScheduler", ddim.sample_2m):
        scheduler, found = trailing(diffusers, name), {}
        for S in (20, 30):
            x = theirs(scheduler, S)
            grid = [*(t + 1 for t in scheduler.timesteps.tolist()), 0]
            found[S] = abs(x - ours(S, sampler)).item()
            if name != "DDIMScheduler":  # which steps by T // S, not along its grid
                torch.testing.assert_close(x, ours(grid, sampler), rtol=0, atol=1e-5)
        print(f"{name} - ours: {found[20]:.0e} (S = 20), {found[30]:.0e} (S = 30)", end="; ")
        assert found[20] < 1e-5


def test_eta_1_is_their_ddpm_on_a_grid_of_equal_steps():
    diffusers, (x, eps) = peer("diffusers"), normal(2, 1024, 1, dtype=torch.float32)
    for spacing in ("leading", "trailing"):
        ddim_, ddpm_ = (getattr(diffusers, f"{name}Scheduler")(clip_sample=False, timestep_spacing=spacing)
                        for name in ("DDIM", "DDPM"))  # fmt: skip
        ddim_.set_timesteps(30)
        ddpm_.set_timesteps(30)
        gaps = []
        for t in ddim_.timesteps[:-1].tolist():
            one = ddim_.step(eps, t, x, eta=1.0, generator=torch.Generator().manual_seed(7)).prev_sample
            other = ddpm_.step(eps, t, x, generator=torch.Generator().manual_seed(7)).prev_sample
            gaps.append((one - other).square().mean().sqrt().item())
        print(f"{spacing}: largest root mean square of the difference in one step {max(gaps):.0e}", end="; ")
        assert spacing == "trailing" or max(gaps) < 1e-5


def test_inversion_finds_the_noise_also_for_300_steps():
    scheduler = trailing(peer("diffusers"), "DDIMInverseScheduler")
    for S in (250, 300):
        own = ddpm.last(ddim.invert(EPS, SCHEDULE, 0.5 * ONE, S)).item()
        print(f"S = {S}: {theirs(scheduler, S, 0.5 * ONE).item():.3f}, ours {own:.3f} (right: 1)", end="; ")
        assert abs(own - 1) < 0.02


def test_zero_terminal_snr_is_0_or_2_to_the_minus_24():
    diffusers, last = peer("diffusers"), {}
    for name in ("DDIM", "DDPM", "LCM", "TCD", "DPMSolverMultistep", "EulerDiscrete", "UniPCMultistep"):
        last[name] = getattr(diffusers, f"{name}Scheduler")(rescale_betas_zero_snr=True).alphas_cumprod[-1].item()
    print("the last alpha_bar:", last)
    for kind in ("linear", "cosine"):
        x = normal(8, 1)
        x_0 = ddpm.diffusion.predict_x0(ddpm.Schedule(1000, kind), x, 1000, 0 * x)
        assert x_0.isfinite().all()


def test_a_state_in_half_precision_is_not_the_network_in_half_precision():
    """Ours: the network's result is rounded, x_t stays float32, so the end is right to the rounding of eps."""
    diffusers, x = peer("diffusers"), normal(4096, 1, 1, 1, dtype=torch.float32)
    for dtype in (torch.bfloat16, torch.float16):
        print(f"\n  {dtype}: ", end="")
        for name in ("DDIM", "EulerDiscrete", "PNDM", "DPMSolverMultistep"):
            flags = {"skip_prk_steps": True} if name == "PNDM" else {}
            end = theirs(trailing(diffusers, f"{name}Scheduler", **flags), 1000, x, dtype)
            print(f"{name} {end.std():.2f}", end=", ")
        rounded = ddpm.last(ddim.sample(lambda x, t: EPS(x, t).to(dtype).float(), SCHEDULE, x, 1000))  # noqa: B023
        print(f"ours {rounded.std():.2f}", end="")
        assert rounded.std() / x.std() == pytest.approx(0.5, abs=0.01)


# ---- solvers and schedules -------------------------------------------------------------------------------------------


def sigmas_end(scheduler, S):
    """x_T -> x_0 in k-diffusion's coordinates, where times may be fractions; the calls."""
    scheduler.set_timesteps(S)
    x = ONE.double() * float(scheduler.init_noise_sigma)
    for t in scheduler.timesteps:
        scheduler.scale_model_input(x, t)
        sigma = float(scheduler.sigmas[scheduler.step_index])
        x = scheduler.step(x * sigma / (0.25 + sigma**2), t, x).prev_sample
    return x.item(), len(scheduler.timesteps)


def test_heun_on_a_trailing_grid_is_of_first_order():
    diffusers = peer("diffusers")
    for S in (10, 20, 40):
        heun, calls = sigmas_end(trailing(diffusers, "HeunDiscreteScheduler"), S)
        euler, _ = sigmas_end(trailing(diffusers, "EulerDiscreteScheduler"), calls)
        second = ours(calls, ddim.sample_2m).item()
        print(f"{calls} calls: Heun {heun:.3f}, Euler {euler:.3f}, our 2M {second:.3f}", end="; ")
        assert abs(second - 0.5) < abs(ours(calls).item() - 0.5)


def test_a_grid_that_leaves_out_the_small_times_shrinks_the_data():
    scheduler = peer("diffusers").EulerDiscreteScheduler(use_beta_sigmas=True)
    found = {S: round(sigmas_end(scheduler, S)[0], 3) for S in (10, 20, 50)}
    print("Euler with use_beta_sigmas:", found, "ours:", {S: round(ours(S).item(), 3) for S in found})
    assert all(abs(ours(S).item() - 0.5) < 1.5 / S for S in found)


def test_both_variances_are_finite_where_fixed_large_log_is_nan():
    scheduler = peer("diffusers").DDPMScheduler(variance_type="fixed_large_log", clip_sample=False)
    scheduler.set_timesteps(1000)
    x = normal(8, 1, dtype=torch.float32)
    print("fixed_large_log, one step:", scheduler.step(x, 499, x).prev_sample[0].item())
    for variance in ("posterior", "beta"):
        assert ddpm.step(SCHEDULE, x, x, 500, x, variance)[0].isfinite().all()


def test_schedules_of_one_name():
    diffusers = peer("diffusers")
    of = peer("denoising-diffusion-pytorch", "denoising_diffusion_pytorch.denoising_diffusion_pytorch")
    sigmoid = [(1 - of.sigmoid_beta_schedule(1000)).cumprod(0)[499].item()]
    sigmoid += [diffusers.DDPMScheduler(beta_schedule="sigmoid").alphas_cumprod[499].item()]
    print(f"sigmoid, alpha_bar at T / 2: {sigmoid[0]:.2f}, diffusers {sigmoid[1]:.2f}", end="; ")
    large = [T for T in range(1, 100) if of.linear_beta_schedule(T).max() > 1]
    print(f"linear has betas above 1 for T = {large[0]}..{large[-1]}")
    for kind, name in ("linear", "linear"), ("cosine", "squaredcos_cap_v2"):
        alpha_bar = ddpm.Schedule(1000, kind).alpha_bar[1:]
        peers = diffusers.DDPMScheduler(beta_schedule=name).alphas_cumprod.double()
        torch.testing.assert_close(peers, alpha_bar, rtol=0, atol=5e-7)
        own = getattr(of, f"{kind}_beta_schedule")(1000)
        torch.testing.assert_close((1 - own).cumprod(0), alpha_bar, rtol=0, atol=1e-12)
    assert all((ddpm.Schedule(T, kind).beta < 1).all() for T in range(1, 30) for kind in ("linear", "cosine"))


# ---- averages and heads ----------------------------------------------------------------------------------------------


def test_the_mean_age_of_averaged_weights():
    """A weight that is the number of its step: 1000 less its average is the mean age."""
    weight, ages = nn.Linear(1, 1, bias=False).double(), {}
    ema = peer("ema-pytorch").EMA(weight)
    model = peer("diffusers", "diffusers.training_utils").EMAModel(weight.parameters())
    average = {0.05: {"weight": torch.zeros(1, 1, dtype=torch.float64)}}
    for step in range(1, 1001):
        nn.init.constant_(weight.weight, step)
        ema.update()
        model.step(weight.parameters())
        update_averages(average, weight, (step - 1) * 64, 64)
    values = ema.ema_model.weight, model.shadow_params[0], average[0.05]["weight"]
    ages = [1000 - value.item() for value in values]
    print("mean age after 1,000 steps: ema-pytorch {:.0f}, EMAModel {:.0f}, ours {:.1f}".format(*ages))
    assert ages[2] == pytest.approx(1000 / (1 + math.log(2) / 0.05), abs=1)  # t^(k - 1) on [0, 1], k = log 2 / share


def test_the_number_of_heads_is_not_its_name():
    """Ours is asked for by the channels of one head, and a hook sees as many maps."""
    diffusers, heads = peer("diffusers"), {}
    for name, kind in ("UNet2DModel", "Attn"), ("UNet2DConditionModel", "CrossAttn"):
        down, up = [f"{kind}DownBlock2D", "DownBlock2D"], ["UpBlock2D", f"{kind}UpBlock2D"]
        network = getattr(diffusers, name)(block_out_channels=(128, 128), down_block_types=down, up_block_types=up)
        heads[name] = {part.heads for part in network.modules() if type(part).__name__ == "Attention"}
    stages = peer("denoising-diffusion-pytorch").Unet(dim=8).downs
    print("heads at 128 channels:", heads, "; attention of each stage:", [type(stage[2]).__name__ for stage in stages])
    assert unet.UNetConfig(channels=128, multipliers=(1, 2, 2), head_channels=32).heads(128) == 4


# ---- PyTorch itself --------------------------------------------------------------------------------------------------


def test_the_empty_prompts_maps_sum_to_1_where_a_caption_of_padding_is_nan_or_a_bias():
    attention, x, padding = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(1, 3, 8), torch.ones(1, 3).bool()
    nn.init.ones_(attention.out_proj.bias)
    asked, _ = attention(x, x, x, key_padding_mask=padding)
    silent, _ = attention(x, x, x, key_padding_mask=padding, need_weights=False)
    print(f"\ntorch {torch.__version__}: NaN with its maps: {asked.isnan().all()}", end=", ")
    print(f"the bias without: {(silent == 1).all()}")
    trained, sums = make_trained(), []
    hook = lambda weights, site, t: (sums.append(weights.sum(-1)), weights)[1]  # noqa: E731
    eps = trained.eps([""], hook=hook)(torch.randn(1, 3, 16, 16), torch.tensor([10]))
    assert eps.isfinite().all() and all(torch.allclose(each, torch.ones(()), atol=1e-6) for each in sums) and sums


def test_a_seed_is_the_stream_of_one_image_also_of_two_numbers():
    """A draw of n numbers begins a longer one of its seed for multiples of 16 only, so a batch is no set of streams."""
    longer = torch.randn(64, generator=torch.Generator().manual_seed(0))
    same = [
        n for n in range(1, 65) if torch.equal(torch.randn(n, generator=torch.Generator().manual_seed(0)), longer[:n])
    ]
    print(f"\ntorch {torch.__version__}: of 1..64 numbers those that begin 64 of the same seed: {same}")
    for shape in ((2,), (40,), (3, 4, 4)):
        alone = [ddpm.Noise([seed]).start(shape)[0] for seed in (5, 6, 7)]
        assert torch.equal(ddpm.Noise([5, 6, 7]).start(shape), torch.stack(alone))


def test_the_maps_of_a_hook_are_float32_on_a_cpu_unless_asked_otherwise():
    """A GPU's autocast computes softmax and group norm in float32, a CPU's does not."""
    trained, sums = make_trained(), {"auto": [], "bfloat16": []}
    for precision, rows in sums.items():
        hook = lambda weights, site, t: (rows.append(weights.double().sum(-1) - 1), weights)[1]  # noqa: B023, E731
        model = trained.for_many_images(precision, compiled=False)
        model.eps(["a red circle"], hook=hook)(torch.randn(1, 3, 16, 16), torch.tensor([10]))
    largest = {name: max(row.abs().max().item() for row in rows) for name, rows in sums.items()}
    print(f"\ntorch {torch.__version__}, CPU: rows of maps sum to 1 but for", largest)
    assert largest["auto"] < 1e-6


def test_a_state_dict_goes_through_safetensors_once_it_is_contiguous():
    safetensors, network = peer("safetensors", "safetensors.torch"), make_unet()
    with pytest.raises(ValueError, match="non contiguous"):
        safetensors.save(network.state_dict())
    saved = safetensors.save({key: value.contiguous() for key, value in network.state_dict().items()})
    other = make_unet(seed=1)
    other.load_state_dict(safetensors.load(saved))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


# ---- distances -------------------------------------------------------------------------------------------------------


def test_the_frechet_distance_is_theirs_also_where_covariances_are_singular():
    metrics, clean = peer("torchmetrics", "torchmetrics.image.fid"), peer("clean-fid", "cleanfid.fid")
    fidelity = peer("torch-fidelity", "torch_fidelity.metric_fid")
    for n, d in ((300, 20), (8, 50)):
        one, other = moments(normal(n, d)), moments(normal(n, d, seed=1) * 1.2 + 0.3)
        arrays = [{"mu": mu.numpy(), "sigma": cov.numpy()} for mu, cov in (one, other)]
        found = [metrics._compute_fid(*one, *other).item(), clean.frechet_distance(*map(np.asarray, (*one, *other)))]
        found += fidelity.fid_statistics_to_metric(*arrays, False).values()
        print(
            f"{n} x {d}: ours {ddim.frechet_distance(*one, *other):.8f}, theirs", [f"{x:.8f}" for x in found], end=" "
        )
        assert found == pytest.approx([ddim.frechet_distance(*one, *other)] * 3, rel=2e-7)


class Flat(nn.Module):
    """One's own feature network, for torchmetrics: looks at what it is given."""

    num_features = 8

    def forward(self, x):
        self.seen = x
        return x.flatten(1)[:, :8].float()


def test_the_deviation_beside_kid():
    """That of n images is the spread over sets of n images: here 40 sets of 200."""
    metrics = peer("torchmetrics", "torchmetrics.image.kid")
    fidelity = peer("torch-fidelity", "torch_fidelity.metric_kid")
    pairs = [normal(2, 200, 8, seed=s, dtype=torch.float32) for s in range(40)]

    def torchmetrics_kid(a, b, size):
        metric = metrics.KernelInceptionDistance(feature=Flat(), subset_size=size)
        metric.update(a, real=True)
        metric.update(b, real=False)
        return [value.item() for value in metric.compute()]

    def fidelity_kid(a, b, size):
        return list(fidelity.kid_features_to_metric(a, b, kid_subset_size=size, verbose=False).values())

    def our_kid(a, b, size):
        return list(Reference(a).measure(b).values())[2:]

    for name in (torchmetrics_kid, fidelity_kid, our_kid):
        for size in (50, 100, 200):
            kid, printed = np.array([name(*pair, size) for pair in pairs]).T
            print(f"{name.__name__}, subsets of {size}: {printed.mean() / kid.std(ddof=1):.2f} of it", end="; ")
    assert printed.mean() / kid.std(ddof=1) == pytest.approx(1, abs=0.5)  # of 40 sets a spread is known to 11 %


def test_kid_of_a_set_with_itself_is_below_0():
    """Pairs of a row with itself are in the sum across alone: (mean - mean of the diagonal) 2 / (n - 1)."""
    clean, x = peer("clean-fid", "cleanfid.fid"), normal(500, 8)
    kernel = (x @ x.T / 8 + 1) ** 3
    expected = (2 * (kernel.mean() - kernel.diag().mean()) / (len(x) - 1)).item()
    print(f"{clean.kernel_distance(x.numpy(), x.numpy(), num_subsets=1):.4f}, ours {ddim.kernel_distance(x, x):.4f}")
    assert ddim.kernel_distance(x, x) == pytest.approx(expected, rel=1e-9) and expected < 0


def test_normalize_is_not_for_ones_own_network():
    fid = peer("torchmetrics", "torchmetrics.image.fid").FrechetInceptionDistance
    for normalize in (True, False):
        metric, images = fid(network := Flat(), normalize=normalize, input_img_size=(3, 8, 8)), torch.rand(4, 3, 8, 8)
        metric.update(images, real=True)
        print(f"normalize={normalize}: the network gets a largest value of {network.seen.max():.2f}", end="; ")
        assert torch.equal(network.seen, images)
