"""A VRNN is p(z_t|h_t), p(x_t|z_t, h_t), q(z_t|x_t, h_t) and an LSTM whose state h_t has read all x and z before t."""


from torch import Tensor, nn

MAX_MEAN, MAX_SCALE = 4.0, 2.0
"""Of the learned prior: bounds that keep its frozen form narrow."""


class Latent(nn.Module):
    """(h, e) -> z = mean(h) + scale(h) e, a draw from the learned prior p(z_t|h_t) where e is standard normal."""

    def __init__(self, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh())
        self.mean = nn.Sequential(nn.Linear(hidden, latent_dim), nn.Tanh())
        self.scale = nn.Sequential(nn.Linear(hidden, latent_dim), nn.Sigmoid())

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        prior = self.trunk(h)
        return self.mean(prior) * MAX_MEAN + self.scale(prior) * MAX_SCALE * e


class Proposal(nn.Module):
    """(h, x_t) -> mean and log scale of q(e_t|x_t, h_t), each (B, latent_dim)."""

    def __init__(self, num_dims: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.from_x, self.from_h = nn.Linear(num_dims, hidden), nn.Linear(hidden, hidden)
        self.trunk = nn.Sequential(nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        self.mean, self.log_scale = nn.Linear(hidden, latent_dim), nn.Linear(hidden, latent_dim)

    def forward(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        trunk = self.trunk(self.from_x(x) + self.from_h(h))
        return self.mean(trunk), self.log_scale(trunk)


class Decoder(nn.Module):
    """(h, e) -> the parameters of p(x_t|z_t, h_t)."""

    def __init__(self, latent: Latent, hidden: int, latent_dim: int, num_parameters: int) -> None:
        super().__init__()
        self.latent = latent
        self.from_z, self.from_h = nn.Linear(latent_dim, hidden), nn.Linear(hidden, hidden)
        self.trunk = nn.Sequential(nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, num_parameters))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        return self.trunk(self.from_z(self.latent(h, e)) + self.from_h(h))


class Transition(nn.Module):
    """(x_t, e_t, h_t, c_t) -> (h_{t+1}, c_{t+1})."""

    def __init__(self, latent: Latent, num_dims: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.latent = latent
        self.from_x, self.from_z = nn.Linear(num_dims, hidden), nn.Linear(latent_dim, hidden)
        self.tanh = nn.Tanh()
        self.cell = nn.LSTMCell(hidden, hidden)

    def forward(self, x: Tensor, e: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        read = self.tanh(self.from_x(x) + self.from_z(self.latent(h, e)))
        return self.cell(read, (h, c))
