"""Powers of a non-normal matrix grow before they decay."""

from pathlib import Path

from minilib.recurrence_views import draw_transient
from minilib.views import figure

figure(
    draw_transient,
    alt="The norm of the powers rises to 19 at step 9 although both eigenvalues are 0.9.",
).save(Path(__file__).with_suffix(".svg"))
