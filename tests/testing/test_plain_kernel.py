"""The kernel that others are measured against is a kernel."""

import numpy as np
from pairs_of_numpy import pair, random_complex

from keras_s4.dss import kernels
from keras_s4.testing import plain_kernel


def test_plain_kernel_is_the_kernel(monkeypatch):
    log_poles = -np.exp(random_complex(0, 3, 4).real) + 1j * random_complex(1, 3, 4).imag
    arguments = pair(log_poles), pair(random_complex(2, 3, 4)), 50
    expected = np.asarray(kernels.exponential_sum(*arguments))
    monkeypatch.setattr(kernels, "exponential_sum", kernels.exponential_sum)  # put back behind the test
    plain_kernel.use_plain_kernel()
    before = plain_kernel.plain_exponential_sum.calls
    found = kernels.exponential_sum(*arguments)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert plain_kernel.plain_exponential_sum.calls == before + 1
