"""The page that answers the reproducibility question."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from pipelines.pairs import WORDS, Comparison, Pairs
from pipelines.plane import noise_plane, tiles
from pipelines.report import Page, Picture, interval, made
from pipelines.reproducibility import Reproducibility
from pipelines.reproducibility_figures import curves, histograms, matrices, plane_map, strip
from pipelines.rows import images_of
from pipelines.save import decode
from pipelines.store import Store
from pipelines.sweep import Swept
from pipelines.tables import columns_of
from stages.metrics import Estimate

SHOWN_NOISES = 6
TILES = 12


def page(question: Reproducibility, swept: Swept | None) -> Page:
    """Return the page: how often the models agree, from what the store holds."""
    pairs = Pairs(question)
    return Page(
        title=f"Seedquake: {question.spec.name}",
        question=question.asks,
        verdict=verdict(pairs),
        sentences=tuple(sentences(pairs)),
        pictures=tuple(drawn(question, pairs)),
        tables={"pairs": pair_table(pairs), "curves": curve_table(pairs), "scores": score_table(pairs)},
        shown=shown(pairs),
        printed=shown(pairs)[["models", "score", "same noise", "independent noise", "n"]],
        heading="Every pair of models",
        facts=facts(question, swept),
        spec=question.spec.described(),
        curves=dict(tracked(pairs)),
        numbers={f"{slug(pairs, c)} {c.kind}": c.agreement.value for c in pairs.all},
    )


def verdict(pairs: Pairs) -> str:
    """Return one sentence: do the models draw the same pictures from the same noise."""
    worst = min(pairs.headline, key=lambda c: np.nan_to_num(c.agreement.value, nan=-1))
    rate, floor = worst.agreement, worst.floor
    if not rate.n:
        return "Undecided: no two pictures from the same noise could be compared."
    both = " and ".join(pairs.question.names[i] for i in (worst.first, worst.second))
    among = "" if len(pairs.headline) == 1 else f", the least alike of {len(pairs.headline)} pairs,"
    chance = f"; from independent noise {floor.value:.0%}" if floor.n else ""
    said = f"{both}{among} draw the same picture from {rate.value:.0%} of noises ({worst.kind} = {rate}{chance})"
    if not floor.n or worst.gain.low > 0:
        return f"{'Reproducible' if rate.low > 0.5 else 'Partly reproducible'}: {said}."
    closer = f"; a pair from the same noise is closer than by chance with probability {worst.separation.value:.2f}"
    if floor.low > 0.5:
        return f"Undecided at this threshold, which independent noise passes as often: {said}{closer}."
    if worst.separation.low > 0.5:
        return f"Related, but not the same: {said}{closer}."
    return f"Not reproducible, no more than by chance: {said}."


def sentences(pairs: Pairs) -> Iterator[str]:
    """Yield what else a reader must know, a sentence each."""
    for kind in pairs.kinds:
        found = sorted(pairs.of(kind), key=lambda c: np.nan_to_num(c.agreement.value))
        ends = [found[0]] if len(found) == 1 else [found[-1], found[0]]
        said = "; ".join(f"{named(pairs, c)} {interval(c.agreement)}, by chance {interval(c.floor)}" for c in ends)
        yield f"{WORDS[kind]}, {found[0].criterion.text}{' (most and least)' if len(ends) > 1 else ''}: {said}."
    worst = min(pairs.headline, key=lambda c: np.nan_to_num(c.separation.value, nan=-1))
    yield (
        f"Whatever the threshold: a pair from the same noise is closer than one from independent noise with "
        f"probability {interval(worst.separation, digits=3)} ({named(pairs, worst)})."
    )
    if pairs.question.spec.allow_noisy_samplers:
        yield "Samplers may draw noise at every step here, from a stream that is the same for every model."
    missing = sum(c.agreement.n_missing for c in pairs.headline)
    yield f"{worst.agreement.n} pairs of pictures were compared for each two models, {missing} are missing."


def named(pairs: Pairs, comparison: Comparison) -> str:
    """Return the names of the two models."""
    names = pairs.question.names
    between = " without a class | {} with each" if comparison.kind == "RP_between" else " | {}"
    return names[comparison.first] + between.format(names[comparison.second])


def drawn(question: Reproducibility, pairs: Pairs) -> Iterator[Picture]:
    """Yield the figures, the two of the first screen first."""
    names, headline = question.names, pairs.headline
    n = headline[0].agreement.n
    caption = f"Share of pairs beyond each threshold with 95 % intervals; n = {n} a curve, dotted: independent noise."
    yield Picture("curves", caption, curves(headline, names))
    pictures, titles, scores = noises(question, pairs)
    if pictures:
        caption = (
            "The first noises, one a column, not chosen by their outcome; below, the score of the first two models."
        )
        yield Picture("noises", caption, strip(pictures, names, titles, scores))
    caption = "Below the diagonal the same noise, above it independent noise; intervals and n stand in the table."
    yield Picture("matrix", caption, matrices(pairs.all, names))
    yield Picture("scores", "Every score of every two models.", histograms(pairs.all))
    if (plane := noise_plane(question)) is not None:
        store, points = Store(question.spec.store), len(plane.axis)
        mosaics = [tiles(store, grid, points, TILES) for grid in question.planes]
        agreeing = next(iter(plane.agreeing(question.threshold.value).values()))
        caption = (
            f"The plane through the noises of three seeds (circles), {points} x {points} points: pictures, the nearest "
            f"of {len(plane.representatives)} representatives, and the cosine of two models, above the threshold at "
            f"{agreeing:.0%} of points."
        )
        yield Picture("plane", caption, plane_map(plane, mosaics, names), wide=True)


def noises(question: Reproducibility, pairs: Pairs) -> tuple[dict[tuple[int, int], np.ndarray], list[str], list[float]]:
    """Return the pictures of the first noises by model and column, with each column's title and score."""
    store, headline, prompts = Store(question.spec.store), pairs.headline[0], question.prompts
    kept = pairs.plain or pairs.classes
    columns = [(row, column) for row in range(question.spec.seeds.count) for column in range(len(kept))][:SHOWN_NOISES]
    found = {}
    for model, grid in enumerate(question.grids):
        numbers = np.array([row * len(prompts) + kept[column] for row, column in columns], dtype=np.int64)
        ids = grid.rows(numbers)["sample_id"].tolist()
        png = images_of(store, ids)
        found.update({(model, place): decode(png[i]) for place, i in enumerate(ids) if i in png})
    titles = [prompts[kept[column]].text.removeprefix("a photo of ") or f"seed {row}" for row, column in columns]
    return found, titles, [float(headline.same[row, column]) for row, column in columns]


