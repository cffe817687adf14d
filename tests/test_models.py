"""What coders and bounds rely on in a model: right densities, traceable networks, files that hold no code."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders import binary_vae
from torch import nn

from mcbits.distributions.coupling import shifts
from mcbits.errors import ModelError
from mcbits.models.binary_vae import BinaryVAE
from mcbits.observations.bernoulli import BernoulliObservation
from mcbits.training.checkpoint import dump_float, dump_tensors, load_float


def small_model() -> BinaryVAE:
    return binary_vae((3, 4), latent_dim=5, hidden=7)


def some_x(n: int = 6) -> torch.Tensor:
    return torch.randint(0, 2, (n, 3, 4), generator=torch.Generator().manual_seed(1)).float()


@pytest.mark.parametrize("coupled", [False, True])
def test_log_weights_are_the_ratio_of_the_densities(coupled: bool) -> None:
    model, x = small_model(), some_x()
    torch.manual_seed(2)
    log_w = model.log_weights(x, 3, coupled=coupled)
    torch.manual_seed(2)
    z, log_q = model.posterior_particles(x, 3, coupled=coupled)
    mean, log_scale = model.encoder(x.flatten(1))
    q = torch.distributions.Normal(mean[:, None], log_scale.exp()[:, None])
    prior = torch.distributions.Normal(torch.zeros(5), torch.ones(5))
    likelihood = torch.distributions.Bernoulli(logits=model.decoder(z))
    log_joint = prior.log_prob(z).sum(-1) + likelihood.log_prob(x.flatten(1)[:, None]).sum(-1)
    assert log_w.shape == (6, 3)
    torch.testing.assert_close(log_q, q.log_prob(z).sum(-1))
    torch.testing.assert_close(log_w, log_joint - q.log_prob(z).sum(-1))


def test_weights_equal_the_marginal_when_the_posterior_is_exact() -> None:
    model, x = small_model(), some_x()
    for module in (model.encoder.mean, model.encoder.log_scale, model.decoder[0]):
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)  # q is the prior, and x does not depend on z
    log_p = model.observation.log_prob(model.decoder(torch.zeros(6, 5)), x.flatten(1))
    torch.testing.assert_close(model.log_weights(x, 4), log_p[:, None].expand(6, 4))


def test_coupled_particles_are_each_distributed_as_q() -> None:
    model, x = small_model(), some_x(1).expand(20_000, 3, 4)
    torch.manual_seed(3)
    with torch.no_grad():
        z, _ = model.posterior_particles(x, 4, coupled=True)
        mean, log_scale = model.encoder(x[:1].flatten(1))
    noise = (z - mean[:, None]) / log_scale.exp()[:, None]
    assert noise.mean(0).abs().max() < 5 / 20_000**0.5
    assert (noise.var(0) - 1).abs().max() < 5 * (2 / 20_000) ** 0.5


def test_coupled_particles_share_one_uniform_and_differ_by_the_shifts() -> None:
    model, x = small_model().double(), some_x().double()
    with torch.no_grad():
        z, _ = model.posterior_particles(x, 4, coupled=True)
        mean, log_scale = model.encoder(x.flatten(1))
    u = torch.special.ndtr((z - mean[:, None]) / log_scale.exp()[:, None])
    difference = (u - u[:, :1] - torch.as_tensor(shifts(4, 5))) % 1
    assert torch.minimum(difference, 1 - difference).max() < 1e-9


def test_encoder_and_decoder_can_be_traced() -> None:
    model = small_model()
    x, z = some_x().flatten(1), torch.randn(6, 5)
    for traced, direct in zip(torch.fx.symbolic_trace(model.encoder)(x), model.encoder(x), strict=True):
        assert torch.equal(traced, direct)
    assert torch.equal(torch.fx.symbolic_trace(model.decoder)(z), model.decoder(z))


def test_output_bias_starts_at_the_clipped_logit_of_the_data_mean() -> None:
    model = small_model()
    images = torch.arange(12, dtype=torch.uint8).expand(7, 12)
    mean = torch.arange(12) / 11
    model.initialise_from_data(images, 11)
    torch.testing.assert_close(torch.sigmoid(model.decoder[-1].bias), mean.clamp(0.001, 0.999))


def test_observation_describes_each_dimension_by_one_logit_in_nats() -> None:
    observation = BernoulliObservation()
    logits = torch.tensor([[0.0, 0.0, 0.0], [100.0, -100.0, 0.0]])
    log_p = observation.log_prob(logits, torch.tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(log_p, torch.tensor([-3 * 0.6931472, -0.6931472]))
    assert observation.num_parameters(784) == 784


def write_run(directory: Path, model: BinaryVAE) -> Path:
    (directory / "train_config.yml").write_text("model: BinaryVAE\n")
    (directory / "model.safetensors").write_bytes(dump_float(model))
    return directory


def test_loaded_model_is_the_saved_one(tmp_path: Path) -> None:
    model = small_model()
    run = write_run(tmp_path, model)
    for path in (run, run / "train_config.yml", str(run)):
        loaded = load_float(path)
        assert loaded.get_config() == model.get_config()
        assert loaded.shape == (3, 4)
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
    assert (run / "model.safetensors").read_bytes() == dump_float(loaded)


def published_state_dict() -> dict[str, torch.Tensor]:
    sizes = {"enc_fc1": (20, 784), "enc_fc2": (20, 20), "enc_fc31": (6, 20), "enc_fc32": (6, 20)}
    sizes |= {"dec_fc1": (20, 6), "dec_fc2": (20, 20), "dec_fc3": (784, 20)}
    weights = {f"{layer}.weight": torch.randn(size) for layer, size in sizes.items()}
    return weights | {f"{layer}.bias": torch.randn(size[0]) for layer, size in sizes.items()}


def test_published_checkpoint_loads_wherever_its_config_says_it_was(tmp_path: Path) -> None:
    state_dict = published_state_dict()
    torch.save(state_dict, tmp_path / "model.pt")
    (tmp_path / "train_config.yml").write_text("model: BinaryVAE\nckpt_path: /elsewhere/model.pt\n")
    model = load_float(tmp_path / "train_config.yml")
    assert (model.shape, model.latent_dim) == ((28, 28), 6)
    assert torch.equal(model.encoder.log_scale.weight, state_dict["enc_fc32.weight"])
    assert torch.equal(model.decoder[4].bias, state_dict["dec_fc3.bias"])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_weights_load_as_data_parallel_and_compile_name_them(tmp_path: Path, prefix: str) -> None:
    state_dict = published_state_dict()
    torch.save({f"{prefix}{name}": tensor for name, tensor in state_dict.items()}, tmp_path / "model.pt")
    (tmp_path / "train_config.yml").write_text("model: BinaryVAE\n")
    assert torch.equal(load_float(tmp_path).decoder[4].bias, state_dict["dec_fc3.bias"])
    model = small_model()
    compiled = {name.replace("decoder.", "decoder._orig_mod."): tensor for name, tensor in model.state_dict().items()}
    tensors = {f"{prefix}{name}": tensor for name, tensor in compiled.items()}
    (tmp_path / "model.safetensors").write_bytes(
        dump_tensors(tensors, {"model": model.name, "config": model.get_config()})
    )
    loaded = load_float(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


class Payload:
    def __reduce__(self):
        return os.mkdir, (os.environ["MCBITS_TEST_PAYLOAD"],)


def test_pickled_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCBITS_TEST_PAYLOAD", str(tmp_path / "ran"))
    (tmp_path / "train_config.yml").write_text("model: BinaryVAE\n")
    for write in (lambda f: torch.save(Payload(), f), lambda f: f.write_bytes(pickle.dumps(Payload(), 2))):
        write(tmp_path / "model.pt")
        with pytest.raises(ModelError):
            load_float(tmp_path)
    assert not (tmp_path / "ran").exists()


def damage(run: Path, how: str) -> None:
    weights = run / "model.safetensors"
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif how == "garbage":
        weights.write_bytes(b"\xff" * 64)
    elif how == "other sizes":
        weights.write_bytes(weights.read_bytes().replace(b'\\"hidden\\": 7', b'\\"hidden\\": 9'))
    elif how == "published, incomplete":
        weights.unlink()
        torch.save({"enc_fc1.weight": torch.zeros(2, 2)}, run / "model.pt")
    elif how == "published, no tensors":
        weights.unlink()
        torch.save([1, 2], run / "model.pt")
    elif how == "published, no model named":
        weights.unlink()
        torch.save(published_state_dict(), run / "model.pt")
        (run / "train_config.yml").write_text("- nothing\n")
    elif how == "published, a config without end":
        weights.unlink()
        torch.save(published_state_dict(), run / "model.pt")
        (run / "train_config.yml").write_text("[" * 100_000)
    elif how == "one bit flipped":
        data = bytearray(weights.read_bytes())
        data[-10] ^= 1
        weights.write_bytes(data)
    elif how == "no weights":
        weights.unlink()
    elif how == "no config":
        (run / "train_config.yml").unlink()


@pytest.mark.parametrize(
    "how",
    [
        "truncated",
        "garbage",
        "other sizes",
        "published, incomplete",
        "published, no tensors",
        "published, no model named",
        "published, a config without end",
        "one bit flipped",
        "no weights",
        "no config",
    ],
)
def test_a_model_that_cannot_be_read_is_one_line_of_error(tmp_path: Path, how: str) -> None:
    run = write_run(tmp_path, small_model())
    damage(run, how)
    with pytest.raises(ModelError) as raised:
        load_float(run)
    assert "\n" not in str(raised.value)


def test_bounds_observation_models_and_evaluation_import_no_torch() -> None:
    code = (
        "import sys, mcbits.observations.bernoulli, mcbits.training.evaluation, mcbits.bounds.elbo, "
        "mcbits.bounds.iwae, "
        "mcbits.bounds.coupled_iwae, mcbits.bounds.joint; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_log_weights_stay_on_the_gpu() -> None:
    model = small_model().cuda()
    for coupled in (False, True):
        assert model.log_weights(some_x().cuda(), 3, coupled=coupled).device.type == "cuda"
