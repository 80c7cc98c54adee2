"""Words that some texts have and others do not, in languages with and without spaces."""

import re
from collections.abc import Sequence

import numpy as np

# A word of these scripts has no spaces around it: pairs of letters stand for words.
_SPACELESS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"  # Han
)
_TERMS = re.compile(
    rf"(?P<pairs>[{_SPACELESS}]{{2,}})|(?P<word>[^\W\d_{_SPACELESS}][^\W_{_SPACELESS}]{{2,}})"
)
LONGEST_WORD = 24
LEAST_TEXTS = 2  # that a word must be in
LEAST_PORTION = 0.1


def characteristic_words(
    inside: Sequence[str], outside: Sequence[str], count: int
) -> tuple[str, ...]:
    """What texts of a group say and the others do not: the largest differences of mean TF-IDF.

    Words are lower-cased, have three letters or more, and hold letters and digits alone. One that
    is in less than a tenth of the group does not characterise it.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - a second that only cases should pay

    if not any(_terms(text) for text in inside):
        return ()
    weigh = TfidfVectorizer(analyzer=_terms, sublinear_tf=True)
    weights = weigh.fit_transform([*inside, *outside])
    here, there = weights[: len(inside)], weights[len(inside) :]
    mean = np.asarray(here.mean(axis=0)).ravel()
    others = np.asarray(there.mean(axis=0)).ravel() if len(outside) else np.zeros_like(mean)
    texts_with = np.asarray((here > 0).sum(axis=0)).ravel()
    enough = max(min(LEAST_TEXTS, len(inside)), LEAST_PORTION * len(inside))
    surplus = np.where(texts_with >= enough, mean - others, 0.0)
    terms = weigh.get_feature_names_out()
    order = sorted(np.flatnonzero(surplus > 0).tolist(), key=lambda i: (-surplus[i], terms[i]))
    return tuple(str(terms[i]) for i in order[:count])


def _terms(text: str) -> list[str]:
    found: list[str] = []
    for match in _TERMS.finditer(text.lower()):
        run = match["pairs"]
        if run:
            found += (run[i : i + 2] for i in range(len(run) - 1))
        else:
            found.append(match["word"][:LONGEST_WORD])
    return found