def shown(pairs: Pairs) -> pd.DataFrame:
    """Return the table as people read it."""
    rows = [
        {
            "models": named(pairs, c),
            "score": c.kind,
            "alike": c.criterion.text,
            "same noise": interval(c.agreement),
            "independent noise": interval(c.floor),
            "difference": interval(c.gain, "+"),
            "closer than by chance": interval(c.separation, digits=3),
            "n": str(c.agreement.n),
            "missing": str(c.agreement.n_missing),
        }
        for c in pairs.all
    ]
    return pd.DataFrame(rows)


def pair_table(pairs: Pairs) -> pd.DataFrame:
    """Return a row a kind and pair of models."""
    rows = []
    for c in pairs.all:
        row = where(pairs, c) | {"score": c.criterion.score, "threshold": c.criterion.threshold}
        parts = {
            "same_noise": c.agreement,
            "independent_noise": c.floor,
            "difference": c.gain,
            "separation": c.separation,
        }
        rows.append(row | {k: v for name, e in parts.items() for k, v in columns_of(name, e).items()})
    return pd.DataFrame(rows)


def curve_table(pairs: Pairs) -> pd.DataFrame:
    """Return a row a pair of models and threshold."""
    rows = []
    for c in pairs.all:
        for threshold, same, other in zip(c.criterion.thresholds, c.curve, c.floor_curve, strict=True):
            row = where(pairs, c) | {"score": c.criterion.score, "threshold": threshold}
            rows.append(row | columns_of("same_noise", same) | columns_of("independent_noise", other))
    return pd.DataFrame(rows)


def score_table(pairs: Pairs) -> pd.DataFrame:
    """Return a row a pair of pictures from the same noise, with the ids of both samples."""
    question = pairs.question
    ids = [grid.rows(np.arange(len(grid)))["sample_id"] for grid in question.grids]
    seeds = question.grids[0].rows(np.arange(len(question.grids[0])))["seed"]
    frames = []
    for c in pairs.all:
        if c.kind == "RP_between":
            continue
        prompts = pairs.classes if c.kind == "RP_cond" else pairs.plain or pairs.classes
        rows = (np.arange(len(c.same))[:, None] * len(question.prompts) + np.array(prompts)).ravel()
        frame = pd.DataFrame({"prompt": [question.prompts[i % len(question.prompts)].text for i in rows]})
        frame = frame.assign(seed=seeds[rows], first_id=ids[c.first][rows], second_id=ids[c.second][rows])
        frames.append(frame.assign(**where(pairs, c), same_noise=c.same.ravel(), independent_noise=c.other.ravel()))
    return pd.concat(frames, ignore_index=True)


def where(pairs: Pairs, comparison: Comparison) -> dict[str, str]:
    """Return the columns that name a comparison."""
    names = pairs.question.names
    return {"kind": comparison.kind, "first": names[comparison.first], "second": names[comparison.second]}


def tracked(pairs: Pairs) -> Iterator[tuple[str, dict[float, Estimate]]]:
    """Yield the headline's curves over the threshold, by their names in MLflow."""
    for c in pairs.headline:
        estimates = zip(c.criterion.thresholds, c.curve, strict=True)
        yield f"{slug(pairs, c)} {c.kind} over the threshold", dict(estimates)


def slug(pairs: Pairs, comparison: Comparison) -> str:
    """Return the two models' names as MLflow accepts them."""
    names = pairs.question.names
    text = f"{names[comparison.first]} - {names[comparison.second]}"
    return "".join(c if c.isalnum() or c in "._- " else "_" for c in text)


def facts(question: Reproducibility, swept: Swept | None) -> dict[str, str]:
    """Return how the answers were made."""
    spec = question.spec
    models = zip(question.names, spec.models, question.revisions, strict=True)
    drawn = sum(map(len, question.draws))
    return {
        **{f"Model {name}": f"{entry.model}, weights {weights}" for name, entry, weights in models},
        **{f"Sampler {name}": grid.samplers[0] for name, grid in zip(question.names, question.grids, strict=True)},
        "Threshold": f"{question.threshold.value:g}, {question.threshold.source}",
        "Descriptor": f"{spec.descriptor.model}, weights {question.descriptor.weights}",
        "Grid": f"{len(question.prompts)} prompts x {spec.seeds.count} seeds x {len(spec.models)} models"
        f"{', and planes' if spec.plane else ''} = {drawn} images",
        **made(spec.store, swept),
    }
