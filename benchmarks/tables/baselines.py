"""What a table allows where its rows lie in one place: logistic regression and HistGB, as scikit-learn has them."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from benchmarks.tables.sources import Source

RARE = 10
"""A category of fewer rows is taken together with the others of few rows, as pods publish none such."""
Scores = dict[str, float]


def logistic_regression() -> Any:
    """Logistic regression over standardised numbers and one column for each category."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"),
        OneHotEncoder(min_frequency=RARE, handle_unknown="infrequent_if_exist"),
    )
    columns = make_column_transformer((numbers, _numeric()), (categories, _texts()))
    return make_pipeline(columns, LogisticRegression(max_iter=5000))


def hist_gb() -> tuple[Any, Any]:
    """Return an encoder and gradient boosting over histograms, with categories as such."""
    codes = OrdinalEncoder(
        min_frequency=RARE, max_categories=250, handle_unknown="use_encoded_value", unknown_value=np.nan
    )
    columns = make_column_transformer((codes, _texts()), ("passthrough", _numeric()))
    return columns, HistGradientBoostingClassifier(random_state=0)


def baselines(source: Source) -> dict[str, Scores]:
    """Score on the test rows: both models of all pods' rows together, and the better of a lone pod's, of the best pod.

    A lone pod that lacks a class gives it no probability.
    """
    pooled = pd.concat(source.pods.values(), ignore_index=True)
    alone = [_scores(model, source, rows) for rows in source.pods.values() for model in ("logistic", "hist_gb")]
    return {
        "logistic_regression": _scores("logistic", source, pooled),
        "hist_gb": _scores("hist_gb", source, pooled),
        "best_pod": {name: max(scores[name] for scores in alone) for name in ("auc", "accuracy")},
    }


def _scores(model: str, source: Source, rows: pd.DataFrame) -> Scores:
    left_out = [source.target, *source.ignored]
    features, test = rows.drop(columns=left_out), source.test.drop(columns=left_out)
    if model == "logistic":
        fitted = logistic_regression().fit(features, rows[source.target])
        given, classes = fitted.predict_proba(test), fitted.classes_
    else:
        columns, boosted = hist_gb()
        coded = columns.fit_transform(features)
        texts = features.select_dtypes(exclude="number").shape[1]
        boosted.set_params(categorical_features=list(range(texts))).fit(coded, rows[source.target])
        given, classes = boosted.predict_proba(columns.transform(test)), boosted.classes_
    labels = sorted(source.test[source.target].unique())
    probabilities = np.zeros((len(test), len(labels)))
    probabilities[:, [labels.index(label) for label in classes]] = given
    truth = np.array([labels.index(label) for label in source.test[source.target]])
    scored = probabilities[:, 1] if len(labels) == 2 else probabilities
    auc = roc_auc_score(truth, scored, multi_class="ovr", labels=range(len(labels)))
    return {"auc": float(auc), "accuracy": float((probabilities.argmax(axis=1) == truth).mean())}


def _numeric() -> Any:
    return make_column_selector(dtype_include="number")


def _texts() -> Any:
    return make_column_selector(dtype_exclude="number")
