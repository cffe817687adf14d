"""E max_i log p(x, z_i), z_i ~ q: minus what BestOfCoder's rate is on average."""

from mcbits.bounds.base import Bound


class BestJoint(Bound):
    """log p(x, z) at the best of N posterior samples: no bound on log p(x) from above, and loose from below."""

    name = "best-joint"

    def __call__(self, model, x, num_particles):
        log_joint, _ = model.particles(x, num_particles)
        return log_joint.amax(1)
