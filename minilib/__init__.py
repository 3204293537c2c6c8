"""The mechanisms of RNNs and Transformers, each written from scratch.

    arrays          the alphabet shared by all formulas

Ideas, each building only on those above it:

    recurrence      RNN, LSTM and GRU; their Jacobians; what happens over many steps
    layernorm       layer norm and RMS norm, and norms that follow a condition
    rope            rotary positions, in both layouts
    attention       scaled dot-product attention, masks, heads, the memory-lean form
    entropy         entropy of attention, and the laws by which its scale may follow the length
    synthesizer     attention whose scores are dense, random, factorised or mixed
    depth           gains of activations, initialisation, what a deep residual stack does to a signal
    gau             the gated attention unit, its magnitude, and FLASH
    wordpiece       the tokenizer of BERT
    masking         which tokens a masked language model has to guess
    decoding        from probabilities to a text: beam search and sampling
    bert            the encoder of BERT and its heads
    roformer        BERT with rotary positions, and its second version
    matching        six matching tasks, their score, and what it costs to tell a model the task
    r_drop          dropout twice: how far two answers are apart, and all the sub-models

Tools of the course:

    derive          derivations whose lines are checked
    claims          the ledger: predicted, measured, verdict
    exercises       checks of a reader's answers
    views           figures, widgets, source listings
    corpora         real text and real trained weights out of pinned packages
    training        the training loop (torch)
    stored          what the long trainings measured
    environment     is everything there? a check for the reader

A suffix names a dependency: ``recurrence`` holds formulas for any array library, ``recurrence_torch`` the
modules, ``recurrence_numpy`` networks run on numbers, ``recurrence_views`` the drawings, ``recurrence_corpora``
networks that others trained, ``recurrence_exercises`` the exercises. Importing ``minilib`` imports none of them.
"""

IDEAS = (
    "recurrence",
    "layernorm",
    "rope",
    "attention",
    "entropy",
    "synthesizer",
    "depth",
    "gau",
    "wordpiece",
    "masking",
    "decoding",
    "bert",
    "roformer",
    "matching",
    "r_drop",
)
"""The ideas in order of dependence: each may import only those before it."""

__version__ = "0.1.0"
