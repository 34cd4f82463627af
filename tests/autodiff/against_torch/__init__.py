"""The rows of the comparison with PyTorch."""

from tests.autodiff.against_torch.elementwise import ELEMENTWISE, REDUCTIONS
from tests.autodiff.against_torch.linear import CONVOLUTION, LINEAR
from tests.autodiff.against_torch.microsoft import MICROSOFT
from tests.autodiff.against_torch.movement import MOVEMENT
from tests.autodiff.against_torch.normalization import LOSSES, NORMALIZATION
from tests.autodiff.against_torch.recurrent import RECURRENT
from tests.autodiff.against_torch.sampling import SAMPLING
from tests.autodiff.against_torch.signal import SIGNAL

ROWS = [
    *ELEMENTWISE, *REDUCTIONS, *LINEAR, *CONVOLUTION, *NORMALIZATION, *LOSSES, *RECURRENT, *SAMPLING, *MOVEMENT,
    *SIGNAL, *MICROSOFT,
]  # fmt: skip
