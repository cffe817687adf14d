"""Both coders restore every sequence, and cost what a particle filter of floats says they should."""

import numpy as np
import pytest
from mcbits_smc.csmc_bits_back import CSMCBitsBackCoder
from mcbits_smc.smc_bits_back import RESAMPLING, SMCBitsBackCoder
from mcbits_smc.strata import strata

from mcbits.errors import UsageError
from mcbits.studies.toy import Truth, hmm, measure, mixture

CODERS = (SMCBitsBackCoder, CSMCBitsBackCoder)


@pytest.fixture(scope="module")
def truth() -> Truth:
    model = hmm()
    return Truth(model, model.sample(1_000, seed=1))


def filter_of_floats(truth: Truth, N: int, resampling: str, coupled: bool) -> tuple[float, float]:
    """Mean and standard error of -log2 of the filter's estimate of p(x), bits/dim: no coder, no stack, no integers."""
    model, x, rng = truth.model, np.repeat(truth.x, 4, axis=0), np.random.default_rng(7)
    B, rows = len(x), np.arange(len(x))[:, None]
    before, log_w, log_p = np.full((B, N), model.num_latents), np.zeros((B, N)), np.zeros(B)
    for t in range(model.num_steps):
        cdf = np.exp2(model.proposal.log2[x[:, t]]).cumsum(1)
        u = (rng.random((B, 1)) + strata(N, model.num_steps, 1)[t, :, 0] / N) % 1 if coupled else rng.random((B, N))
        z = (u[..., None] > cdf[:, None]).sum(2).clip(max=model.num_latents - 1)
        x_t = x[:, t : t + 1]
        log_w += model.transition.log2[before, z] + model.emission.log2[z, x_t] - model.proposal.log2[x_t, z]
        before, w = z, np.exp2(log_w - log_w.max(1, keepdims=True))
        share = w / w.sum(1, keepdims=True)
        low = 1 / (share**2).sum(1) < N / 2
        resampled = {"always": np.full(B, True), "never": np.full(B, False), "adaptive": low}[resampling]
        if t + 1 < model.num_steps:
            ancestors = (rng.random((B, N, 1)) > share.cumsum(1)[:, None]).sum(2).clip(max=N - 1)
            before = np.where(resampled[:, None], before[rows, ancestors], before)
            log_p += np.where(resampled, np.log2(w.mean(1)) + log_w.max(1), 0)
            log_w[resampled] = 0
        else:
            log_p += np.log2(w.mean(1)) + log_w.max(1)
    # Of the particles alone: x is the same on both sides.
    per_x = -log_p.reshape(-1, 4) / model.num_steps
    return per_x.mean(), float(per_x.std(axis=1, ddof=1).mean()) / B**0.5


@pytest.mark.parametrize("resampling", RESAMPLING)
@pytest.mark.parametrize("N", [4, 16])
@pytest.mark.parametrize("coder", CODERS)
def test_net_rate_on_the_hidden_markov_model_is_that_of_a_filter_of_floats(truth, coder, N, resampling):
    found = measure(coder(N, resampling), truth)  # which decodes again, and compares
    mean, error = filter_of_floats(truth, N, resampling, coupled=coder is CSMCBitsBackCoder)
    assert found.net == pytest.approx(found.ideal, rel=0.002)
    assert abs(found.net - mean) < 0.01 * mean + 2 * (error + found.standard_error)


@pytest.mark.parametrize("coder", CODERS)
def test_more_particles_bring_the_rate_towards_the_entropy(truth, coder):
    rates = [measure(coder(N, "adaptive"), truth).net for N in (1, 4, 16, 64)]
    assert rates == sorted(rates, reverse=True) and truth.entropy < rates[-1] < 1.02 * truth.entropy


@pytest.mark.parametrize("coder", CODERS)
def test_a_single_step_is_coded_too(coder):
    model = mixture()
    assert measure(coder(5), Truth(model, model.sample(50, seed=1))).num_particles == 5


def test_the_strata_of_each_dimension_are_all_different_and_begin_with_0():
    s = strata(7, 10, 5)
    assert (np.sort(s, axis=1) == np.arange(7)[:, None]).all() and (s[:, 0] == 0).all()


def test_what_cannot_be_coded_is_refused_in_one_line(truth):
    with pytest.raises(UsageError, match="one sequence at a time: leave lanes at 1"):
        measure(SMCBitsBackCoder(), truth, lanes=2)
    with pytest.raises(UsageError, match="resampling must be adaptive, always, never, not 'often'"):
        SMCBitsBackCoder(resampling="often")
