"""DP-EBM, the private boosted model of the package interpret, on all rows in one place.

Nori, Caruana, Bu, Shen and Kulkarni (2021), "Accuracy, Interpretability, and Differential Privacy via Explainable
Boosting". It is installed into an environment of its own, build/dp-ebm, at pinned versions, and has its own defaults.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.children import CHECKOUT
from benchmarks.joining.rows import CATEGORICAL, CENSUS, PODS
from benchmarks.joining.splits import TARGET

PINNED = (
    "interpret-core==0.7.8",
    "joblib==1.6.0",
    "narwhals==2.29.0",
    "numpy==2.4.6",
    "pandas==3.1.1",
    "scikit-learn==1.9.1",
    "scipy==1.17.1",
)
PLACE = CHECKOUT / "build" / "dp-ebm"
PROGRAM = """
import json, sys, warnings
import pandas as pd
from interpret.privacy import DPExplainableBoostingClassifier
from sklearn.metrics import accuracy_score, roc_auc_score

told = json.loads(sys.argv[1])
read = [pd.read_csv(path, na_values=["?"]).drop(columns="fnlwgt") for path in told["files"]]
train, test = pd.concat(read[:-1], ignore_index=True), read[-1]
target, categorical = told["target"], told["categorical"]
for table in (train, test):
    table[categorical] = table[categorical].fillna("missing")
features = [name for name in train.columns if name != target]
model = DPExplainableBoostingClassifier(
    feature_names=features,
    feature_types=["nominal" if name in categorical else "continuous" for name in features],
    privacy_bounds={name: tuple(ends) for name, ends in told["bounds"].items()},
    epsilon=told["epsilon"], delta=told["delta"], random_state=told["seed"], n_jobs=1,
)
# A fixed state tells the noise: here it hides a public table. Any other warning would be of a promise not kept.
warnings.filterwarnings("ignore", message="Privacy violation: using a fixed random_state")
model.fit(train[features], train[target])
scores = model.predict_proba(test[features])[:, list(model.classes_).index(">50K")]
print(json.dumps({
    "auc": roc_auc_score(test[target] == ">50K", scores),
    "accuracy": accuracy_score(test[target], model.predict(test[features])),
}))
"""


def scores(
    epsilon: float, delta: float, seed: int, bounds: Mapping[str, tuple[float, float]], place: Path = PLACE
) -> dict[str, float]:
    """Return AUC and accuracy on the public test file, of a model of all 32,561 rows."""
    told = {
        "files": [str(CENSUS / f"{name}.csv.gz") for name in (*PODS, "adult.test")],
        "target": TARGET,
        "categorical": CATEGORICAL,
        "bounds": bounds,
        "epsilon": epsilon,
        "delta": delta,
        "seed": seed,
    }
    asked = [str(_python(place)), "-W", "error", "-c", PROGRAM, json.dumps(told)]
    done = subprocess.run(asked, check=True, capture_output=True, text=True)  # noqa: S603 - its parts are ours
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _python(place: Path) -> Path:
    """Return the environment's interpreter; it is made, if there is none of these versions."""
    python, made = place / "bin" / "python", place / "pinned.txt"
    if not made.exists() or made.read_text("utf-8").split() != list(PINNED):
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINNED]
        for command in ([sys.executable, "-m", "venv", "--clear", str(place)], install):
            subprocess.run(command, check=True)  # noqa: S603 - its parts are ours
        made.write_text("\n".join(PINNED), "utf-8")
    return python
