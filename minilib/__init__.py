"""The mechanisms of RNNs and Transformers, each written from scratch.

    arrays          the alphabet shared by all formulas

Ideas, each building only on those above it:

    recurrence      RNN, LSTM and GRU; their Jacobians; what happens over many steps

Tools of the course:

    derive          derivations whose lines are checked
    claims          the ledger: predicted, measured, verdict
    exercises       checks of a reader's answers
    views           figures, widgets, source listings
    corpora         real text and real trained weights out of pinned packages
    training        the training loop (torch)
    environment     is everything there? a check for the reader

A suffix names a dependency: ``recurrence`` holds formulas for any array library, ``recurrence_torch`` the
modules, ``recurrence_numpy`` networks run on numbers, ``recurrence_views`` the drawings, ``recurrence_corpora``
networks that others trained, ``recurrence_exercises`` the exercises. Importing ``minilib`` imports none of them.
"""

IDEAS = ("recurrence",)
"""The ideas in order of dependence: each may import only those before it."""

__version__ = "0.1.0"
